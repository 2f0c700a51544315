//! Programs that run the program in their arguments, and which of their options take the next word.

/// A program that runs the words behind its options.
struct Wrapper {
    names: &'static [&'static str],
    /// A first word that it needs for that: `run`, `exec`.
    verb: Option<&'static str>,
    /// Letters of the options with a value.
    short: &'static str,
    /// Names of the options with a value.
    long: &'static [&'static str],
    /// How many words of its own stand before the command.
    operands: usize,
}

const fn wrapper(names: &'static [&'static str], short: &'static str, long: &'static [&'static str]) -> Wrapper {
    Wrapper { names, verb: None, short, long, operands: 0 }
}

const fn with_operand(names: &'static [&'static str], short: &'static str, long: &'static [&'static str]) -> Wrapper {
    Wrapper { names, verb: None, short, long, operands: 1 }
}

const fn with_verb(names: &'static [&'static str], verb: &'static str, short: &'static str) -> Wrapper {
    Wrapper { names, verb: Some(verb), short, long: RUN_OPTIONS, operands: 0 }
}

/// Options with a value of the programs that run something in an environment of their own.
const RUN_OPTIONS: &[&str] = &[
    "cwd",
    "directory",
    "env-file",
    "extra",
    "group",
    "index-url",
    "name",
    "package",
    "prefix",
    "project",
    "python",
    "with",
    "without",
];

/// From the manual pages of util-linux, coreutils and the others.
const WRAPPERS: &[Wrapper] = &[
    wrapper(
        &["xargs"],
        "adEILnPs",
        &["arg-file", "delimiter", "max-args", "max-procs", "max-chars", "process-slot-var"],
    ),
    wrapper(
        &["nohup", "setsid", "builtin", "coproc", "eatmydata", "unbuffer", "catchsegv", "dumb-init", "tini"],
        "",
        &[],
    ),
    wrapper(&["linux32", "linux64", "i386", "x86_64", "uname26"], "", &[]),
    wrapper(&["exec"], "a", &[]),
    wrapper(&["nice"], "n", &["adjustment"]),
    wrapper(&["ionice"], "cnpPu", &["class", "classdata", "pid", "pgid", "uid"]),
    wrapper(&["stdbuf"], "ioe", &["input", "output", "error"]),
    wrapper(&["time"], "fo", &["format", "output"]),
    wrapper(&["prlimit"], "po", &["pid", "output"]),
    wrapper(
        &["unshare"],
        "SGRw",
        &[
            "setuid",
            "setgid",
            "root",
            "wd",
            "propagation",
            "setgroups",
            "map-user",
            "map-group",
            "boottime",
            "monotonic",
        ],
    ),
    wrapper(&["nsenter"], "tSG", &["target", "setuid", "setgid"]),
    wrapper(&["fakeroot"], "lsib", &["lib", "faked"]),
    wrapper(
        &["strace", "ltrace"],
        "oepsauEOSIPXbnlxFAD",
        &["trace", "output", "attach", "user", "env", "string-limit"],
    ),
    wrapper(&["valgrind", "torsocks", "proxychains", "proxychains4"], "f", &[]),
    wrapper(
        &["sudo"],
        "ughpCDRrtTU",
        &["user", "group", "host", "prompt", "chdir", "chroot", "role", "type", "close-from", "command-timeout"],
    ),
    wrapper(&["doas"], "uC", &[]),
    wrapper(&["pkexec"], "", &["user"]),
    wrapper(
        &["setpriv"],
        "",
        &["reuid", "regid", "groups", "inh-caps", "ambient-caps", "bounding-set", "securebits", "pdeathsig"],
    ),
    with_operand(&["timeout"], "ks", &["kill-after", "signal"]),
    with_operand(&["chrt"], "TPD", &["sched-runtime", "sched-period", "sched-deadline"]),
    with_operand(&["taskset", "gosu", "su-exec"], "", &[]),
    with_operand(&["faketime"], "f", &[]),
    with_operand(&["chroot"], "", &["userspec", "groups"]),
    with_operand(&["setarch"], "", &[]),
    with_verb(&["uv", "poetry", "pipenv", "pdm", "rye", "hatch", "pixi"], "run", "pC"),
    with_verb(&["conda", "mamba", "micromamba"], "run", "np"),
    with_verb(&["bundle", "bundler"], "exec", ""),
    with_verb(&["rustup"], "run", ""),
];

