//! Building the C++ peers.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// What they are built with.
const FLAGS: &[&str] = &["-O3", "-DNDEBUG", "-std=c++17", "-Wno-deprecated-declarations"];

/// The libraries they need.
const LIBRARIES: &[&str] = &["-lpthread", "-lrt"];

/// What to do where Boost is missing.
const INSTALL: &str = "Boost or a C++ compiler is missing: apt-get install g++ libboost1.81-dev";

/// The program of an area's peers, built if it is older than its sources. `Err` says why there is none.
pub fn build(area: &str, target: &Path) -> Result<PathBuf, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let source = sources.join(format!("{area}.cpp"));
    let folder = target.join("peers");
    let program = folder.join(area);
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    if !has_boost(&compiler) {
        return Err(INSTALL.into());
    }
    let inputs = [&source, &sources.join("bench.hpp"), &sources.join("segment.hpp")];
    let newest = inputs.iter().filter_map(|path| modified(path)).max();
    if modified(&program).is_some_and(|built| Some(built) > newest) {
        return Ok(program);
    }
    eprintln!("building {}", source.display());
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // Under another name until it is whole.
    let unfinished = folder.join(format!("{area}.{}", std::process::id()));
    let output = Command::new(&compiler)
        .args(FLAGS)
        .arg(&source)
        .arg("-o")
        .arg(&unfinished)
        .args(LIBRARIES)
        .output()
        .map_err(|e| format!("{compiler}: {e}"))?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("{} does not compile", source.display()));
    }
    std::fs::rename(&unfinished, &program).map_err(|e| format!("{}: {e}", program.display()))?;
    Ok(program)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// Whether the compiler is there and finds Boost's headers.
fn has_boost(compiler: &str) -> bool {
    use std::io::Write;
    use std::process::Stdio;
    let child = Command::new(compiler)
        .args(["-x", "c++", "-E", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(b"#include <boost/version.hpp>\n");
    }
    child.wait().is_ok_and(|status| status.success())
}
