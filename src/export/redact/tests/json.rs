//! What is taken out of JSON, at any depth of it.

use serde_json::{Value, json};

use super::{ALNUM, random};
use crate::export::redact::{Found, Redactor};

#[test]
fn strings_of_json_in_strings_of_json_stay_json() {
    let token = format!("ghp_{}", random(ALNUM, 36));
    let inner = json!({"stdout": format!("é\n\"{token}\""), "password": "hun\"ter\\2", "n": 1}).to_string();
    let middle = json!({"result": inner, "path": "C:\\x"}).to_string();
    let outer = json!([{"content": middle, token.clone(): "x"}]).to_string();
    let mut found = Found::default();
    let out = Redactor::new([]).json(&outer, &mut found).into_owned();
    assert!(!out.contains(&token) && !out.contains("ter"));
    assert_eq!(found.iter().collect::<Vec<_>>(), [("github", 2), ("named", 1)]);
    let outer: Value = serde_json::from_str(&out).unwrap();
    let middle: Value = serde_json::from_str(outer[0]["content"].as_str().unwrap()).unwrap();
    let inner: Value = serde_json::from_str(middle["result"].as_str().unwrap()).unwrap();
    assert_eq!(inner, json!({"stdout": "é\n\"[REDACTED:github]\"", "password": "[REDACTED:named]", "n": 1}));
    assert_eq!(outer[0]["[REDACTED:github]"], "x");
}

#[test]
fn what_is_no_secret_stays_byte_for_byte() {
    let text = "{ \"\\u00e9\\/\" : [1e-7, 1180591620717411303424, \"\\ud800 \\ud83d\\ude00\"],\n\"token\": 5, \"password\": null}";
    assert_eq!(Redactor::new([]).json(text, &mut Found::default()), text);
    let text = "{\"name\":\"DB_PASSWORD\",\"value\":\"hunter2\",\"n\":{\"value\":\"hunter2\"}}";
    let expected = "{\"name\":\"DB_PASSWORD\",\"value\":\"[REDACTED:named]\",\"n\":{\"value\":\"hunter2\"}}";
    assert_eq!(Redactor::new([]).json(text, &mut Found::default()), expected);
    let text = "{ \"\\u00e9\" : \"\\ud800\\u0041\", \"password\" : \"\\ud800\\u0041\\n\" , \"x\":\"\\/\"}";
    let expected = "{ \"\\u00e9\" : \"\\ud800\\u0041\", \"password\" : \"[REDACTED:named]\" , \"x\":\"\\/\"}";
    assert_eq!(Redactor::new([]).json(text, &mut Found::default()), expected);
}

/// `text` with what stands between two `§` made a marker of a named value, and with the `§` gone.
fn marked(text: &str) -> (String, String) {
    let expected: Vec<_> =
        text.split('§').enumerate().map(|(at, part)| if at % 2 == 1 { "[REDACTED:named]" } else { part }).collect();
    (text.replace('§', ""), expected.concat())
}

#[test]
fn an_element_of_an_array_or_a_member_says_what_stands_in_the_next() {
    for text in [
        r#"["app","--password","§hunter2hunter2§"]"#,
        r#"{"command":["app", "--password" , "§hunter2§","--user","x"]}"#,
        r#"["app","--db-password=","§two words§"]"#,
        r#"["keytool","-storepass","§pa(ss§"]"#,
        r#"["app","DB_PASSWORD=","§hunter2§"]"#,
        r#"["app","--token","§swordfish§"]"#,
        r#"["--token","--password","§swordfish§"]"#,
        r#"["docker","run","-e","DB_PASSWORD=§hunter2§","-e","DB_USER=y"]"#,
        r#"{"Env":["PATH=/bin","DB_PASSWORD=§hunter2§"]}"#,
        r#"{"env":[{"name":"DB_PASSWORD","value":"§x1§"},{"name":"DB_USER","value":"app"}]}"#,
        r#"[{"value":"§x1§","name":"DB_PASSWORD"},{"value":"app","name":"DB_USER"}]"#,
        r#"[{"name":"DB_PASSWORD","from":{"name":"x","value":"y"},"value":"§x1§"}]"#,
        r#"[{"Key":"api_key","on":[1,true],"Value":"§x1§"}]"#,
        r#"{"a":"[\"app\",\"--password\",\"§hunter2§\"]"}"#,
        r#"{"a":"{\"command\":[\"--password\",\"§hun\\\"ter2§\"]}"}"#,
    ] {
        let (plain, expected) = marked(text);
        let redactor = Redactor::new([]);
        assert_eq!(redactor.json(&plain, &mut Found::default()), expected, "{plain}");
        assert_eq!(redactor.json(&expected, &mut Found::default()), expected);
    }
}

