//! The patch module beside `git apply` and `patch --fuzz=0`: the same bytes whenever both sides take a patch, and where
//! only we refuse, two places to choose from. Random edits of real sources (those of the crates in cargo's registry) and
//! of texts that repeat themselves, from a fixed seed; `CODEX_AGENT_PATCH_CASES=20000` runs more of them.
#![expect(clippy::disallowed_methods, reason = "the two tools are compared with, not run for a task")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail aloud")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use codex_agent::tools::patch::{Hint, PatchError, Space, apply};
use similar::TextDiff;

/// Cases of real sources when nothing else is asked for: each starts two processes, and this many take about five
/// seconds on two cores.
const CASES: usize = 900;

/// How many source files the cases are taken from: enough for all kinds of code, few enough to be read in a blink.
const FILES: usize = 400;

/// Lines of a source that one case works on. Longer ones cost time and show nothing else.
const WINDOW: usize = 150;

#[test]
fn edits_of_real_sources_land_where_git_and_patch_put_them() {
    let cases = std::env::var("CODEX_AGENT_PATCH_CASES").map_or(CASES, |count| count.parse().unwrap());
    let sources = sources();
    let mut random = Random(7);
    let tally = compare(cases, |turn| {
        let text = random.pick(&sources).clone();
        let begin = random.below(text.len().saturating_sub(WINDOW).max(1));
        let base: Vec<String> = text[begin..].iter().take(WINDOW).cloned().collect();
        let edits = 1 + random.below(4);
        let mut edited = random.edit(&base, edits, &text);
        let shifts = random.below(4);
        let mut target = random.edit(&base, shifts, &text);
        let mut base = base;
        match turn % 8 {
            // The patch and the file have CRLF, or the file alone.
            1 => each([&mut base, &mut edited, &mut target], crlf),
            2 => crlf(&mut target),
            // No newline at the end: of all, of the new text, of the file.
            3 => each([&mut base, &mut edited, &mut target], cut),
            4 => cut(&mut edited),
            5 => cut(&mut target),
            // Context that is nearly right: for fuzz, and for what overlooks white space.
            6 => edited.iter().zip(0..).filter(|(line, at)| at % 7 == 0 && line.len() > 1).for_each(|(line, _)| {
                let twin = target.iter_mut().find(|there| *there == line);
                if let Some(there) = twin {
                    there.insert(0, '#');
                }
            }),
            7 => target.iter_mut().for_each(|line| *line = line.replace("    ", "\t")),
            _ => {}
        }
        Case::new(&base, &edited, &target, 3)
    });
    assert!(tally.git > cases / 4 || !is_installed("git"), "too few cases mean something: {tally:?}");
    assert!(tally.patch > cases / 4 || !is_installed("patch"), "too few cases mean something: {tally:?}");
    assert!(tally.refused * 20 <= tally.git, "we refuse too much: {tally:?}");
}

#[test]
fn texts_that_repeat_themselves_land_nowhere_else() {
    let mut random = Random(11);
    let words: Vec<String> = ["a\n", "b\n", "}\n", "\n"].map(str::to_owned).to_vec();
    let tally = compare(500, |turn| {
        let size = 4 + random.below(40);
        let base: Vec<String> = (0..size).map(|_| random.pick(&words).clone()).collect();
        let edits = 1 + random.below(3);
        let mut edited = random.edit(&base, edits, &words);
        let shifts = random.below(3);
        let mut target = random.edit(&base, shifts, &words);
        if turn % 5 == 0 {
            each([&mut edited, &mut target], cut);
        }
        Case::new(&base, &edited, &target, turn % 4)
    });
    assert!(tally.git > 100 || !is_installed("git"), "too few cases mean something: {tally:?}");
    assert!(tally.patch > 100 || !is_installed("patch"), "too few cases mean something: {tally:?}");
    assert!(tally.ours > 100, "too few cases mean something: {tally:?}");
}

fn each<const N: usize>(texts: [&mut Vec<String>; N], change: fn(&mut [String])) {
    for text in texts {
        change(text);
    }
}

fn crlf(lines: &mut [String]) {
    for line in lines {
        *line = line.replace("\r\n", "\n").replace('\n', "\r\n");
    }
}

fn cut(lines: &mut [String]) {
    if let Some(last) = lines.last_mut() {
        last.truncate(last.trim_end_matches('\n').len());
    }
}

/// A patch made for one text and applied to another.
struct Case {
    target: String,
    diff: String,
}

impl Case {
    fn new(base: &[String], edited: &[String], target: &[String], context: usize) -> Self {
        let old: Vec<&str> = base.iter().map(String::as_str).collect();
        let new: Vec<&str> = edited.iter().map(String::as_str).collect();
        let lines = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
        let diff = lines.unified_diff().context_radius(context).header("a/f.txt", "b/f.txt").to_string();
        Self { target: target.concat(), diff }
    }
}

