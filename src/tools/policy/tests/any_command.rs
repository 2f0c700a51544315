//! What holds for every command.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static BUILT_IN: LazyLock<Policy> = LazyLock::new(built_in);

/// Pieces that commands and scripts are made of.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "sh -c ",
        "env ",
        "-S ",
        "xargs ",
        "find -exec ",
        "timeout 5 ",
        "python -m ",
        "eval ",
        "su -c ",
        "flock f ",
        "curl",
        "\"$@\" ",
        "$(",
        "`",
        "${",
        "'",
        "\"",
        "\\",
        "<<E",
        "<<<",
        "<(",
        "\nE\n",
        "\n",
        ";",
        "|",
        "&",
        ">",
        "(",
        ")",
        "{ ",
        "case x in ",
        "esac ",
        "for ",
        "do ",
        "function ",
        "$'\\x",
        "-",
        "--",
        "é",
        "🦀",
        " ",
        "a",
        "=",
        "0",
        "#",
        ":::",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>(), pieces in prop::collection::vec(piece(), 0..60)) {
        let pieces = pieces.concat();
        for command in [&text, &pieces] {
            let argv = shlex::split(command).unwrap_or_else(|| command.split(' ').map(str::to_owned).collect());
            drop(BUILT_IN.check(command, &argv));
            let script = ["sh".to_owned(), "-c".to_owned(), command.clone()];
            drop(BUILT_IN.check("sh -c x", &script));
        }
    }

    #[test]
    fn a_denied_program_is_refused_whatever_follows(
        program in prop::sample::select(vec!["sudo", "su", "apt-get", "yum", "curl", "wget", "npx"]),
        path in prop::sample::select(vec!["", "/usr/bin/", "./", "../x/"]),
        before in prop::sample::select(vec![vec![], vec!["env", "A=b"], vec!["timeout", "-k", "1", "9"], vec!["xargs", "-0"]]),
        rest in prop::collection::vec(any::<String>(), 0..8),
    ) {
        let mut argv: Vec<String> = before.into_iter().map(str::to_owned).collect();
        argv.push(format!("{path}{program}"));
        argv.extend(rest);
        prop_assert!(BUILT_IN.check("", &argv).is_err(), "{argv:?}");
        let script = shlex::try_join(argv.iter().map(String::as_str));
        if let Ok(script) = script {
            prop_assert!(BUILT_IN.check("", &["bash".into(), "-lc".into(), script]).is_err());
        }
    }
}
