//! The program: see [`codex_agent::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    codex_agent::cli::main()
}