#[test]
fn elements_that_say_nothing_leave_the_next_alone() {
    for text in [
        r#"["password","token","secret"]"#,
        r#"["password:","swordfish1"]"#,
        r#"["--password","--verbose"]"#,
        r#"["--password",["swordfish1"],"swordfish1"]"#,
        r#"["--password",null,"swordfish1"]"#,
        r#"["--password"]"#,
        r#"[["--password"],"swordfish1"]"#,
        r#"["--password-file","/run/x1","--password-stdin","x1","--max-tokens","1000000"]"#,
        r#"["--password","$PASSWORD","--password","${PASSWORD}","--password","<password>"]"#,
        r#"["--token","a word or two"]"#,
        r#"["--password","","swordfish1"]"#,
        r#"[{"name":"DB_PASSWORD"},{"value":"hunter2"}]"#,
        r#"{"name":"password","type":"string","values":"hunter2"}"#,
        r#"{"name":"DB_PASSWORD_FILE","value":"/run/x1"}"#,
        r#"{"name":["DB_PASSWORD"],"value":"hunter2"}"#,
        r#"{"name":"DB_PASSWORD","value":["hunter2"]}"#,
    ] {
        assert_eq!(Redactor::new([]).json(text, &mut Found::default()), text);
    }
}

#[test]
fn numbers_that_are_secrets_become_strings() {
    let redactor = Redactor::new(["31415926".to_owned()]);
    for (text, expected) in [
        (r#"{"n": 31415926 }"#, r#"{"n": "[REDACTED:own]" }"#),
        ("[1,31415926,314159260,-31415926]", r#"[1,"[REDACTED:own]",314159260,-31415926]"#),
        ("31415926", r#""[REDACTED:own]""#),
        (r#"{"password": 12345678}"#, r#"{"password": "[REDACTED:named]"}"#),
        (r#"{"password":31415926,"a":1}"#, r#"{"password":"[REDACTED:own]","a":1}"#),
        (r#"["--password",1234,1234]"#, r#"["--password","[REDACTED:named]",1234]"#),
        (r#"{"name":"DB_PASSWORD","value":1234}"#, r#"{"name":"DB_PASSWORD","value":"[REDACTED:named]"}"#),
        (r#"{"value":1234,"name":"DB_PASSWORD"}"#, r#"{"value":"[REDACTED:named]","name":"DB_PASSWORD"}"#),
        (r#"{"a":"[31415926]"}"#, r#"{"a":"[\"[REDACTED:own]\"]"}"#),
        (r#"{"a":"{\"b\":\"[31415926, 1]\"}"}"#, r#"{"a":"{\"b\":\"[\\\"[REDACTED:own]\\\", 1]\"}"}"#),
        (r#"{"password":"[31415926, 1]"}"#, r#"{"password":"[REDACTED:own]"}"#),
    ] {
        let once = redactor.json(text, &mut Found::default()).into_owned();
        assert_eq!(once, expected);
        assert_eq!(redactor.json(&once, &mut Found::default()), once);
    }
    for text in [
        r#"{"max_tokens": 100, "token_count": 5, "password": 0, "token": 12345678, "passwords": 12345678}"#,
        r#"{"password_changed_at": 1700000000, "password": true, "account_key": 1042, "secret": [1234]}"#,
        r#"{"password": {"a": 12345678}, "b": 12345678, "name": "n_users", "value": 12345678}"#,
        r#"["--max-tokens",100000,"--password",8,12345678]"#,
        r#"{"name": 12345678, "value": 12345678}"#,
    ] {
        assert_eq!(redactor.json(text, &mut Found::default()), text);
    }
}

#[test]
fn this_process_s_own_secrets_go_from_any_place() {
    let redactor = Redactor::new(["correct horse \"battery\"".to_owned()]);
    let text =
        json!({"a": "so correct horse \"battery\" it is", "b": json!({"c": "correct horse \"battery\""}).to_string()});
    let out = redactor.json(&text.to_string(), &mut Found::default()).into_owned();
    assert_eq!(out, json!({"a": "so [REDACTED:own] it is", "b": "{\"c\":\"[REDACTED:own]\"}"}).to_string());
}
