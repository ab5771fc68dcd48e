//! Builds the guest's PID 1 as a static binary, which is embedded in the `vmlab` binary, and lists its scenarios.
//!
//! Writes four files to `OUT_DIR`: `vmlab-init`, `catalogue.json` with the scenarios as a JSON array, `faults.json` with
//! the faults of the fault suite, and `measures.json` with the measuring scenarios.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use vmlab_embed::Program;
use vmlab_init::catalogue;
use vmlab_protocol::catalogue::{BadScenarioId, ScenarioSpec};

const INIT: Program<'_> = Program { name: "vmlab-init", features: "", linker_script: Some("init/guest.ld") };

fn main() -> ExitCode {
    vmlab_embed::end(build())
}

fn build() -> Result<(), String> {
    // Paths relative to this package, so that a target directory that was moved or restored by a CI cache refers to the
    // current sources.
    for input in ["../../init", "../../Cargo.toml", "../../Cargo.lock", "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let init = vmlab_embed::build(&INIT)?;
    for (list, name) in [
        (catalogue::scenarios(), "catalogue.json"),
        (catalogue::faults(), "faults.json"),
        (catalogue::measures(), "measures.json"),
    ] {
        write_list(list, &init.with_file_name(name))?;
    }
    Ok(())
}

fn write_list(list: Result<Vec<ScenarioSpec>, BadScenarioId>, path: &Path) -> Result<(), String> {
    let specs = list.map_err(|error| error.to_string())?;
    let json = serde_json::to_vec(&specs).map_err(|error| format!("cannot describe the scenarios: {error}"))?;
    fs::write(path, json).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
