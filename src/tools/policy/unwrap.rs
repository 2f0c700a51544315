//! Finds the commands that a command would run: `timeout 9 sh -c 'cd x && pip install y'` has `pip install y` in it.
//!
//! ```text
//!  words ─► a wrapper with options (wrappers.rs) ─► the words behind them ─┐
//!        ├► find -exec, python -m, busybox, ld.so  ─► the words inside    ─┤─► words, one level deeper
//!        └► sh -c, eval, su -c, watch, parallel …  ─► shell::split        ─┘
//! ```
//!
//! Deliberately absent: what only running would tell (variables, globs, scripts in files, code of other languages).

use super::shell::{self, Simple};
use super::wrappers::{self, Behind};

/// So many wrappers and substitutions may stand inside each other. People need three.
const MAX_DEPTH: usize = 8;

/// So much text is looked at, commands inside commands counted again: eight times the longest argument that Linux
/// passes to a program.
const MAX_TEXT: usize = 1 << 20;

/// Names of shells that take `-c`.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash", "fish", "csh", "tcsh"];

/// The commands found, the given one first.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub commands: Vec<Vec<String>>,
    /// Why the search was broken off.
    pub overrun: Option<Overrun>,
    text: usize,
}

/// Why a command is not looked at to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    Depth,
    Length,
}

/// All commands in a command.
pub(super) fn find(argv: &[String]) -> Found {
    let mut found = Found::default();
    found.command(argv, None, 0);
    found
}

/// The name of a program without its path.
pub(super) fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// The name without a version at its end: `python3.11`, `pip-3`.
pub(super) fn unversioned(name: &str) -> &str {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if bare.len() == name.len() { name } else { bare.strip_suffix('-').unwrap_or(bare) }
}

impl Found {
    fn command(&mut self, words: &[String], input: Option<&str>, depth: usize) {
        // An empty word is no program; whoever runs it gets an error.
        let Some(program) = words.first().filter(|program| !program.is_empty()) else { return };
        if !self.may_go_on(depth, words.iter().map(|word| word.len() + 1).sum()) {
            return;
        }
        self.commands.push(words.to_vec());
        let (deeper, rest) = (depth + 1, &words[1..]);
        match name(program) {
            "find" | "fd" | "fdfind" => self.actions(rest, deeper),
            "env" => self.env(words, input, deeper),
            "busybox" | "toybox" | "corepack" => self.command(rest, input, deeper),
            "eval" => self.script(&rest.join(" "), &[], deeper),
            "parallel" => self.parallel(words, deeper),
            "trap" => {
                let at = wrappers::options(words, 1, "", &[]).end;
                self.script(words.get(at).map_or("", String::as_str), &[], deeper);
            }
            shell if SHELLS.contains(&shell) => self.shell(words, input, deeper),
            loader if ["ld-linux", "ld-musl", "ld.so", "ld64.so"].iter().any(|name| loader.starts_with(name)) => {
                let with_value =
                    &["library-path", "preload", "audit", "inhibit-rpath", "argv0", "glibc-hwcaps-prepend"];
                let at = wrappers::options(words, 1, "", with_value).end;
                self.command(words.get(at..).unwrap_or_default(), input, deeper);
            }
            python if ["python", "pypy"].contains(&unversioned(python)) => self.python(rest, deeper),
            other => match wrappers::behind(other, words) {
                Some(Behind::Words(inner)) => self.command(inner, input, deeper),
                Some(Behind::Script(text)) => self.script(&text, &[], deeper),
                Some(Behind::Either(text, inner)) => {
                    self.script(&text, &[], deeper);
                    self.command(inner, input, deeper);
                }
                None => {}
            },
        }
    }

    /// The commands of a script that is called with `args`, `$0` first.
    fn script(&mut self, text: &str, args: &[String], depth: usize) {
        if text.is_empty() || !self.may_go_on(depth, text.len()) {
            return;
        }
        match shell::split(text, MAX_DEPTH - depth) {
            Ok(commands) => {
                for Simple { words, input } in commands {
                    if self.overrun.is_some() {
                        return;
                    }
                    match self.filled_in(words, args) {
                        Some(words) => self.command(&words, input.as_deref(), depth),
                        None => self.overrun = Some(Overrun::Length),
                    }
                }
            }
            Err(_) => self.overrun = Some(Overrun::Depth),
        }
    }

