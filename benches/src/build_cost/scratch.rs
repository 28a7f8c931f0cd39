//! The crates on disk, and cargo's work on them.

use super::generate::Type;
use super::source::{SIDES, Side};
use crate::Result;
use crate::process::{TICK_NS, process_ticks};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What is done to a crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// `cargo check` of the types.
    Check,
    /// `cargo build` of the types, debug profile.
    Build,
    /// `cargo build` of the program, debug profile, linking included.
    BuildProgram,
}

/// What one build took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// By the clock.
    pub wall: f64,
    /// CPU time of cargo and all it started.
    pub cpu: f64,
}

/// A workspace of generated crates: for each side `types-…` and `use-…`.
pub struct Scratch {
    root: PathBuf,
    cargo: PathBuf,
    /// How many timed builds there were.
    builds: u32,
}

impl Scratch {
    /// Writes the crates into `root`; the programs use the types of `used`.
    pub fn create(root: PathBuf, types: &[Type], used: &[&Type]) -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
        let ours = format!("shmem-core = {{ path = {:?} }}\n", repository.join("shmem-core"));
        let members: Vec<_> = SIDES
            .iter()
            .flat_map(|side| ["types", "use"].map(|kind| format!("\"{kind}-{}\"", side.name())))
            .collect();
        let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(", "));
        write(&root.join("Cargo.toml"), &workspace)?;
        // The versions that this program was built with.
        write(&root.join("Cargo.lock"), &std::fs::read_to_string(repository.join("Cargo.lock"))?)?;
        for side in SIDES {
            let (for_types, for_program) = match side {
                Side::Ours => (ours.as_str(), ours.as_str()),
                Side::Serde => {
                    ("serde = { version = \"1\", features = [\"derive\"] }\n", "serde_json = \"1\"\n")
                }
                Side::Bare => ("", ""),
            };
            let name = side.name();
            let package = |kind: &str, dependencies: &str| {
                format!(
                    "[package]\nname = \"{kind}-{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                     [dependencies]\n{dependencies}"
                )
            };
            let (types_folder, program_folder) =
                (root.join(format!("types-{name}")), root.join(format!("use-{name}")));
            write(&types_folder.join("Cargo.toml"), &package("types", for_types))?;
            write(&types_folder.join("src/lib.rs"), &side.types(types))?;
            let with_types = format!("types-{name} = {{ path = \"../types-{name}\" }}\n{for_program}");
            write(&program_folder.join("Cargo.toml"), &package("use", &with_types))?;
            write(&program_folder.join("src/main.rs"), &side.program(types, used))?;
        }
        let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        Ok(Scratch { root, cargo, builds: 0 })
    }

    /// cargo with a target folder of this name, told what it would be told on a command line.
    fn cargo(&self, target: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        command
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .env("CARGO_TARGET_DIR", self.root.join(target))
            .env("CARGO_INCREMENTAL", "0")
            // A cache of compilations would be measured instead.
            .env_remove("RUSTC_WRAPPER")
            .env_remove("CARGO_BUILD_RUSTC_WRAPPER");
        command
    }

    /// Times an action on one crate alone: a comment in it changes first, and what it depends on is there if the same
    /// was done before.
    pub fn time(&mut self, side: Side, action: Action) -> Result<Took> {
        let (command, kind, file) = match action {
            Action::Check => ("check", "types", "src/lib.rs"),
            Action::Build => ("build", "types", "src/lib.rs"),
            Action::BuildProgram => ("build", "use", "src/main.rs"),
        };
        let package = format!("{kind}-{}", side.name());
        self.builds += 1;
        let file = self.root.join(&package).join(file);
        let text = std::fs::read_to_string(&file)?;
        let code = text.split("\n// Build ").next().unwrap_or_default();
        write(&file, &format!("{code}\n// Build {}\n", self.builds))?;
        let mut cargo = self.cargo("target");
        cargo.args([command, "--quiet", "--package", &package]);
        let own_cpu = || process_ticks(std::process::id()).map(|ticks| (ticks * TICK_NS) as f64);
        let (start, cpu) = (Instant::now(), own_cpu());
        output(&mut cargo)?;
        let wall = start.elapsed().as_nanos() as f64;
        let cpu = own_cpu().zip(cpu).map_or(0.0, |(after, before)| after - before);
        Ok(Took { wall, cpu })
    }

    /// What a built program prints.
    pub fn run(&self, side: Side) -> Result<String> {
        let program = self.root.join("target/debug").join(format!("use-{}", side.name()));
        Ok(output(&mut Command::new(program))?.trim().into())
    }

    /// How many lines that are not blank the types have once every macro is expanded.
    pub fn expanded_lines(&self, side: Side) -> Result<usize> {
        let package = format!("types-{}", side.name());
        // Build scripts look at this variable, so these builds would disturb the timed ones in one folder. It names
        // the only crate that may use what is unstable.
        let mut cargo = self.cargo("expanded");
        cargo.env("RUSTC_BOOTSTRAP", package.replace('-', "_"));
        cargo.args([
            "rustc",
            "--quiet",
            "--package",
            &package,
            "--profile=check",
            "--",
            "-Zunpretty=expanded",
        ]);
        let lines = output(&mut cargo)?.lines().filter(|line| !line.trim().is_empty()).count();
        if lines == 0 { Err("the compiler printed nothing".into()) } else { Ok(lines) }
    }
}

/// Runs a command; what it wrote to standard output.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if !output.status.success() {
        let written = String::from_utf8_lossy(&output.stderr);
        let first: Vec<_> = written.lines().take(40).collect();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        return Err(
            format!("`{}` failed ({}):\n{}", arguments.join(" "), output.status, first.join("\n")).into()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes a file, and the folders it stands in.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().ok_or("a path without a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|e| format!("{}: {e}", path.display()).into())
}
