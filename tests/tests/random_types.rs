//! Random types, compiled and tried: what the derive and the library make of them against a model that knows neither.
//!
//! From a seed the suite makes descriptions of some hundred types and writes a program of them, which is compiled in one
//! go and run in three processes. The program checks each type (see [`shmem_tests::types`]); a failure shows the seed,
//! the type's source and the first difference.

use shmem_tests::types::{World, source};
use shmem_tests::{Random, TempDir, TempName, Watchdog};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long compiling the program may take before it counts as hanging.
const COMPILING: Duration = Duration::from_secs(900);

const MANIFEST: &str = "\
[package]
name = \"random_types\"
version = \"0.0.0\"
edition = \"2024\"
publish = false

[dependencies]
shmem-core = { path = \"TESTS/../shmem-core\" }
shmem-tests = { path = \"TESTS\" }

[profile.dev]
debug = false
incremental = false

[profile.dev.package.sha2]
opt-level = 3

[workspace]
";

/// Writes the program of a world and compiles it.
fn compile(world: &World) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random_types");
    let write = |path: PathBuf, text: String| {
        std::fs::create_dir_all(path.parent().expect("a file in a folder"))
            .expect("a folder for the program");
        std::fs::write(path, text).expect("a file of the program");
    };
    write(dir.join("Cargo.toml"), MANIFEST.replace("TESTS", tests.to_str().expect("UTF-8")));
    write(dir.join("src/main.rs"), source::program(world));
    // The same versions as everywhere.
    std::fs::copy(tests.join("../Cargo.lock"), dir.join("Cargo.lock")).expect("the workspace's lock file");
    let _watchdog = Watchdog::new("compiling random types", COMPILING);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--offline", "--quiet", "--target-dir"])
        .arg(dir.join("target"))
        .current_dir(&dir)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "seed {}: the program does not compile:\n{errors}", world.seed);
    dir.join("target/debug/random_types")
}

/// Runs the program; gives the fingerprints that it prints.
fn run(program: &Path, world: &World, arguments: &[&str]) -> Vec<String> {
    let _watchdog = Watchdog::test(format!("random types of seed {}: {arguments:?}", world.seed));
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("the program");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        fail(world, &output, &text, arguments[0]);
    }
    let fingerprints = text.lines().filter_map(|line| line.strip_prefix("fingerprints "));
    fingerprints.flat_map(|line| line.split(' ')).map(str::to_owned).collect()
}

/// What went wrong with which type.
fn fail(world: &World, output: &Output, text: &str, role: &str) -> ! {
    let step = text.lines().rev().find_map(|line| line.strip_prefix("@ ")).unwrap_or("0 the start");
    let (root, step) = step.split_once(' ').unwrap_or((step, ""));
    let ty = &world.roots[root.parse::<usize>().expect("the number of a type")];
    panic!(
        "SHMEM_SEED={}, type {root}, process `{role}` ({}), {step}:\n{}\n{}",
        world.seed,
        output.status,
        String::from_utf8_lossy(&output.stderr),
        source::declarations(world, ty)
    );
}

#[test]
fn random_types_do_what_their_model_says() {
    let seed = Random::fresh_seed("random types");
    let world = World::new(seed);
    assert!(world.roots.len() >= 300, "{} types", world.roots.len());
    let program = compile(&world);
    let (name, dir) = (TempName::new("random-types"), TempDir::new("random-types"));
    let records = dir.join("records");
    let arguments = |role| [role, &*name, records.to_str().expect("UTF-8")];
    let written = run(&program, &world, &arguments("write"));
    assert_eq!(written.len(), world.roots.len());
    assert_eq!(run(&program, &world, &arguments("read")), written, "fingerprints in another process");
    run(&program, &world, &arguments("end"));
    python_agrees(&records, &written);
}

/// The reader of type records that was written from FORMAT.md computes the same fingerprints.
fn python_agrees(records: &Path, written: &[String]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/read_schema.py");
    let input = std::fs::File::open(records).expect("the records of the program");
    let output = match Command::new("python3").arg(script).stdin(input).output() {
        Ok(output) => output,
        Err(e) => return println!("skipped: no python3 ({e})"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for fingerprint in written {
        assert!(text.contains(fingerprint), "no {fingerprint} in\n{text}");
    }
}