    /// Puts the arguments of a script where `$@` or `$1` stands for them.
    fn filled_in(&self, words: Vec<String>, args: &[String]) -> Option<Vec<String>> {
        if args.is_empty() || !words.iter().any(|word| word.starts_with('$')) {
            return Some(words);
        }
        let (mut filled, mut text) = (Vec::new(), self.text);
        for word in words {
            let name = word.strip_prefix("${").and_then(|name| name.strip_suffix('}')).or(word.strip_prefix('$'));
            let meant = match name {
                Some("@" | "*") => args.get(1..).unwrap_or_default(),
                Some(name) => match name.parse::<usize>() {
                    Ok(number) => args.get(number..=number).unwrap_or_default(),
                    Err(_) => std::slice::from_ref(&word),
                },
                None => std::slice::from_ref(&word),
            };
            text += meant.iter().map(|word| word.len() + 1).sum::<usize>();
            if text > MAX_TEXT {
                return None;
            }
            filled.extend_from_slice(meant);
        }
        Some(filled)
    }

    /// `sh -c TEXT`, with `c` among other letters, and options before it and behind it.
    fn shell(&mut self, words: &[String], input: Option<&str>, depth: usize) {
        let (mut at, mut is_text, mut from_stdin) = (1, false, false);
        while let Some(word) = words.get(at) {
            at += 1;
            match word.as_str() {
                "--" => break,
                "-" => from_stdin = true,
                "--rcfile" | "--init-file" => at += 1,
                "--command" | "--init-command" => is_text = true,
                long if long.starts_with("--") => {
                    if let Some((_, text)) = long.split_once("command=") {
                        self.script(text, &[], depth);
                    }
                }
                letters if letters.starts_with(['-', '+']) => {
                    is_text |= letters.contains('c');
                    from_stdin |= letters.contains('s');
                    // The name of an option follows each `o`.
                    at += letters.matches(['o', 'O']).count();
                }
                _ => {
                    at -= 1;
                    break;
                }
            }
        }
        let args = words.get(at..).unwrap_or_default();
        match (is_text, args.split_first()) {
            (true, Some((text, args))) => self.script(text, args, depth),
            (false, first) if from_stdin || first.is_none() => self.script(input.unwrap_or_default(), &[], depth),
            _ => {}
        }
    }

