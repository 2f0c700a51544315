//! A process outside that minds its own business.
#![expect(clippy::disallowed_methods, reason = "a harness starts processes")]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::CANARY;

/// A sleeper of the same user, with the secret in its name and its environment.
pub struct Victim(Child);

impl Victim {
    pub fn start() -> Self {
        let mut command = Command::new("sleep");
        command.arg0(format!("sleep-{CANARY}")).arg("1000000").env("SECRET", CANARY);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still sleeps: neither ended nor stopped nor traced.
    pub fn sleeps(&mut self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(self.0.try_wait(), Ok(None)) && matches!(state, Some('S' | 'R' | 'D'))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
