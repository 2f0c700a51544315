//! Bad input: the status and the field at fault of each, and nothing stored.

use serde_json::json;

use crate::common::{Service, send};

/// A request that is refused.
#[derive(Clone)]
struct Case {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    media_type: &'static str,
    header: (&'static str, &'static str),
    body: Vec<u8>,
    status: u16,
    /// What stands in `errors[].pointer`, or in `detail` where no field is at fault.
    named: &'static str,
}

fn post(what: &'static str, body: impl Into<Vec<u8>>, status: u16, named: &'static str) -> Case {
    let (path, media_type) = ("/tasks", "application/json");
    Case { what, method: "POST", path, media_type, header: ("x-none", ""), body: body.into(), status, named }
}

fn query(what: &'static str, path: &'static str, named: &'static str) -> Case {
    Case { method: "GET", path, media_type: "", ..post(what, "", 422, named) }
}

fn label(what: &'static str, body: impl Into<Vec<u8>>, status: u16, named: &'static str) -> Case {
    Case { method: "PUT", path: "/tasks/known/label", ..post(what, body, status, named) }
}

fn cases() -> Vec<Case> {
    let with = |field: &str, value: &str| format!(r#"{{"instruction":"x","{field}":{value}}}"#);
    let long_id = format!("\"{}\"", "x".repeat(129));
    let many_labels: Vec<String> = (0..65).map(|n| format!("\"l{n}\":\"\"")).collect();
    let deep = format!(r#"{{"instruction":"x","deep":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    vec![
        post("no body", "", 400, "not valid JSON"),
        post("white space", " \n", 400, "not valid JSON"),
        post("half an object", "{\"instruction\":", 400, "not valid JSON"),
        post("a comma too many", "{\"instruction\":\"x\",}", 400, "not valid JSON"),
        post("two objects", "{\"instruction\":\"x\"}{}", 400, "not valid JSON"),
        post("single quotes", "{'instruction':'x'}", 400, "not valid JSON"),
        post("a raw control character", "{\"instruction\":\"a\nb\"}", 400, "not valid JSON"),
        post("not a number", with("n", "NaN"), 400, "not valid JSON"),
        post("a byte order mark", "\u{feff}{\"instruction\":\"x\"}", 400, "not valid JSON"),
        post("bytes that are no UTF-8", b"{\"instruction\":\"\xff\"}".to_vec(), 400, "UTF-8"),
        post("nested too deep", deep, 400, "nested deeper than 128"),
        post("an array", "[{\"instruction\":\"x\"}]", 400, "not a JSON object"),
        post("a string", "\"instruction\"", 400, "not a JSON object"),
        post("null", "null", 400, "not a JSON object"),
        post("no instruction", "{}", 422, "#/instruction"),
        post("an empty instruction", "{\"instruction\":\"\"}", 422, "#/instruction"),
        post("a blank instruction", "{\"instruction\":\" \\t\\n\"}", 422, "#/instruction"),
        post("a null instruction", "{\"instruction\":null}", 422, "#/instruction"),
        post("a number as instruction", "{\"instruction\":7}", 422, "#/instruction"),
        post("half a surrogate pair", "{\"instruction\":\"\\ud800\"}", 422, "#/instruction"),
        post("two instructions", "{\"instruction\":\"a\",\"instruction\":\"b\"}", 422, "#/instruction"),
        post("a number as id", with("task_id", "7"), 422, "#/task_id"),
        post("an empty id", with("task_id", "\"\""), 422, "#/task_id"),
        post("an id too long", with("task_id", &long_id), 422, "#/task_id"),
        post("a path as id", with("task_id", "\"../x\""), 422, "#/task_id"),
        post("a slash in the id", with("task_id", "\"a/b\""), 422, "#/task_id"),
        post("a hidden id", with("task_id", "\".x\""), 422, "#/task_id"),
        post("an option as id", with("task_id", "\"-rf\""), 422, "#/task_id"),
        post("a space in the id", with("task_id", "\"a b\""), 422, "#/task_id"),
        post("no iterations", with("max_iterations", "0"), 422, "#/max_iterations"),
        post("too many iterations", with("max_iterations", "201"), 422, "#/max_iterations"),
        post("half an iteration", with("max_iterations", "1.5"), 422, "#/max_iterations"),
        post("iterations in words", with("max_iterations", "\"3\""), 422, "#/max_iterations"),
        post("a deadline in the past", with("deadline_seconds", "-1"), 422, "#/deadline_seconds"),
        post("an endless deadline", with("deadline_seconds", "1e308"), 422, "#/deadline_seconds"),
        post("a priority out of bounds", with("priority", "1001"), 422, "#/priority"),
        post("labels in a list", with("labels", "[\"a\"]"), 422, "#/labels"),
        post("a number as label", with("labels", "{\"a\":1}"), 422, "#/labels/a"),
        post("too many labels", with("labels", &format!("{{{}}}", many_labels.join(","))), 422, "#/labels"),
        post("a workspace outside", with("workspace", "\"../x\""), 422, "#/workspace"),
        post("a workspace elsewhere", with("workspace", "\"/etc\""), 422, "#/workspace"),
        post("a workspace that is not there", with("workspace", "\"none\""), 404, "#/workspace"),
        post("a workspace that is a file", with("workspace", "\"file\""), 422, "#/workspace"),
        post("isolation", with("isolation", "\"worktree\""), 422, "#/isolation"),
        post("a body much too long", with("pad", &format!("\"{}\"", "x".repeat(6 << 20))), 413, "1048576"),
        post("a body too long", with("pad", &format!("\"{}\"", "x".repeat(1 << 20))), 413, "1048576"),
        Case {
            media_type: "text/plain",
            ..post("another media type", "{\"instruction\":\"x\"}", 415, "application/json")
        },
        Case { media_type: "", ..post("no media type", "{\"instruction\":\"x\"}", 415, "application/json") },
        Case {
            media_type: "application/json; charset=latin1",
            ..post("another charset", "{\"instruction\":\"x\"}", 415, "UTF-8")
        },
        Case {
            header: ("idempotency-key", " "),
            ..post("a blank key", "{\"instruction\":\"x\"}", 422, "Idempotency-Key")
        },
        Case { path: "/tasks?wait=1", ..post("a query on POST", "{\"instruction\":\"x\"}", 422, "?wait") },
        Case { method: "PUT", ..post("another method", "{}", 405, "method") },
        Case { method: "POST", path: "/healthz", ..post("POST where GET is", "", 405, "method") },
        Case { path: "/task", ..post("another path", "{}", 404, "path") },
        Case { method: "GET", path: "/tasks/none", ..post("an unknown task", "", 404, "no task") },
        Case { method: "GET", path: "/tasks/..%2f..%2fetc", ..post("a path as task", "", 404, "no task") },
        Case { method: "GET", path: "/tasks/%ff", ..post("no UTF-8 as task", "", 404, "no task") },
        Case { method: "DELETE", path: "/tasks/none", ..post("deleting an unknown task", "", 404, "no task") },
        Case { path: "/tasks/none/cancel", ..post("cancelling an unknown task", "", 404, "no task") },
    ]
}

fn verdicts() -> Vec<Case> {
    vec![
        label("no verdict at all", "", 400, "not valid JSON"),
        label("a verdict that is a word", "\"accepted\"", 400, "not a JSON object"),
        label("a verdict that says nothing", "{}", 422, "#/outcome"),
        label("a note alone", "{\"note\":\"x\"}", 422, "#/outcome"),
        label("an unknown outcome", "{\"outcome\":\"good\"}", 422, "#/outcome"),
        label("an outcome in numbers", "{\"outcome\":1}", 422, "#/outcome"),
        label("a reward in words", "{\"reward\":\"1\"}", 422, "#/reward"),
        label("an endless reward", "{\"reward\":1e999}", 422, "#/reward"),
        label("two rewards", "{\"reward\":1,\"reward\":2}", 422, "#/reward"),
        label("a note that is no text", "{\"reward\":1,\"note\":[]}", 422, "#/note"),
        label("a note too long", format!("{{\"reward\":1,\"note\":\"{}\"}}", "x".repeat(4097)), 422, "#/note"),
        label("an unknown field", "{\"reward\":1,\"a/b\":1}", 422, "#/a~1b"),
        label("a verdict much too long", format!("{{\"note\":\"{}\"}}", "x".repeat(1 << 20)), 413, "1048576"),
        Case {
            media_type: "text/plain",
            ..label("a verdict of another media type", "{\"reward\":1}", 415, "application/json")
        },
        Case { path: "/tasks/known/label?x=1", ..label("a query on a verdict", "{\"reward\":1}", 422, "?x") },
        Case { path: "/tasks/none/label", ..label("a verdict on an unknown task", "{\"reward\":1}", 404, "no task") },
        Case { method: "POST", ..label("a verdict that is posted", "{\"reward\":1}", 405, "method") },
    ]
}

fn queries() -> Vec<Case> {
    vec![
        query("no page", "/tasks?limit=0", "?limit"),
        query("a page too long", "/tasks?limit=201", "?limit"),
        query("a page in words", "/tasks?limit=ten", "?limit"),
        query("an unknown status", "/tasks?status=done", "?status"),
        query("no status", "/tasks?status=", "?status"),
        query("half a list of statuses", "/tasks?status=failed,", "?status"),
        query("two statuses apart", "/tasks?status=failed&status=queued", "?status"),
        query("a label without a name", "/tasks?label=team&label==a", "?label"),
        query("a time in words", "/tasks?since=yesterday", "?since"),
        query("a time without a zone", "/tasks?until=2026-01-31T13:00:00", "?until"),
        query("an offset that a query spoils", "/tasks?since=2026-01-31T13:00:00+01:00", "?since"),
        query("a day that is none", "/tasks?until=2026-02-30", "?until"),
        query("a nameless workspace", "/tasks?workspace=", "?workspace"),
        query("a cursor of somebody else", "/tasks?cursor=zzz", "?cursor"),
        query("an unknown parameter", "/tasks?stauts=queued", "?stauts"),
        query("a parameter twice", "/tasks?limit=1&limit=2", "?limit"),
        query("a wait in words", "/tasks/known?wait=long", "?wait"),
        query("a wait too long", "/tasks/known?wait=301", "?wait"),
        query("a place in words", "/tasks/known/log?after=x", "?after"),
        query("a place before the first", "/tasks/known/log?after=-1", "?after"),
        query("a place beyond all", "/tasks/known/log?after=2147483648", "?after"),
        query("neither true nor false", "/tasks/known/log?follow=yes", "?follow"),
    ]
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_stored() {
    let service = Service::start("script:", &[]).await;
    std::fs::write(service.home.code().join("file"), "").unwrap();
    service.finish(&json!({"instruction": "x", "task_id": "known", "script": [{"event": "finish"}]})).await;
    let cases = [cases(), verdicts(), queries()].concat();
    assert!(cases.len() >= 40);
    for Case { what, method, path, media_type, header, body, status, named } in cases {
        let mut request = service.request(method, path).header(header.0, header.1).body(body);
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        let answer = send(request).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        let problem = answer.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)), "{what}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{what}");
        if named.starts_with(['#', '?']) || named == "Idempotency-Key" {
            let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| &e["pointer"]).collect();
            assert_eq!(pointers, [named], "{what}");
        } else {
            assert!(problem["detail"].as_str().unwrap().contains(named), "{what}: {problem}");
        }
        assert_eq!(status == 405, !answer.header("allow").is_empty(), "{what}");
    }
    let tasks = service.get("/tasks").await.json();
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1, "{tasks}");
    assert!(tasks["tasks"][0].get("label").is_none(), "{tasks}");
}

#[tokio::test]
async fn all_faults_of_a_task_are_told_at_once() {
    let service = Service::start("script:", &[]).await;
    let answer = service.post("/tasks", r#"{"task_id":"..","priority":"high","labels":7}"#).await;
    let problem = answer.json();
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/instruction", "#/task_id", "#/priority", "#/labels"]);
}