    /// `env` with its options and variables. The text of `-S` is split and stands in its place.
    fn env(&mut self, words: &[String], input: Option<&str>, depth: usize) {
        let options = wrappers::options(words, 1, "uCSa", &["unset", "chdir", "split-string", "argv0"]);
        let split = options.given.iter().find(|(name, _)| *name == "S" || *name == "split-string");
        let mut at = options.end;
        while words.get(at).is_some_and(|word| word == "-" || word.contains('=')) {
            at += 1;
        }
        match split {
            Some((_, text)) => {
                let mut inner = vec![words[0].clone()];
                let split = shlex::split(text);
                inner.extend(split.unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect()));
                inner.extend_from_slice(words.get(options.end..).unwrap_or_default());
                self.command(&inner, input, depth);
            }
            None => self.command(words.get(at..).unwrap_or_default(), input, depth),
        }
    }

    /// The actions of `find` that run something, to the `;` or `+` at their end.
    fn actions(&mut self, words: &[String], depth: usize) {
        const ACTIONS: &[&str] = &["-exec", "-execdir", "-ok", "-okdir", "-x", "-X", "--exec", "--exec-batch"];
        for (at, _) in words.iter().enumerate().filter(|(_, word)| ACTIONS.contains(&word.as_str())) {
            let inner = &words[at + 1..];
            let is_end = |at: usize| inner[at] == ";" || inner[at] == "+" && at > 0 && inner[at - 1] == "{}";
            let end = (0..inner.len()).find(|at| is_end(*at)).unwrap_or(inner.len());
            self.command(&inner[..end], None, depth);
            if self.overrun.is_some() {
                return;
            }
        }
    }

    /// `python -m MODULE`: the module counts as a program.
    fn python(&mut self, words: &[String], depth: usize) {
        let mut at = 0;
        while let Some(letters) = words.get(at).and_then(|word| word.strip_prefix('-')) {
            at += 1;
            if letters.starts_with('-') {
                at += usize::from(letters == "-check-hash-based-pycs");
                continue;
            }
            // The first letter that takes a value takes the rest of the word, or the next word.
            let Some(letter) = letters.find(['m', 'c', 'W', 'X']) else { continue };
            let value = &letters[letter + 1..];
            match (&letters[letter..=letter], value) {
                ("m", "") => return self.module(words.get(at..).unwrap_or_default(), depth),
                ("m", module) => {
                    let mut inner = vec![module.to_owned()];
                    inner.extend_from_slice(words.get(at..).unwrap_or_default());
                    return self.module(&inner, depth);
                }
                ("c", _) => return,
                (_, "") => at += 1,
                _ => {}
            }
        }
    }

    fn module(&mut self, words: &[String], depth: usize) {
        let mut inner = words.to_vec();
        if let Some(module) = inner.first_mut() {
            // `pip.__main__` is pip.
            module.truncate(module.find('.').unwrap_or(module.len()));
        }
        self.command(&inner, None, depth);
    }

    /// `parallel`: the command goes to a shell; without one, each argument is a command.
    fn parallel(&mut self, words: &[String], depth: usize) {
        let long = &["jobs", "max-args", "delimiter", "colsep", "joblog", "retries", "timeout", "arg-file", "sshlogin"];
        let at = wrappers::options(words, 1, "jPNnLsIaSdCE", long).end;
        let words = words.get(at..).unwrap_or_default();
        let end = words.iter().position(|word| word.starts_with(":::")).unwrap_or(words.len());
        if end > 0 {
            self.script(&words[..end].join(" "), &[], depth);
        } else {
            for text in words.iter().skip(1) {
                self.script(text, &[], depth);
            }
        }
    }

    /// Whether so much more may be looked at, so deep.
    fn may_go_on(&mut self, depth: usize, text: usize) -> bool {
        self.text += text;
        if self.overrun.is_none() && depth > MAX_DEPTH {
            self.overrun = Some(Overrun::Depth);
        } else if self.overrun.is_none() && self.text > MAX_TEXT {
            self.overrun = Some(Overrun::Length);
        }
        self.overrun.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_inside_is_found() {
        for (command, inside) in [
            ("cargo test x", ""),
            ("env -i A=b", ""),
            ("env -i -u X --chdir d A=b ls -l", "ls -l"),
            ("env - A=b ls", "ls"),
            ("env -vS 'A=b ls -l' x", "env A=b ls -l x/ls -l x"),
            ("timeout -k 5 --signal KILL 9 ls", "ls"),
            ("nice -n 5 ionice -c2 -n 7 ls", "ionice -c2 -n 7 ls/ls"),
            ("bash -euo pipefail -c 'a | b'", "a/b"),
            ("bash -c -- 'a'", "a"),
            ("bash -lc a", "a"),
            ("bash -x script.sh -c b", ""),
            ("sh -c '\"$@\" x' sh a b", "a b x"),
            ("sh -c 'exec ${1} x' sh a b", "exec a x/a x"),
            ("sh -c 'bash <<< a'", "bash/a"),
            ("sh -c 'bash script <<< a'", "bash script"),
            ("sh -c 'env A=b bash -s <<< a'", "env A=b bash -s/bash -s/a"),
            ("find . -name x -exec a {} + -o -execdir b ;", "a {}/b"),
            ("python3 -Im pip list", "pip list"),
            ("python -W ignore -mpip.x list", "pip list"),
            ("python x.py -m pip", ""),
            ("python -c 'x' -m pip", ""),
            ("parallel -j 4 'a {}; b' ::: x", "a {}/b"),
            ("parallel ::: 'a x' b", "a x/b"),
            ("command -v a", ""),
            ("command a", "a"),
            ("xargs -0 -n 1 -I{} a", "a"),
            ("flock -w 3 f a b", "a b"),
            ("flock f -c 'a; b'", "a/b"),
            ("busybox env a", "env a/a"),
            ("sh -c 'trap \"a b\" EXIT'", "trap a b EXIT/a b"),
        ] {
            let found = find(&shlex::split(command).unwrap());
            let commands: Vec<String> = found.commands[1..].iter().map(|words| words.join(" ")).collect();
            let expected: Vec<&str> = inside.split('/').filter(|command| !command.is_empty()).collect();
            assert_eq!(commands, expected, "{command}");
        }
    }

    #[test]
    fn the_search_has_an_end() {
        let overrun = |argv: &[String]| find(argv).overrun;
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(overrun(&words("env env env env env env env env ls")), None);
        assert_eq!(overrun(&words("env env env env env env env env env ls")), Some(Overrun::Depth));
        assert_eq!(overrun(&words(&"find -exec ".repeat(1_000))), Some(Overrun::Depth));
        assert_eq!(overrun(&words(&"find -ok ls ".repeat(50_000))), Some(Overrun::Length));
        let again = "\"$@\" ".repeat(5_000);
        let mut many = vec!["sh".to_owned(), "-c".to_owned(), format!("sh -c '{again}' $@"), "sh".to_owned()];
        many.extend(vec!["x".to_owned(); 5_000]);
        assert_eq!(overrun(&many), Some(Overrun::Length));
    }

    #[test]
    fn a_version_is_no_part_of_a_name() {
        for (name, bare) in [("python3.11", "python"), ("pip-3.2", "pip"), ("pip", "pip"), ("a-b", "a-b"), ("7", "")] {
            assert_eq!(unversioned(name), bare);
        }
    }
}
