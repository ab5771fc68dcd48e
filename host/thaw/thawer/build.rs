//! Links the program without a C library's start-up code, at the addresses that the format of images reserves for it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_FREESTANDING").is_some() {
        // The address is vmlab_thaw_image::OWN; the program refuses to run elsewhere. The option is lld's, which is rustc's linker for
        // this target since 1.90.
        for argument in ["-nostartfiles", "-static", "-no-pie", "-Wl,--image-base=0x70000000,--build-id=none"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
