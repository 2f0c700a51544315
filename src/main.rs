//! The program: see [`codex_agent::cli`]; and, started by itself, the [`supervisor`] of a command.

use std::process::ExitCode;

use codex_agent::{cli, sandbox::supervisor};

fn main() -> ExitCode {
    // First of all: this process is the command's then, and none of the service's concern may be its own.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == supervisor::VERB) {
        return supervisor::main();
    }
    cli::main()
}
