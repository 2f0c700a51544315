//! Which files have a text: found by `grep` in the workspace, as fast as the disk.

use super::act::Observation;
use super::directive::Glob;

/// What a pattern may be made of besides plain text.
const SPECIAL: [char; 6] = ['*', '?', '[', ']', '{', '\\'];

/// The longest text that grep is given, in bytes: an argument has a bound, and the rest is looked for in the files found.
const LONGEST: usize = 1000;

/// The command that names the files. It may name more than have the text: grep knows only lines.
pub(super) fn command(from: &str, glob: &Glob) -> Result<String, String> {
    // A pipe or a device that is named would be waited for.
    let mut words = vec!["grep", "-rlZF", "--devices=skip", "--exclude-dir=.git", "--exclude=.git"];
    let parts: Vec<&str> = glob.as_str().split('/').collect();
    let plain = parts.iter().take_while(|part| !part.contains(SPECIAL)).count();
    let base = if plain == 0 { ".".to_owned() } else { parts[..plain].join("/") };
    // Files of other names need not be read; only where grep's patterns mean the same.
    let name = parts.last().filter(|name| **name != "**" && plain < parts.len());
    let include = name.filter(|name| !name.contains(&SPECIAL[1..])).map(|name| format!("--include={name}"));
    words.extend(include.as_deref());
    words.extend(["-e", needle(from), "--", &base]);
    shlex::try_join(words).map_err(|error| error.to_string())
}

/// The longest line of the text: a file that has the text has it, too.
fn needle(from: &str) -> &str {
    let line = from.split('\n').map(|line| line.trim_end_matches('\r')).max_by_key(|line| line.len());
    let line = line.unwrap_or_default();
    let end = (0..=LONGEST.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    &line[..end.unwrap_or_default()]
}

/// The files that grep named and `glob` means, in the order of their names.
pub(super) fn found(seen: &Observation, glob: &Glob) -> Result<Vec<String>, String> {
    match seen.returncode {
        Some(0) => {}
        // That is how grep says that there are none.
        Some(1) if seen.stderr.is_empty() => return Ok(Vec::new()),
        _ => return Err(format!("the files cannot be searched: {}", seen.why())),
    }
    if seen.truncated {
        return Err("more files have the text than a command may print (CMD_MAX_OUTPUT)".to_owned());
    }
    let names = seen.stdout.split_terminator('\0').map(|name| name.strip_prefix("./").unwrap_or(name));
    let meant = |name: &&str| glob.matches(name) && name.split('/').all(|part| part != ".git");
    let mut names: Vec<String> = names.filter(meant).map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::directive::Directive;
    use super::super::directive::Program;
    use super::*;

    fn glob(text: &str) -> Glob {
        let program = Program::parse(&format!("replace \"a\" with \"b\" in {text}")).unwrap();
        match program.0.into_iter().next().map(|line| line.directive) {
            Some(Directive::Replace { glob, .. }) => glob,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn grep_is_told_no_more_than_it_means_as_a_glob_does() {
        let words = |from: &str, text: &str| {
            let words = shlex::split(&command(from, &glob(text)).unwrap()).unwrap();
            assert_eq!(words[..5], ["grep", "-rlZF", "--devices=skip", "--exclude-dir=.git", "--exclude=.git"]);
            words[5..].to_vec()
        };
        assert_eq!(words("x", "**"), ["-e", "x", "--", "."]);
        assert_eq!(words("x", "src/*.rs"), ["--include=*.rs", "-e", "x", "--", "src"]);
        assert_eq!(words("x", "src/**/lib.rs"), ["--include=lib.rs", "-e", "x", "--", "src"]);
        assert_eq!(words("x", "src/{a,b}.rs"), ["-e", "x", "--", "src"]);
        assert_eq!(words("it's; \"$HOME\"", "./a b/c"), ["-e", "it's; \"$HOME\"", "--", "a b/c"]);
        assert_eq!(words("-v\r\nab.*c\n", "x"), ["-e", "ab.*c", "--", "x"]);
        assert_eq!(words("\n\n", "x"), ["-e", "", "--", "x"]);
        assert_eq!(needle(&"é".repeat(600)).len(), LONGEST);
    }

    #[test]
    fn files_are_named_in_order_and_none_in_git() {
        let seen =
            |stdout: &str| Observation { returncode: Some(0), stdout: stdout.to_owned(), ..Observation::default() };
        let names = seen("./b.txt\0./a.txt\0./.git/c.txt\0./d/e.txt\0./x.md\0");
        assert_eq!(found(&names, &glob("*.txt")).unwrap(), ["a.txt", "b.txt"]);
        assert_eq!(found(&names, &glob("**/*.txt")).unwrap(), ["a.txt", "b.txt", "d/e.txt"]);
        let none = Observation { returncode: Some(1), ..Observation::default() };
        assert!(found(&none, &glob("**")).unwrap().is_empty());
        let cut = Observation { truncated: true, ..seen("./a") };
        assert!(found(&cut, &glob("**")).unwrap_err().contains("CMD_MAX_OUTPUT"));
        let wrong = Observation { returncode: Some(2), stderr: "grep: x: No such file".into(), ..seen("") };
        assert!(found(&wrong, &glob("**")).unwrap_err().contains("No such file"));
    }
}
