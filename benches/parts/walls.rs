//! How commands are confined in a bench.

use std::path::Path;

use codex_agent::sandbox::{Limits, Network, Requirement, Settings};

pub fn settings(requirement: Requirement, home: &Path) -> Settings {
    Settings {
        requirement,
        network: Network::None,
        read: Vec::new(),
        write: Vec::new(),
        environment: Vec::new(),
        path: "/usr/bin:/bin".into(),
        limits: Limits::default(),
        code_dir: home.to_owned(),
        private: Vec::new(),
        temporary: std::env::temp_dir(),
        supervisor: env!("CARGO_BIN_EXE_codex-agent").into(),
    }
}
