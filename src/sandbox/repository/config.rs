//! What may stand in the config of a repository that a command has made: what git writes there itself, and what says
//! nothing about what is run or where something else is said. Whatever is not understood is taken out.

/// A section, whether it is about something with a name, and its keys.
const HARMLESS: &[(&str, bool, &[&str])] = &[
    (
        "core",
        false,
        &[
            "abbrev",
            "autocrlf",
            "bare",
            "eol",
            "filemode",
            "ignorecase",
            "logallrefupdates",
            "precomposeunicode",
            "quotepath",
            "repositoryformatversion",
            "symlinks",
            "untrackedcache",
            WORKTREE,
        ],
    ),
    ("extensions", false, &["objectformat", "refstorage", "relativeworktrees", "worktreeconfig"]),
    ("user", false, &["name", "email"]),
    ("author", false, &["name", "email"]),
    ("committer", false, &["name", "email"]),
    ("init", false, &["defaultbranch"]),
    ("color", false, &["ui"]),
    ("commit", false, &["gpgsign"]),
    ("tag", false, &["gpgsign"]),
    ("gc", false, &["auto"]),
    ("index", false, &["version"]),
    ("merge", false, &["conflictstyle", "ff"]),
    ("pull", false, &["ff", "rebase"]),
    ("push", false, &["autosetupremote", "default"]),
    ("remote", true, &["fetch", "pushurl", "tagopt", "url"]),
    ("branch", true, &["merge", "pushremote", "rebase", "remote"]),
    ("submodule", true, &["active", "url"]),
];

/// Harmless only if it leads nowhere else.
const WORKTREE: &str = "worktree";

/// The text without what is not harmless, if there is such. `stays` says of a worktree whether it is in the workspace.
///
/// Only lines of the plainest form are kept: no value goes on in the next line, nothing stands behind a section's name.
/// So each of them means what it says, whichever others are taken out.
pub(super) fn harmless(config: &[u8], stays: &dyn Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(config.len());
    let mut keys: &[&str] = &[];
    for line in config.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).ok().map(|text| text.strip_suffix('\n').unwrap_or(text));
        let plain = text.filter(|text| !text.contains(|c: char| c == '\\' || (c != '\t' && c.is_control())));
        let text = plain.map(|text| text.trim_matches([' ', '\t']));
        let fine = match text {
            Some(text) if text.is_empty() || text.starts_with(['#', ';']) => true,
            Some(text) if text.starts_with('[') => {
                let section = section(text);
                keys = section.unwrap_or_default();
                section.is_some()
            }
            Some(text) => is_harmless(text, keys, stays),
            // It may have been a section's name.
            None => {
                keys = &[];
                false
            }
        };
        if fine {
            kept.extend_from_slice(line);
        }
    }
    (kept.len() < config.len()).then_some(kept)
}

/// Where a line says that a worktree is, if it may mean that.
pub(super) fn worktree(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    let (key, value) = text.split_once('=')?;
    // A section's name may stand before the key.
    let key = key.rsplit(']').next().unwrap_or_default().trim();
    key.eq_ignore_ascii_case(WORKTREE).then(|| value.trim().trim_matches('"'))
}

/// The harmless keys of the section that begins here.
fn section(line: &str) -> Option<&'static [&'static str]> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    let (name, about) = match inner.split_once([' ', '\t']) {
        None => (inner, false),
        Some((name, rest)) => {
            let about = rest.trim_start_matches([' ', '\t']).strip_prefix('"')?.strip_suffix('"')?;
            if about.contains('"') {
                return None;
            }
            (name, true)
        }
    };
    let known = HARMLESS.iter().find(|(section, named, _)| *named == about && section.eq_ignore_ascii_case(name))?;
    Some(known.2)
}

fn is_harmless(line: &str, keys: &[&str], stays: &dyn Fn(&str) -> bool) -> bool {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let (key, value) = (key.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
    let Some(key) = keys.iter().find(|known| known.eq_ignore_ascii_case(key)) else { return false };
    if *key == WORKTREE {
        return !value.contains(['"', '#', ';']) && stays(value);
    }
    // `ext::sh -c …` is a remote that is a program.
    !value.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(config: &str) -> String {
        let kept = harmless(config.as_bytes(), &|path| path == "../../sub");
        kept.map_or_else(|| config.to_owned(), |kept| String::from_utf8(kept).unwrap())
    }

    #[test]
    fn what_git_writes_itself_stays() {
        let written = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tworktree = ../../sub\n# why\n\n\
                       [remote \"origin\"]\n\turl = /a b/c\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
                       [branch \"m\"]\n\tremote = origin\n\tmerge = refs/heads/m\n[submodule \"s/t\"]\n\tactive = true\n";
        assert_eq!(kept(written), written);
    }

    #[test]
    fn what_runs_something_and_what_is_not_understood_goes() {
        for evil in [
            "fsmonitor = evil\n",
            "bare = false\\\n",
            "worktree = /home/x\n",
            "worktree = \"../../sub\"\n",
            "hooksPath = x\n",
            "bare = false\u{1}\n",
            "[core] fsmonitor = evil\n",
            "[core] fsmonitor = evil ]\n",
            "[alias]\nst = !evil\n",
            "[include]\npath = evil\n",
            "[remote \"x\"]\nuploadpack = evil\n",
            "[remote \"x\"]\nurl = ext::sh -c evil\n",
            "[remote \"a\"b\"]\nurl = x\n",
            "[submodule \"x\"]\nupdate = !evil\n",
            "[remote.x]\nurl = x\n",
            "[core \"x\"]\nbare = true\n",
            "url = x\n",
            "\r[alias]\nst = !evil\r\n",
        ] {
            let kept = kept(&format!("[core]\n{evil}[user]\nname = x\n"));
            assert!(!kept.contains("evil") && kept.ends_with("[user]\nname = x\n"), "{evil:?}: {kept:?}");
            assert!(kept.len() < evil.len() + 22, "{evil:?}: {kept:?}");
        }
        // A section that is not understood does not leave its keys to the one before.
        assert_eq!(kept("[core]\n[x y]\nbare = true\n"), "[core]\n");
        assert_eq!(kept("[core]\n\u{feff}[x\\]\nbare = true\n"), "[core]\n");
    }
}
