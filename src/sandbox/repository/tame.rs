//! Makes harmless what a command has made: in a new git directory may be what git itself puts there.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

use super::config::harmless;
use super::find::{MODULES, WORKTREES, is_real_dir, line};
use super::thing::{Leads, Thing, leads, look, look_small, metadata, names, opened, remove};

/// What a worktree's directory says of the one it belongs to.
const OF_A_WORKTREE: &[u8] = b"../..";

/// Takes out of a git directory what would be run, or say what is. Whether there was such.
pub(super) fn tame(workspace: &Dir, dir: &Path) -> io::Result<bool> {
    opened(workspace, dir, &mut || go_through(workspace, dir, Do::TakeOut))
}

/// Whether there is nothing to be taken out.
pub(super) fn is_tame(workspace: &Dir, dir: &Path) -> io::Result<bool> {
    Ok(!opened(workspace, dir, &mut || go_through(workspace, dir, Do::Tell))?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Do {
    TakeOut,
    Tell,
}

fn go_through(workspace: &Dir, dir: &Path, act: Do) -> io::Result<bool> {
    let mut wild = hooks(workspace, &dir.join("hooks"), act)?;
    for name in ["config", "config.worktree"] {
        wild |= config(workspace, dir, name, act)?;
    }
    wild |= common(workspace, dir, act)?;
    Ok(wild)
}

/// Git runs no sample.
fn hooks(workspace: &Dir, path: &Path, act: Do) -> io::Result<bool> {
    match look(workspace, path, None)? {
        Some(Thing::Directory { .. }) => {
            let mut wild = false;
            for hook in opened(workspace, path, &mut || names(workspace, path))? {
                if !is_sample(&hook) {
                    wild = true;
                    take_out(workspace, &hook, act)?;
                }
            }
            Ok(wild)
        }
        Some(Thing::Link(_)) => take_out(workspace, path, act).map(|()| true),
        None | Some(Thing::File { .. }) => Ok(false),
    }
}

fn config(workspace: &Dir, dir: &Path, name: &str, act: Do) -> io::Result<bool> {
    let path = dir.join(name);
    let is_submodule = is_submodule(workspace, dir)?;
    let stays = |worktree: &str| {
        let there = leads(workspace, &dir.join(worktree));
        is_submodule && matches!(there, Leads::Inside(path) if is_real_dir(workspace, &path).unwrap_or(false))
    };
    match look_small(workspace, &path) {
        Ok(None | Some(Thing::Directory { .. })) => Ok(false),
        Ok(Some(Thing::File { mode, content, .. })) => {
            let Some(kept) = harmless(&content, &stays) else { return Ok(false) };
            if act == Do::TakeOut {
                Thing::File { mode, content: kept.into(), stamp: None }.make(workspace, &path)?;
            }
            Ok(true)
        }
        // A link, or what is too large to be read, or closed.
        _ => take_out(workspace, &path, act).map(|()| true),
    }
}

/// Whether it lies where git puts the directories of submodules; only for these it writes where their worktree is.
fn is_submodule(workspace: &Dir, dir: &Path) -> io::Result<bool> {
    for modules in dir.ancestors().skip(1).filter(|above| above.file_name().is_some_and(|name| name == MODULES)) {
        if metadata(workspace, &modules.with_file_name("HEAD"))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn common(workspace: &Dir, dir: &Path, act: Do) -> io::Result<bool> {
    let path = dir.join("commondir");
    let is_worktree = dir.parent().and_then(Path::file_name).is_some_and(|above| above == WORKTREES);
    match look_small(workspace, &path) {
        Ok(None) => Ok(false),
        Ok(Some(Thing::File { content, .. })) if is_worktree && line(&content) == OF_A_WORKTREE => Ok(false),
        _ => take_out(workspace, &path, act).map(|()| true),
    }
}

pub(super) fn is_sample(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sample")
}

fn take_out(workspace: &Dir, path: &Path, act: Do) -> io::Result<()> {
    if act == Do::TakeOut { remove(workspace, path) } else { Ok(()) }
}
