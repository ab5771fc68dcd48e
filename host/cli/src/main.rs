//! The `vmlab` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmlab::main()
}
