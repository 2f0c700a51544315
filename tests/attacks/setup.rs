//! What is done before a call: files, listeners, processes and shared objects for it to go for.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::CANARY;
use crate::base64::decode;
use crate::case::Places;
use crate::ipc::Shared;
use crate::listener::Listener;
use crate::victim::Victim;

/// One operation. Paths may name missing parents; a name in `port`, `pid` or `id` becomes a placeholder.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// A file with this text or these bytes.
    Write {
        path: PathBuf,
        text: Option<String>,
        b64: Option<String>,
        mode: Option<String>,
    },
    Mkdir {
        path: PathBuf,
    },
    Symlink {
        path: PathBuf,
        target: PathBuf,
    },
    Hardlink {
        path: PathBuf,
        target: PathBuf,
    },
    Fifo {
        path: PathBuf,
    },
    /// A file of this size with nothing in it.
    Sparse {
        path: PathBuf,
        size: u64,
    },
    /// A copy of a program that this machine may have.
    CopyIfExists {
        src: PathBuf,
        path: PathBuf,
        mode: Option<String>,
    },
    /// A repository with one commit.
    Git {
        path: PathBuf,
    },
    ListenTcp {
        port: String,
    },
    ListenTcp6 {
        port: String,
    },
    ListenUdp {
        port: String,
    },
    ListenUnix {
        path: PathBuf,
    },
    ListenUnixDgram {
        path: PathBuf,
    },
    ListenAbstract {
        name: String,
    },
    /// A port that nobody listens on.
    FreePort {
        port: String,
    },
    /// A sleeping process of the same user, whose name, environment and memory have the secret.
    Process {
        pid: String,
    },
    /// `SysV` shared memory, a message queue and a semaphore with the secret in or beside them, open to the user.
    SysvShm {
        id: String,
    },
    SysvMsg {
        id: String,
    },
    SysvSem {
        id: String,
    },
    /// A POSIX message queue with the secret in it.
    Mqueue {
        name: String,
    },
}

/// What the operations left open; goes away with the case.
#[derive(Default)]
pub struct Prepared {
    pub listeners: Vec<Listener>,
    pub victims: Vec<Victim>,
    pub shared: Vec<Shared>,
    files_elsewhere: Vec<PathBuf>,
}

impl Prepared {
    /// Does the operations in their order; what they name stands in `places` afterwards.
    pub async fn new(setup: &[Value], places: &mut Places, case_dir: &Path) -> Self {
        let mut prepared = Self::default();
        for op in setup {
            let op = places.fill(op);
            let op = Op::deserialize(&op).unwrap_or_else(|error| panic!("{error}: {op}"));
            prepared.perform(op, places, case_dir).await;
        }
        prepared
    }

    async fn perform(&mut self, op: Op, places: &mut Places, case_dir: &Path) {
        match op {
            Op::Write { path, text, b64, mode } => {
                let bytes = match (text, b64) {
                    (Some(text), None) => text.into_bytes(),
                    (None, Some(b64)) => decode(&b64),
                    _ => panic!("{}: either text or b64", path.display()),
                };
                make_parents(&path);
                std::fs::write(&path, bytes).unwrap();
                set_mode(&path, mode);
                self.elsewhere(path, case_dir);
            }
            Op::Mkdir { path } => std::fs::create_dir_all(path).unwrap(),
            Op::Symlink { path, target } => {
                make_parents(&path);
                symlink(target, path).unwrap();
            }
            Op::Hardlink { path, target } => std::fs::hard_link(target, path).unwrap(),
            Op::Fifo { path } => {
                let mode = rustix::fs::Mode::from_raw_mode(0o644);
                rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
            }
            Op::Sparse { path, size } => std::fs::File::create(path).unwrap().set_len(size).unwrap(),
            Op::CopyIfExists { src, path, mode } => {
                if src.exists() {
                    std::fs::copy(src, &path).unwrap();
                    set_mode(&path, mode);
                }
            }
            Op::Git { path } => repository(&path).await,
            Op::ListenTcp { port } => self.listen(&port, Listener::tcp("127.0.0.1:0"), places),
            Op::ListenTcp6 { port } => self.listen(&port, Listener::tcp("[::1]:0"), places),
            Op::ListenUdp { port } => self.listen(&port, Listener::udp(), places),
            Op::ListenUnix { path } => {
                self.listeners.push(Listener::unix(&path));
                self.elsewhere(path, case_dir);
            }
            Op::ListenUnixDgram { path } => self.listeners.push(Listener::unix_dgram(&path)),
            Op::ListenAbstract { name } => self.listeners.push(Listener::abstract_unix(&name)),
            Op::FreePort { port } => places.add(&port, &Listener::tcp("127.0.0.1:0").port()),
            Op::Process { pid } => {
                let victim = Victim::start();
                places.add(&pid, &victim.pid());
                self.victims.push(victim);
            }
            Op::SysvShm { id } => self.share(&id, Shared::memory(), places),
            Op::SysvMsg { id } => self.share(&id, Shared::messages(), places),
            Op::SysvSem { id } => self.share(&id, Shared::semaphore(), places),
            Op::Mqueue { name } => self.shared.push(Shared::mqueue(&name)),
        }
    }

    /// What does not go away with the case's directory is taken away with the case.
    fn elsewhere(&mut self, path: PathBuf, case_dir: &Path) {
        if !path.starts_with(case_dir) {
            self.files_elsewhere.push(path);
        }
    }

    fn listen(&mut self, name: &str, listener: Listener, places: &mut Places) {
        places.add(name, &listener.port());
        self.listeners.push(listener);
    }

    fn share(&mut self, name: &str, shared: Shared, places: &mut Places) {
        places.add(name, &shared.id());
        self.shared.push(shared);
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for file in &self.files_elsewhere {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn make_parents(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
}

fn set_mode(path: &Path, mode: Option<String>) {
    if let Some(mode) = mode {
        let mode = u32::from_str_radix(&mode, 8).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

/// A repository whose hooks directory has a hook of its own, and whose configuration names a user.
#[expect(clippy::disallowed_methods, reason = "a harness starts processes")]
async fn repository(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::write(path.join("tracked"), "one\n").unwrap();
    let steps: [&[&str]; 5] = [
        &["init", "--quiet", "--template=", "."],
        &["config", "user.name", "x"],
        &["config", "user.email", "x@localhost"],
        &["add", "tracked"],
        &["commit", "--quiet", "--message=one"],
    ];
    for step in steps {
        let mut git = tokio::process::Command::new("git");
        // Nothing of this user's own settings.
        git.args(step).current_dir(path).env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git.output().await.unwrap();
        assert!(output.status.success(), "git {step:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let hooks = path.join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("post-checkout");
    std::fs::File::create(&hook).unwrap().write_all(b"#!/bin/sh\nexit 0\n").unwrap();
    set_mode(&hook, Some("755".to_owned()));
}

/// Lays out what a case finds around its workspace.
pub fn lay_out(case_dir: &Path) {
    for (directory, file) in [("ws", None), ("outside", Some("secret")), ("ws-evil", Some("secret"))] {
        let directory = case_dir.join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        if let Some(file) = file {
            std::fs::write(directory.join(file), format!("{CANARY}\n")).unwrap();
        }
    }
}
