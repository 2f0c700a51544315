//! Rules from a file: their format, their examples, and what they cannot change.

use super::*;

const PUSH: &str =
    "[[rule]]\nprefix = [\"git\", [\"push\", \"fetch\"]]\ndecision = \"deny\"\nreason = \"no remotes\"\n";

#[test]
fn a_file_replaces_the_built_in_rules() {
    let policy = file(PUSH, false).unwrap();
    let refusal = verdict(&policy, "git -C x push origin").unwrap_err();
    assert_eq!(refusal.to_string(), "refused by the command policy: git push: no remotes");
    for command in ["git fetch", "/usr/bin/git --no-pager push", "sh -c 'x | git push'", "git -c a=b -C d push"] {
        assert!(verdict(&policy, command).is_err(), "{command}");
    }
    for command in ["git log push", "git --no-pager log push", "curl x", "sudo ls", "pip install x", "git"] {
        assert_eq!(verdict(&policy, command), Ok(()), "{command}");
    }
}

#[test]
fn an_empty_file_allows_everything_but_installs_under_ci() {
    let free = file("", false).unwrap();
    assert_eq!(verdict(&free, "sudo pip install x"), Ok(()));
    let ci = file("", true).unwrap();
    assert_eq!(verdict(&ci, "sudo ls"), Ok(()));
    assert!(verdict(&ci, "sudo pip install x").is_err());
    let allowed = file("[[rule]]\nprefix = [\"pip\"]\ndecision = \"allow\"\n", true).unwrap();
    assert_eq!(verdict(&allowed, "pip list"), Ok(()));
    assert!(verdict(&allowed, "python -m pip install x").is_err());
}

#[test]
fn the_strictest_rule_wins_wherever_it_stands() {
    let allow = "[[rule]]\nprefix = [\"git\"]\ndecision = \"allow\"\n";
    for text in [format!("{PUSH}{allow}"), format!("{allow}{PUSH}")] {
        let policy = file(&text, false).unwrap();
        assert!(verdict(&policy, "git push").is_err());
        assert_eq!(verdict(&policy, "git log"), Ok(()));
        assert!(verdict(&policy, "sh -c 'git log; git push'").is_err());
    }
}

#[test]
fn what_no_rule_allows_is_refused_where_the_default_is_deny() {
    let text = "default = \"deny\"\n[[rule]]\nprefix = [[\"cargo\", \"git\"]]\ndecision = \"allow\"\n\
                [[rule]]\nprefix = [\"sh\", \"-c\"]\ndecision = \"allow\"\n";
    let policy = file(text, false).unwrap();
    for command in ["cargo test", "git log", "sh -c 'cargo test && X=1 git log'"] {
        assert_eq!(verdict(&policy, command), Ok(()), "{command}");
    }
    for command in ["ls", "env cargo test", "sh -c 'cargo test; ls'", "sh -c '$X'", "sh -c '$(git log)'", "sh script"] {
        assert!(matches!(verdict(&policy, command), Err(Refusal::Unlisted(_))), "{command}");
    }
}

#[test]
fn shell_operators_may_be_let_through() {
    assert_eq!(verdict(&file("shell_operators = \"allow\"", false).unwrap(), "a && b"), Ok(()));
    assert!(verdict(&file("shell_operators = \"deny\"", false).unwrap(), "a && b").is_err());
}

#[test]
fn a_word_with_a_path_means_that_path() {
    let policy = file("[[rule]]\nprefix = [\"./deploy.sh\"]\ndecision = \"deny\"\nreason = \"r\"\n", false).unwrap();
    assert!(verdict(&policy, "./deploy.sh --now").is_err());
    assert_eq!(verdict(&policy, "d/deploy.sh"), Ok(()));
}

#[test]
fn a_wrong_file_is_told_in_one_line() {
    let rule = "[[rule]]\nprefix = [\"git\", \"push\"]\ndecision = \"deny\"\n";
    for (text, error) in [
        ("[[rule", "rules.toml: line 1: "),
        ("colour = 1", "rules.toml: line 1: unknown field `colour`, expected one of `default`"),
        ("\n[[rule]]\nprefix = [\"a\"]\ndecision = \"maybe\"", "rules.toml: line 4: unknown variant `maybe`"),
        ("[[rule]]\ndecision = \"allow\"", "rules.toml: line 1: missing field `prefix`"),
        ("[[rule]]\nprefix = [1]\ndecision = \"allow\"", "a word of a prefix must be a string or a list of strings"),
        ("[[rule]]\nprefix = [\"a\"]\ndecision = \"allow\"\nwhy = \"x\"", "rules.toml: line 4: unknown field `why`"),
        ("[[rule]]\nprefix = []\ndecision = \"allow\"", "rules.toml: rule 1 (): prefix must have a word"),
        (rule, "rules.toml: rule 1 (git push): reason must say why"),
        (
            &format!("{PUSH}{rule}reason = \"r\"\nmatches = [\"git push\", \"git -C push\", \"git log\"]"),
            "rules.toml: rule 2 (git push): must match `git log` and does not",
        ),
        (
            &format!("{rule}reason = \"r\"\nnot_matches = [\"git log\", \"sh -c 'x; git push'\"]"),
            "rules.toml: rule 1 (git push): must not match `sh -c 'x; git push'` and does",
        ),
        (&format!("{rule}reason = \"r\"\nmatches = [\"git 'push\"]"), "the example `git 'push` has an open quote"),
    ] {
        let said = file(text, false).unwrap_err();
        assert!(said.contains(error), "{text}\n{said}");
        assert!(said.starts_with("rules.toml: ") && !said.contains('\n'), "{said}");
    }
    let missing = Policy::load(Some(Path::new("/nowhere/rules.toml")), false).unwrap_err();
    assert!(missing.to_string().starts_with("/nowhere/rules.toml: No such file"), "{missing}");
}

#[test]
fn an_explanation_names_the_commands_and_the_rules() {
    let explanation = built_in().explain("env A=b sh -c 'cd x && pip -q install y'").unwrap();
    let refusal = explanation.refusal.unwrap().to_string();
    assert_eq!(refusal, "refused by the command policy: pip install: packages are not installed from a task");
    let commands: Vec<_> =
        explanation.commands.iter().map(|judged| (judged.words[0].as_str(), judged.decision)).collect();
    assert_eq!(
        commands,
        [("env", Decision::Allow), ("sh", Decision::Allow), ("cd", Decision::Allow), ("pip", Decision::Deny)]
    );
    let rule = explanation.commands[3].rule.as_deref().unwrap();
    assert!(rule.starts_with("built-in rules about installs, rule 2 (pip install|"), "{rule}");
    assert!(built_in().explain("echo '").is_none());
}
