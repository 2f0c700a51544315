//! Words of a command under the built-in policy: no panic, one verdict, and what is refused stays refused behind `env`,
//! `nice` and `sh -c`.
#![no_main]

use std::sync::LazyLock;

use codex_agent::tools::Policy;
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::load(None, true).expect("the built-in rules are sound"));

fuzz_target!(|text: &str| {
    let Some(argv) = shlex::split(text).filter(|argv| !argv.is_empty()) else { return };
    let refused = POLICY.check(text, &argv).err();
    let explained = POLICY.explain(text).and_then(|explanation| explanation.refusal);
    assert_eq!(format!("{refused:?}"), format!("{explained:?}"));
    // Quoted, so that only the words count. What the wrappers take for an option or a variable is no program to them.
    let Ok(words) = shlex::try_join(argv.iter().map(String::as_str)) else { return };
    if POLICY.check(&words, &argv).is_ok()
        || argv[0].starts_with(['-', '+'])
        || argv[0].contains('=')
        || text.len() > 1000
    {
        return;
    }
    for wrapper in [&["env"][..], &["nice"], &["env", "A=b", "nice", "-n", "5"], &["sh", "-c"]] {
        let mut wrapped: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
        if wrapper[0] == "sh" {
            wrapped.push(words.clone());
        } else {
            wrapped.extend(argv.iter().cloned());
        }
        let Ok(command) = shlex::try_join(wrapped.iter().map(String::as_str)) else { return };
        assert!(POLICY.check(&command, &wrapped).is_err(), "{words} is refused, and {command} is not");
    }
});
