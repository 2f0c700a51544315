//! What is a directive, and that everything else is refused.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Directive {
    let program = Program::parse(text).unwrap();
    assert_eq!(program.0.len(), 1, "{text}");
    program.0[0].directive.clone()
}

fn replace(from: &str, to: &str, glob: &str) -> Directive {
    Directive::Replace { from: from.into(), to: to.into(), glob: Glob::parse(glob).unwrap() }
}

fn create(path: &str, text: &str) -> Directive {
    Directive::Create { path: path.into(), text: text.into() }
}

#[test]
fn each_directive_is_read() {
    assert_eq!(one(r#"replace "a" with "b" in src/**/*.rs"#), replace("a", "b", "src/**/*.rs"));
    assert_eq!(
        one(r#"  replace  "a\n\"é\u00e9"  with  ""  in  ./my file.txt  "#),
        replace("a\n\"éé", "", "my file.txt")
    );
    assert_eq!(one(r#"replace "a" with "b" in " x ""#), replace("a", "b", " x "));
    assert_eq!(one(r#"create a/b.txt with "x\r\n""#), create("a/b.txt", "x\r\n"));
    assert_eq!(one("create \"a b\" with\t\"\""), create("a b", ""));
    assert_eq!(one("run: make  test "), Directive::Run { command: "make  test".into() });
    assert_eq!(one("run:x"), Directive::Run { command: "x".into() });
    assert_eq!(one("until sh -c 'it passes' passes"), Directive::Until { command: "sh -c 'it passes'".into() });
}

#[test]
fn a_block_is_the_text_between_its_fences() {
    assert_eq!(
        one("create a with\r\n```python\r\nx = 1\r\n\r\n# no comment\r\n```\r\n"),
        create("a", "x = 1\n\n# no comment\n")
    );
    assert_eq!(one("create a with\n````\n```\nrun: x\n```\n````"), create("a", "```\nrun: x\n```\n"));
    assert_eq!(one("create a with\n```\n```"), create("a", ""));
    assert_eq!(one("create a with\n```\n``` x\n  ```  "), create("a", "``` x\n"));
}

#[test]
fn lines_are_numbered_as_they_stand_and_comments_left_out() {
    let program = Program::parse("# first\n\n run: a\n  # then\ncreate x with\n```\n\n```\nrun: b\n").unwrap();
    assert_eq!(program.0.iter().map(|line| line.number).collect::<Vec<_>>(), [3, 5, 9]);
}

#[test]
fn what_is_no_directive_refuses_the_whole_and_says_what_is() {
    for (text, line, why) in [
        ("Fix the tests, please.", 1, "is no directive"),
        ("run: make\nand then fix it", 2, "is no directive"),
        ("Replace \"a\" with \"b\" in c", 1, "is no directive"),
        ("replace a with b in c", 1, "no text in double quotes"),
        ("replace \"a\" with \"b in c", 1, "not as in JSON"),
        ("replace \"a\\x\" with \"b\" in c", 1, "not as in JSON"),
        ("replace \"a\"with \"b\" in c", 1, "has no `with`"),
        ("replace \"a\" with \"b\"", 1, "has no `in`"),
        ("replace \"a\" with \"b\" in", 1, "has no GLOB"),
        ("replace \"\" with \"b\" in c", 1, "looks for nothing"),
        ("replace \"a\\u0000\" with \"b\" in c", 1, "NUL"),
        ("replace \"a\" with \"\\u0061\" in c", 1, "with itself"),
        ("replace \"a\" with \"b\" in /etc/*", 1, "out of the workspace"),
        ("replace \"a\" with \"b\" in x/../../y", 1, "out of the workspace"),
        ("replace \"a\" with \"b\" in [", 1, "a GLOB that is none"),
        ("replace \"a\" with \"b\" in \"c\" d", 1, "behind its end"),
        ("create with \"x\"", 1, "has no `with`"),
        ("create a with", 1, "neither a text"),
        ("create a with\n\n```\nx\n```", 1, "neither a text"),
        ("create a with\n```\nx", 1, "not closed"),
        ("create a with \"x\" y", 1, "behind its end"),
        ("run:", 1, "has no CMD"),
        ("until x", 1, "does not end with `passes`"),
        ("until passes", 1, "does not end with `passes`"),
        ("until xpasses", 1, "does not end with `passes`"),
        ("", 0, "has no directive"),
        ("# nothing\n \n", 0, "has no directive"),
    ] {
        let error = Program::parse(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
        assert!(line == 0 || error.starts_with(&format!("line {line}, `")), "{text}: {error}");
        assert!(error.contains("until CMD passes") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_star_stops_at_a_slash_and_two_do_not() {
    let glob = |text: &str| Glob::parse(text).unwrap();
    assert!(glob("*.rs").matches("a.rs") && !glob("*.rs").matches("src/a.rs"));
    assert!(glob("**/*.rs").matches("a.rs") && glob("**/*.rs").matches("src/b/a.rs"));
    assert!(glob("src/**").matches("src/b/a.rs") && !glob("src/*").matches("src/b/a.rs"));
    assert!(glob("{a,b}/[é-].txt").matches("b/-.txt") && !glob("a?b").matches("a/b"));
}

fn directives() -> impl Strategy<Value = Directive> {
    let text = || prop_oneof![any::<String>(), "[a\"\\\\\n\r\u{85}` #]{0,6}"];
    let command = || text().prop_map(|text| format!("x{}", text.replace(['\n', '\r'], " ")).trim().to_owned());
    prop_oneof![
        (text(), text(), prop_oneof!["[a-z*?/ \"]{1,8}", "\\PC{1,8}"]).prop_filter_map(
            "refused",
            |(from, to, glob)| {
                let glob = Glob::parse(&glob).ok()?;
                (!from.is_empty() && !from.contains('\0') && from != to).then_some(Directive::Replace {
                    from,
                    to,
                    glob,
                })
            }
        ),
        (text(), text()).prop_filter_map("refused", |(path, text)| {
            (!path.is_empty()).then_some(Directive::Create { path, text })
        }),
        command().prop_map(|command| Directive::Run { command }),
        command().prop_map(|command| Directive::Until { command }),
    ]
}

proptest! {
    #[test]
    fn a_directive_reads_back_as_it_is_printed(directive in directives()) {
        prop_assert_eq!(one(&directive.to_string()), directive);
    }

    #[test]
    fn nothing_makes_the_parser_panic_and_what_it_takes_prints_back(
        pieces in prop::collection::vec(prop_oneof![
            Just("replace ".to_owned()), Just("create ".to_owned()), Just("run:".to_owned()), Just("until ".to_owned()),
            Just(" passes\n".to_owned()), Just("\"a\"".to_owned()), Just(" with ".to_owned()), Just(" in ".to_owned()),
            Just("\n```\n".to_owned()), Just("\n".to_owned()), Just("**/*.rs".to_owned()), any::<String>(),
        ], 0..12)
    ) {
        if let Ok(program) = Program::parse(&pieces.concat()) {
            let printed = program.0.iter().map(|line| line.directive.to_string()).collect::<Vec<_>>().join("\n");
            let again = Program::parse(&printed).unwrap();
            let directives = |program: &Program| program.0.iter().map(|line| line.directive.clone()).collect::<Vec<_>>();
            prop_assert_eq!(directives(&again), directives(&program));
        }
    }
}
