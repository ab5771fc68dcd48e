//! vmlab's PID 1: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmlab_init::main()
}
