//! The `longwire` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    longwire::cli::main()
}
