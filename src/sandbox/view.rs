//! What a command sees of the machine besides its workspace and its temporary directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hidden;

/// Where the system's programs and their data lie. Nothing works without the first ones.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"];

/// Where more of them may lie. Left out, where something of the service's lies there too.
const MORE: &[&str] = &["/opt", "/nix/store", "/sys/devices/system/cpu"];

/// Files and directories that a command may reach, computed once at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    /// Directories and files to be read.
    pub system: Vec<PathBuf>,
    /// Links in the root directory, such as `/bin` to `usr/bin`.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// What lies below `system` and is not to be seen.
    pub hidden: Vec<PathBuf>,
    /// `system` without what is hidden, for walls that cannot take anything away again.
    pub expanded: Vec<PathBuf>,
    /// `SANDBOX_READ`
    pub read: Vec<PathBuf>,
    /// `SANDBOX_WRITE`
    pub write: Vec<PathBuf>,
}

/// Something that commands would see and must not.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A path of `SANDBOX_READ` or `SANDBOX_WRITE` that cannot be used.
    #[error("{variable}: {path}: {source}")]
    Path {
        /// Which list.
        variable: &'static str,
        /// Which path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The service's own files would be seen.
    #[error("{variable}: {private} lies in {path}, which commands can read")]
    Exposed {
        /// What would be exposed.
        variable: &'static str,
        /// Where it lies.
        private: PathBuf,
        /// What exposes it.
        path: PathBuf,
    },
}

/// A path that commands must not reach, and the variable it comes from.
pub type Private = (&'static str, PathBuf);

impl View {
    /// Looks at the machine. `code_dir` and the `private` paths are canonical; where commands are not confined, there are
    /// none.
    pub(super) fn new(
        read: &[PathBuf],
        write: &[PathBuf],
        code_dir: Option<&Path>,
        private: &[Private],
    ) -> Result<Self, ViewError> {
        let mut private = private.to_vec();
        if let Some(code_dir) = code_dir {
            refuse(&private, code_dir)?;
            // Beside the workspace that a command is for lie those of others.
            private.push(("CODE_DIR", code_dir.to_owned()));
        }
        let mut view = Self {
            system: Vec::new(),
            links: Vec::new(),
            hidden: Vec::new(),
            expanded: Vec::new(),
            read: listed("SANDBOX_READ", read)?,
            write: listed("SANDBOX_WRITE", write)?,
        };
        for path in view.read.iter().chain(&view.write) {
            refuse(&private, path)?;
        }
        for path in SYSTEM.iter().chain(MORE).map(PathBuf::from) {
            if let Ok(target) = fs::read_link(&path) {
                view.links.push((path, target));
            } else if path.exists() {
                if SYSTEM.iter().any(|system| path == Path::new(system)) {
                    refuse(&private, &path)?;
                } else if refuse(&private, &path).is_err() {
                    continue;
                }
                view.system.push(path);
            }
        }
        // Where commands are not confined, it is hidden from nobody.
        if code_dir.is_some() {
            let shown: Vec<&Path> = view.read.iter().chain(&view.write).map(PathBuf::as_path).collect();
            view.hidden = hidden::below(&view.system, &shown);
        }
        view.expanded = view.system.iter().flat_map(|path| hidden::without(path, &view.hidden)).collect();
        Ok(view)
    }

    /// What may be read, for Landlock. In a private root what is hidden is covered already.
    pub(super) fn readable(&self, private_root: bool) -> impl Iterator<Item = &Path> {
        let system = if private_root { &self.system } else { &self.expanded };
        system.iter().chain(&self.read).map(PathBuf::as_path)
    }

    /// The directories of a search path that commands see.
    pub(super) fn shown(&self, path: &OsStr) -> OsString {
        let shown = std::env::split_paths(path).filter(|dir| dir.is_absolute() && self.shows(dir));
        // What was taken from such a list has no colon in it.
        std::env::join_paths(shown).unwrap_or_default()
    }

    /// Whether a command could start this program at all.
    pub(super) fn shows(&self, program: &Path) -> bool {
        let Ok(program) = program.canonicalize() else { return false };
        let hidden = self.hidden.iter().any(|hidden| program.starts_with(hidden));
        !hidden && self.system.iter().chain(&self.read).chain(&self.write).any(|seen| program.starts_with(seen))
    }
}

/// Whether commands that see `path` would see something private.
fn refuse(private: &[Private], path: &Path) -> Result<(), ViewError> {
    match private.iter().find(|(_, private)| private.starts_with(path)) {
        Some((variable, private)) => {
            Err(ViewError::Exposed { variable, private: private.clone(), path: path.to_owned() })
        }
        None => Ok(()),
    }
}

fn listed(variable: &'static str, paths: &[PathBuf]) -> Result<Vec<PathBuf>, ViewError> {
    let canonical =
        |path: &PathBuf| path.canonicalize().map_err(|source| ViewError::Path { variable, path: path.clone(), source });
    paths.iter().map(canonical).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_services_own_must_not_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (code, private) = (root.join("code"), &[("OUTPUT_DIR", root.join("output"))]);
        let code = Some(code.as_path());
        assert!(View::new(&[], &[], Some(&root), private).is_err());
        let error = View::new(std::slice::from_ref(&root), &[], code, private).unwrap_err().to_string();
        assert!(error.starts_with("OUTPUT_DIR: ") && error.ends_with("which commands can read"), "{error}");
        let error = View::new(&[], &[root.join("none")], code, private).unwrap_err().to_string();
        assert!(error.starts_with("SANDBOX_WRITE: "), "{error}");
        assert!(View::new(&[], &[], code, &[("OUTPUT_DIR", "/etc/agent".into())]).is_err());
        let others = View::new(&[], &[], Some(Path::new("/usr/src/app")), &[]).unwrap_err().to_string();
        assert!(others.starts_with("CODE_DIR: ") && View::new(&[], &[], None, &[]).is_ok(), "{others}");
        let view = View::new(&[], &[], code, &[("OUTPUT_DIR", "/opt/agent".into())]).unwrap();
        assert!(!view.system.contains(&PathBuf::from("/opt")) && view.shows(Path::new("/bin/sh")));
    }
}
