//! A QEMU that plays a script: see [`vmlab_tests::fake`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vmlab_tests::fake::main()
}
