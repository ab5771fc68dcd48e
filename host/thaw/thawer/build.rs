//! Links the program without a C library's start-up code, at the addresses that the format of images reserves for it.

use std::env;
use std::path::Path;

/// The linker script.
const SCRIPT: &str = "thawer.ld";

fn main() {
    for input in ["build.rs", SCRIPT] {
        println!("cargo::rerun-if-changed={input}");
    }
    if env::var_os("CARGO_FEATURE_FREESTANDING").is_none() {
        return;
    }
    let script =
        env::var_os("CARGO_MANIFEST_DIR").map(|directory| Path::new(&directory).join(SCRIPT)).unwrap_or_default();
    let script = format!("-Wl,--build-id=none,-T,{}", script.display());
    for argument in ["-nostartfiles", "-static", "-no-pie", &script] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