/// How many cases each took; the rest of the numbers are of ours.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    git: usize,
    patch: usize,
    ours: usize,
    /// Taken by us alone, and how.
    ours_alone: usize,
    fuzz: usize,
    space: usize,
    /// Taken by git, and not by us: there was a choice.
    refused: usize,
    /// Why we refused what we refused.
    reasons: HashMap<String, usize>,
}

fn compare(cases: usize, mut case: impl FnMut(usize) -> Case) -> Tally {
    let mut tally = Tally::default();
    let dir = tempfile::tempdir().unwrap();
    for turn in 0..cases {
        let Case { target, diff } = case(turn);
        if diff.is_empty() {
            continue;
        }
        let done = apply(Some(&target), &diff, "f.txt");
        let git = run(dir.path(), &["git", "apply", "--whitespace=nowarn", "f.diff"], &target, &diff);
        let patch =
            run(dir.path(), &["patch", "--binary", "--fuzz=0", "-p1", "-f", "-s", "-i", "f.diff"], &target, &diff);
        tally.ours += usize::from(done.is_ok());
        tally.git += usize::from(git.is_some());
        tally.patch += usize::from(patch.is_some());
        tally.cases += 1;
        tally.ours_alone += usize::from(done.is_ok() && git.is_none() && patch.is_none());
        match &done {
            Ok(done) => {
                tally.fuzz += usize::from(done.hunks.iter().any(|hunk| hunk.fuzz > 0));
                tally.space += usize::from(done.hunks.iter().any(|hunk| hunk.space != Space::Same));
            }
            Err(error) => {
                let name = format!("{error:?}").split([' ', '(']).next().unwrap().to_owned();
                *tally.reasons.entry(name).or_default() += 1;
            }
        }
        let ours = done.map(|done| done.text.unwrap());
        for (tool, theirs) in [("git apply", git), ("patch", patch)] {
            let Some(theirs) = theirs else { continue };
            match &ours {
                Ok(ours) => {
                    assert_eq!(*ours, theirs, "case {turn}, {tool} differs\n--- target\n{target}--- diff\n{diff}");
                }
                Err(PatchError::Ambiguous { .. } | PatchError::NoContext { .. }) => {
                    tally.refused += usize::from(tool == "git apply");
                }
                // They put a last line without newline into the middle, too, glued to the line after it.
                Err(PatchError::NotFound { hint: Hint::NotAtEnd(_), .. }) => {}
                // Git alone puts a hunk above the one before it, and takes away a newline at the end of the file that no
                // line of the diff removes.
                Err(PatchError::NotFound { hint: Hint::OutOfOrder(_) | Hint::HasNewline(_), .. })
                    if tool == "git apply" => {}
                Err(error) => {
                    panic!("case {turn}, {tool} takes it, but: {error}\n--- target\n{target}--- diff\n{diff}");
                }
            }
        }
    }
    eprintln!("{tally:?}");
    tally
}

/// What a tool makes of a text, or `None` where it refuses (or is not installed, which is said loudly).
fn run(dir: &Path, command: &[&str], target: &str, diff: &str) -> Option<String> {
    let file = dir.join("f.txt");
    fs::write(&file, target).unwrap();
    fs::write(dir.join("f.diff"), diff).unwrap();
    let status = Command::new(command[0])
        .args(&command[1..])
        .current_dir(dir)
        .env("GIT_CEILING_DIRECTORIES", "/")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) => status.success().then(|| fs::read_to_string(&file).unwrap_or_default()),
        Err(error) => {
            eprintln!("SKIPPED: {} cannot be run ({error}), so nothing is compared with it", command[0]);
            None
        }
    }
}

fn is_installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// The lines of source files: of the crates in cargo's registry, else of this crate.
fn sources() -> Vec<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let registry = home.map(|home| home.join("registry/src")).filter(|registry| fs::read_dir(registry).is_ok());
    let found = registry.map(|registry| rust_files(&registry)).unwrap_or_default();
    let found =
        if found.len() < FILES { rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) } else { found };
    let few = found.iter().step_by(found.len().div_ceil(FILES));
    let texts: Vec<String> = few.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let lines = texts.iter().map(|text| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|lines| lines.len() > 10).collect()
}

fn rust_files(below: &Path) -> Vec<PathBuf> {
    let mut open = vec![below.to_owned()];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A small generator, so that a failure comes back with the same case.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Inserts, removes and replaces short runs of lines.
    fn edit(&mut self, base: &[String], edits: usize, words: &[String]) -> Vec<String> {
        let mut text = base.to_vec();
        for _ in 0..edits {
            let at = self.below(text.len() + 1);
            let removed = self.below(4).min(text.len() - at);
            let added = self.below(4);
            let lines: Vec<String> = (0..added).map(|_| self.pick(words).clone()).collect();
            text.splice(at..at + removed, lines);
        }
        text
    }
}
