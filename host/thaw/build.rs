//! Builds the two programs as static binaries, which are embedded in the `vmlab` binary.
//!
//! Writes `vmlab-freezer` and `vmlab-thawer` to `OUT_DIR`, and names what they are: `VMLAB_THAW_PROGRAMS`.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::process::ExitCode;

use vmlab_embed::Program;

const PROGRAMS: [Program<'_>; 2] = [
    Program { name: "vmlab-freezer", features: "", linker_script: None },
    // Separately: it has no allocator, which the image's encoder needs.
    Program { name: "vmlab-thawer", features: "freestanding", linker_script: None },
];

fn main() -> ExitCode {
    // Paths relative to this package, so that a target directory that was moved or restored by a CI cache refers to the
    // current sources.
    for input in ["freezer", "image", "thawer", "../../Cargo.toml", "../../Cargo.lock", "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    vmlab_embed::end(build())
}

fn build() -> Result<(), String> {
    let mut identity = DefaultHasher::new();
    for program in &PROGRAMS {
        let path = vmlab_embed::build(program)?;
        let bytes = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        identity.write(&bytes);
    }
    println!("cargo::rustc-env=VMLAB_THAW_PROGRAMS={:016x}", identity.finish());
    Ok(())
}