/// What a wrapper runs.
pub(super) enum Behind<'a> {
    /// These words.
    Words(&'a [String]),
    /// This text, by a shell.
    Script(String),
    /// One or the other.
    Either(String, &'a [String]),
}

/// What a program of that name runs, if it is a wrapper.
pub(super) fn behind<'a>(program: &str, words: &'a [String]) -> Option<Behind<'a>> {
    let rest = |at: usize| words.get(at..).unwrap_or_default();
    match program {
        "command" => {
            let options = options(words, 1, "", &[]);
            // `command -v` only says where a program is.
            let asks = options.given.iter().any(|(name, _)| name.contains(['v', 'V']));
            (!asks).then(|| Behind::Words(rest(options.end)))
        }
        "su" | "runuser" | "script" => {
            let given =
                options_anywhere(words, "cugGsTwEIOBm", &["command", "user", "group", "shell", "session-command"]);
            let text = given.into_iter().find(|(name, _)| matches!(*name, "c" | "command" | "session-command"));
            let end = options(words, 1, "cugGsTw", &["command", "user", "group", "shell"]).end;
            match text {
                Some((_, text)) => Some(Behind::Script(text.to_owned())),
                None => (program == "runuser").then(|| Behind::Words(rest(end))),
            }
        }
        "watch" => {
            let end = options(words, 1, "nq", &["interval", "equexit"]).end;
            Some(Behind::Either(rest(end).join(" "), rest(end)))
        }
        "flock" => {
            let end = options(words, 1, "wE", &["wait", "timeout", "conflict-exit-code"]).end + 1;
            match words.get(end).map(String::as_str) {
                Some("-c" | "--command") => Some(Behind::Script(words.get(end + 1).cloned().unwrap_or_default())),
                _ => Some(Behind::Words(rest(end))),
            }
        }
        _ => {
            let wrapper = WRAPPERS.iter().find(|wrapper| wrapper.names.contains(&program))?;
            let mut at = options(words, 1, wrapper.short, wrapper.long).end;
            if let Some(verb) = wrapper.verb {
                if words.get(at).is_none_or(|word| word != verb) {
                    return None;
                }
                at = options(words, at + 1, wrapper.short, wrapper.long).end;
            }
            let operands = match program {
                "rustup" => 1,
                // The architecture may be left out where options are given.
                "setarch" if at > 1 => 0,
                _ => wrapper.operands,
            };
            if operands > 0 {
                // `setarch x86_64 -R ls` has options behind its own word too.
                at = options(words, at + operands, wrapper.short, wrapper.long).end;
            }
            // `sudo A=b ls` and `time A=b ls` set a variable first.
            at += rest(at).iter().take_while(|word| word.contains('=')).count();
            Some(Behind::Words(rest(at)))
        }
    }
}

/// The options before the first word that is none.
pub(super) struct Options<'a> {
    /// Names and values; letters that stand together and take none are one name.
    pub given: Vec<(&'a str, &'a str)>,
    /// Where the first other word is.
    pub end: usize,
}

/// Reads options as GNU programs do that stop at the first other word.
pub(super) fn options<'a>(words: &'a [String], from: usize, short: &str, long: &[&'static str]) -> Options<'a> {
    let mut options = Options { given: Vec::new(), end: from };
    while let Some(word) = words.get(options.end).filter(|word| word.len() > 1 && word.starts_with('-')) {
        options.end += 1;
        if word == "--" {
            break;
        }
        let ((name, mut value), takes_next) = option(word, short, long);
        if takes_next {
            value = words.get(options.end).map_or("", String::as_str);
            options.end += 1;
        }
        options.given.push((name, value));
    }
    options
}

/// Reads options wherever they stand.
fn options_anywhere<'a>(words: &'a [String], short: &str, long: &[&'static str]) -> Vec<(&'a str, &'a str)> {
    let (mut given, mut at) = (Vec::new(), 1);
    while at < words.len() {
        let options = options(words, at, short, long);
        given.extend(options.given.into_iter().filter(|(_, value)| !value.is_empty()));
        at = options.end + 1;
    }
    given
}

/// One option, and whether its value is the next word.
fn option<'a>(word: &'a str, short: &str, long: &[&'static str]) -> ((&'a str, &'a str), bool) {
    if let Some(name) = word.strip_prefix("--") {
        return match name.split_once('=') {
            Some((name, value)) => ((full(name, long).unwrap_or(name), value), false),
            None => full(name, long).map_or(((name, ""), false), |name| ((name, ""), true)),
        };
    }
    let letters = &word[1..];
    match letters.char_indices().find(|(_, letter)| short.contains(*letter)) {
        Some((at, letter)) => {
            let (end, value) = (at + letter.len_utf8(), &letters[at + letter.len_utf8()..]);
            ((&letters[at..end], value), value.is_empty())
        }
        None => ((letters, ""), false),
    }
}

/// A long option may be shortened.
fn full(name: &str, long: &[&'static str]) -> Option<&'static str> {
    long.iter().copied().find(|long| !name.is_empty() && long.starts_with(name))
}
