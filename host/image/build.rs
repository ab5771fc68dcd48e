//! Builds the guest's PID 1 as a static binary, which is embedded in the `vmlab` binary, and lists its scenarios.
//!
//! Writes four files to `OUT_DIR`: `vmlab-init`, `catalogue.json` with the scenarios as a JSON array, `faults.json` with
//! the faults of the fault suite, and `measures.json` with the measuring scenarios.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use vmlab_init::catalogue;
use vmlab_protocol::catalogue::{BadScenarioId, ScenarioSpec};

/// The target of the guest's binary: vmlab's guests are x86-64 machines.
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // cargo shows each of these lines as an error, and no other output (cargo 1.84).
            message.lines().for_each(|line| println!("cargo::error={line}"));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let (out, manifest) = (directory("OUT_DIR")?, directory("CARGO_MANIFEST_DIR")?);
    let root =
        manifest.ancestors().nth(2).ok_or_else(|| format!("{} is not two directories deep", manifest.display()))?;
    // Paths relative to this package, so that a target directory that was moved or restored by a CI cache refers to the
    // current sources.
    for input in ["../../init", "../../Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-changed=build.rs");

    let built = compile(root, &out.join("guest"))?;
    let init = out.join("vmlab-init");
    fs::copy(&built, &init)
        .map_err(|error| format!("cannot copy {} to {}: {error}", built.display(), init.display()))?;
    for (list, name) in [
        (catalogue::scenarios(), "catalogue.json"),
        (catalogue::faults(), "faults.json"),
        (catalogue::measures(), "measures.json"),
    ] {
        write_list(list, &out.join(name))?;
    }
    Ok(())
}

fn write_list(list: Result<Vec<ScenarioSpec>, BadScenarioId>, path: &Path) -> Result<(), String> {
    let specs = list.map_err(|error| error.to_string())?;
    let json = serde_json::to_vec(&specs).map_err(|error| format!("cannot describe the scenarios: {error}"))?;
    fs::write(path, json).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}

/// Runs a second cargo with a separate target directory, because the outer cargo has the lock of its target directory
/// until this script has ended.
fn compile(root: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.current_dir(root).args(["build", "--quiet", "--locked", "--package", "vmlab-init"]);
    command.args(["--profile", "guest", "--target", GUEST_TARGET, "--target-dir"]).arg(target_dir);
    env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_of_the_outer_build(name)).for_each(
        |name| {
            command.env_remove(name);
        },
    );
    // At fixed addresses the program needs no relocations, which are a tenth of its size, and processes in two guests
    // have the same memory layout.
    let flags = format!(
        "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static\x1f-Clink-arg=-Wl,-T,{}",
        root.join("init/guest.ld").display()
    );
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);

    let output = command.output().map_err(|error| format!("cannot run {}: {error}", cargo.display()))?;
    if output.status.success() {
        Ok(target_dir.join(GUEST_TARGET).join("guest").join("vmlab-init"))
    } else {
        Err(explain(&output))
    }
}

/// Whether a variable configures the outer build. Such variables are removed, so that the guest's binary is always the
/// same: clippy and rustdoc replace the compiler, coverage tools and users add flags and profiles, and the outer
/// cargo's job server ends with it.
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
fn explain(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let hint = if says(&["can't find crate for `std`", "can't find crate for `core`"]) {
        format!(
            "vmlab's PID 1 is built for {GUEST_TARGET}, whose standard library is not installed: run `rustup target add \
             {GUEST_TARGET}`.\n"
        )
    } else if says(&["cannot find -lc", "unable to find library -lc", "library not found: c\n", "crtbeginT.o"]) {
        "vmlab's PID 1 is linked statically, but the static C library (libc.a) is not installed: install libc6-dev \
         (Debian, Ubuntu), glibc-static (Fedora) or glibc-devel-static (openSUSE).\n"
            .to_owned()
    } else {
        String::new()
    };
    format!("{hint}building vmlab-init for the guest failed ({}):\n{text}", output.status)
}
