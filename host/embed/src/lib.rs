//! For build scripts: builds a program of this workspace as a static binary, which is embedded in `vmlab`.
//!
//! It runs a second cargo with a separate target directory, because the outer cargo has the lock of its target directory until the
//! script has ended.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// The target of the programs: vmlab's guests are x86-64 machines, and so are its hosts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program of this workspace. Its package and its binary have the same name.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The name.
    pub name: &'a str,
    /// Features of the package, separated by commas.
    pub features: &'a str,
    /// The path of a linker script, relative to the workspace.
    pub linker_script: Option<&'a str>,
}

/// Ends a build script: cargo shows each line of an error.
#[must_use]
pub fn end(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // cargo shows each of these lines as an error, and no other output (cargo 1.84).
            message.lines().for_each(|line| println!("cargo::error={line}"));
            ExitCode::FAILURE
        }
    }
}

/// Builds a program and copies it to `OUT_DIR`, under its name. Returns the path of the copy.
///
/// # Errors
/// The reason, with a hint if something is not installed.
pub fn build(program: &Program<'_>) -> Result<PathBuf, String> {
    let (out, manifest) = (directory("OUT_DIR")?, directory("CARGO_MANIFEST_DIR")?);
    let root =
        manifest.ancestors().nth(2).ok_or_else(|| format!("{} is not two directories deep", manifest.display()))?;
    let built = compile(program, root, &out.join("inner"))?;
    let copy = out.join(program.name);
    fs::copy(&built, &copy)
        .map_err(|error| format!("cannot copy {} to {}: {error}", built.display(), copy.display()))?;
    Ok(copy)
}

/// A directory that cargo names in the environment.
///
/// # Errors
/// cargo did not set the variable.
pub fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}

fn compile(program: &Program<'_>, root: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.current_dir(root).args(["build", "--quiet", "--locked", "--package", program.name]);
    command.args(["--features", program.features]);
    command.args(["--profile", "guest", "--target", TARGET, "--target-dir"]).arg(target_dir);
    env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_of_the_outer_build(name)).for_each(
        |name| {
            command.env_remove(name);
        },
    );
    // At fixed addresses a program needs no relocations, which are a tenth of its size, and processes in two guests have the same
    // memory layout.
    let mut flags = "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static".to_owned();
    if let Some(script) = program.linker_script {
        flags.push_str(&format!("\x1f-Clink-arg=-Wl,-T,{}", root.join(script).display()));
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);

    let output = command.output().map_err(|error| format!("cannot run {}: {error}", cargo.display()))?;
    if output.status.success() {
        Ok(target_dir.join(TARGET).join("guest").join(program.name))
    } else {
        Err(explain(program, &output))
    }
}

/// Whether a variable configures the outer build. Such variables are removed, so that a program is always the same: clippy
/// and rustdoc replace the compiler, coverage tools and users add flags and profiles, and the outer cargo's job server ends
/// with it.
fn is_of_the_outer_build(variable: &str) -> bool {
    const NAMES: &[&str] = &[
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "DEBUG",
        "MAKEFLAGS",
        "MFLAGS",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "TARGET",
    ];
    const PREFIXES: &[&str] =
        &["CARGO_BUILD_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_"];
    let target_flags = variable.starts_with("CARGO_TARGET_") && variable.ends_with("_RUSTFLAGS");
    target_flags || NAMES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// Adds hints for the two things that may be missing on a machine that can build the host's crates, recognised by the
/// messages of rustc 1.95, GNU ld 2.40, mold 1.10 and lld 14.
fn explain(program: &Program<'_>, output: &Output) -> String {
    let (name, text) = (program.name, String::from_utf8_lossy(&output.stderr));
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let hint = if says(&["can't find crate for `std`", "can't find crate for `core`"]) {
        format!(
            "{name} is built for {TARGET}, whose standard library is not installed: run `rustup target add {TARGET}`.\n"
        )
    } else if says(&["cannot find -lc", "unable to find library -lc", "library not found: c\n", "crtbeginT.o"]) {
        format!(
            "{name} is linked statically, but the static C library (libc.a) is not installed: install libc6-dev (Debian, Ubuntu), \
             glibc-static (Fedora) or glibc-devel-static (openSUSE).\n"
        )
    } else {
        String::new()
    };
    format!("{hint}building {name} failed ({}):\n{text}", output.status)
}
