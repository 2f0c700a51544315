//! What a brain sends back: any bytes are a reply or an error, a reply keeps its text, and reading it again says the
//! same.
#![no_main]

use codex_agent::domain::{Json, MAX_DEPTH, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(json) = Json::parse(text) else { return };
    let kept = json.as_str();
    // One line of a record each, and never deeper than a reader of the record can go.
    assert!(!kept.contains('\n'), "{kept:?} is more than one line");
    assert!(deepest(kept) <= MAX_DEPTH);
    let again = Json::parse(kept).expect("what was taken once is taken again");
    assert_eq!(again.as_str(), kept);
    assert_eq!(Json::reread(kept).expect("and from the record").as_str(), kept);

    let reply = Reply::parse(&json);
    assert_eq!(format!("{reply:?}"), format!("{:?}", Reply::parse(&again)));
    if let Ok(Reply::ToolCall(call)) = reply {
        let arguments = call.arguments.as_str();
        assert!(arguments == "{}" || kept.contains(arguments), "{arguments} was not in {kept}");
    }
    let _ = Reply::usage(&json);
});

/// How deep arrays and objects lie in each other, strings aside.
fn deepest(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    deepest
}
