//! The rules as a brain meets them: what is refused in which disguise, and what passes.

mod any_command;
mod disguises;
mod files;

use super::*;

/// The built-in rules.
fn built_in() -> Policy {
    Policy::load(None, false).unwrap()
}

/// The rules of a file with this text.
fn file(text: &str, ci: bool) -> Result<Policy, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Policy::load(Some(file.path()), ci)
        .map_err(|error| error.to_string().replace(file.path().to_str().unwrap(), "rules.toml"))
}

fn verdict(policy: &Policy, command: &str) -> Result<(), Refusal> {
    let argv = shlex::split(command).unwrap_or_else(|| panic!("not words: {command}"));
    policy.check(command, &argv)
}
