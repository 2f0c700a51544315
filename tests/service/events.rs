//! `GET /tasks/{id}/events`.

use std::sync::Arc;

use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Answer, PATIENCE, Service, send};

/// One event as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    id: u64,
    kind: String,
    data: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// The events of a text that ends with a whole one, and how many comments it has.
pub(crate) fn parse(text: &str) -> (Vec<Event>, usize) {
    assert!(text.is_empty() || text.ends_with("\n\n"), "an event is cut off: {text}");
    let (mut events, mut comments) = (Vec::new(), 0);
    for block in text.split_terminator("\n\n") {
        if block.starts_with(':') {
            comments += 1;
            continue;
        }
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let (id, kind, data) = (field("id").unwrap(), field("event").unwrap(), field("data").unwrap());
        assert_eq!(block.lines().count(), 3, "{block}");
        events.push(Event { id: id.parse().unwrap(), kind: kind.to_owned(), data: data.to_owned() });
    }
    (events, comments)
}

pub(crate) fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

/// What a client gets that comes (again) with this number, if it gets anything.
pub(crate) async fn since(service: &Service, id: &str, last: &str) -> Answer {
    let request = service.request("GET", &format!("/tasks/{id}/events"));
    send(if last.is_empty() { request } else { request.header("last-event-id", last) }).await
}

/// A client that reads while the events come.
pub(crate) struct Listening {
    response: Response,
    text: String,
}

impl Listening {
    pub(crate) async fn to(service: &Service, id: &str, last: u64) -> Self {
        let request = service.request("GET", &format!("/tasks/{id}/events"));
        let response = request.header("last-event-id", last.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// Reads until `enough`; whether that came before the end.
    async fn until(&mut self, enough: impl Fn(&[Event], usize) -> bool) -> bool {
        let read = async {
            loop {
                let whole = self.text.rfind("\n\n").map_or(0, |end| end + 2);
                let (events, comments) = parse(&self.text[..whole]);
                if enough(&events, comments) {
                    return true;
                }
                match self.response.chunk().await.unwrap() {
                    Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                    None => return false,
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    pub(crate) async fn has(&mut self, numbers_so_far: &[u64]) {
        let came = self.until(|events, _| events.len() >= numbers_so_far.len()).await;
        assert!(came, "the stream ended too early: {}", self.text);
        assert_eq!(numbers(&parse(&self.text).0), numbers_so_far);
    }

    /// What came in all, once the service has ended the stream.
    pub(crate) async fn ended(mut self) -> Vec<Event> {
        assert!(!self.until(|_, _| false).await);
        parse(&self.text).0
    }
}

/// A brain that answers each step after a permit of its own, and finishes with step `last`.
pub(crate) async fn gated(last: usize) -> (Brain, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let brain = Brain::start(move |seen, _| match (seen.event().as_str(), gate.try_acquire()) {
        ("agent_abort", _) => Reply::finish(),
        (_, Err(_)) => Reply::Status(503, vec![("retry-after", "0".to_owned())], String::new()),
        (_, Ok(permit)) => {
            permit.forget();
            if seen.iteration() == last { Reply::finish() } else { Reply::json(&read()) }
        }
    });
    (brain.await, go)
}

fn read() -> Value {
    call("read_file", &json!({"file_path": "größer"}))
}

/// Forever, as far as a test is concerned.
const AGAIN: (&str, &str) = ("MCP_RETRIES", "100");

#[tokio::test]
async fn an_ended_task_tells_all_that_became_of_it() {
    let brain = Brain::script(vec![read(), read(), finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    // With line feeds in it: a field of an event is one line.
    let posted = "{\n  \"task_id\": \"t\",\n  \"instruction\": \"one\\ntwo\"\n}";
    assert_eq!(service.post("/tasks", posted).await.status, 202);
    let task = service.ended("t").await;
    let answer = since(&service, "t", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-cache", "no"));

    let (events, _) = parse(&answer.text());
    let kinds: Vec<_> = events.iter().map(|event| (event.id, event.kind.as_str())).collect();
    let lines = [(3, "iteration"), (4, "iteration"), (5, "iteration")];
    assert_eq!(kinds, [&[(1, "status"), (2, "status")], &lines[..], &[(6, "end")]].concat());
    let record = service.get("/tasks/t/log").await.text();
    assert!(events[2..5].iter().map(|event| event.data.as_str()).eq(record.lines()));
    assert_eq!(events[5].json(), task);

    let (queued, running) = (events[0].json(), events[1].json());
    for (status, word, attempt) in [(&queued, "queued", 0), (&running, "running", 1)] {
        assert_eq!((&status["status"], &status["attempt"]), (&word.into(), &attempt.into()));
        assert_eq!((&status["iteration"], &status["summary"]), (&0.into(), &Value::Null));
        assert_eq!((status.get("task"), &status["task_id"]), (None, &"t".into()));
        assert_eq!((&status["created_at"], &status["finished_at"]), (&task["created_at"], &Value::Null));
    }
    assert_eq!((&queued["started_at"], &running["started_at"]), (&Value::Null, &task["started_at"]));
}

#[tokio::test]
async fn who_comes_back_gets_what_it_has_not_whatever_process_answers() {
    let brain = Brain::script(vec![read(), read(), finish()]).await;
    let mut service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    let id = task["task_id"].as_str().unwrap();
    let all = parse(&since(&service, id, "").await.text()).0;
    assert_eq!(numbers(&all), [1, 2, 3, 4, 5, 6]);
    for _ in 0..2 {
        for had in 1..6 {
            let answer = since(&service, id, &had.to_string()).await;
            assert_eq!(parse(&answer.text()).0, all[had..], "after {had}");
        }
        // At the end and beyond it: by this an EventSource knows that it need not come back.
        for had in ["6", "7", "4294967296", "18446744073709551615"] {
            let answer = since(&service, id, had).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0), "after {had}");
        }
        let home = service.kill().await;
        service = Service::start_in(home, &brain.url, &[]).await;
    }
}

#[tokio::test]
async fn a_last_event_id_that_is_none_of_ours_is_none_at_all() {
    let brain = Brain::script(vec![finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    let id = task["task_id"].as_str().unwrap();
    for odd in ["0", "one", "-1", "+2", "2.5", "2, 3", "0x2", "99999999999999999999999"] {
        let answer = since(&service, id, odd).await;
        assert_eq!(numbers(&parse(&answer.text()).0), [1, 2, 3, 4], "{odd}");
    }
    assert_eq!(service.get(&format!("/tasks/{id}/events?after=2")).await.status, 422);
    assert_eq!(service.get("/tasks/none/events").await.status, 404);
}

#[tokio::test]
async fn events_come_as_they_happen_and_end_with_the_task() {
    let (brain, go) = gated(3).await;
    let service = Service::start(&brain.url, &[AGAIN]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let mut whole = Listening::to(&service, &id, 0).await;
    // One that has what is yet to come waits for what comes after it.
    let (ahead, beyond) = (Listening::to(&service, &id, 4).await, Listening::to(&service, &id, 9).await);
    whole.has(&[1, 2]).await;
    go.add_permits(1);
    whole.has(&[1, 2, 3]).await;
    go.add_permits(1);
    whole.has(&[1, 2, 3, 4]).await;
    let mut late = Listening::to(&service, &id, 2).await;
    late.has(&[3, 4]).await;
    go.add_permits(1);
    let whole = whole.ended().await;
    assert_eq!(numbers(&whole), [1, 2, 3, 4, 5, 6]);
    assert_eq!(whole[5].json(), service.get(&format!("/tasks/{id}")).await.json());
    assert_eq!((late.ended().await, ahead.ended().await), (whole[2..].to_vec(), whole[4..].to_vec()));
    assert_eq!(beyond.ended().await, []);
    assert_eq!(parse(&since(&service, &id, "").await.text()).0, whole, "later it is told otherwise");
}

#[tokio::test]
async fn a_task_that_is_cancelled_while_it_waits_was_never_running() {
    let (brain, go) = gated(1).await;
    let service = Service::start(&brain.url, &[AGAIN, ("MAX_RUNNING", "1")]).await;
    let first = service.submit(&json!({"instruction": "x"})).await;
    Listening::to(&service, &first, 0).await.has(&[1, 2]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let mut listening = Listening::to(&service, &id, 0).await;
    listening.has(&[1]).await;
    assert_eq!(service.post(&format!("/tasks/{id}/cancel"), "").await.status, 202);
    let events = listening.ended().await;
    assert_eq!(numbers(&events), [1, 3]);
    assert_eq!((&events[1].kind, &events[1].json()["status"]), (&"end".to_owned(), &"cancelled".into()));
    go.add_permits(1);
    service.ended(&first).await;
}

#[tokio::test]
async fn a_deleted_task_tells_nothing_and_who_has_its_name_begins_anew() {
    let brain = Brain::script(vec![finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    service.finish(&json!({"task_id": "t", "instruction": "one"})).await;
    assert_eq!(send(service.request("DELETE", "/tasks/t")).await.status, 204);
    assert_eq!(since(&service, "t", "2").await.status, 404);
    let task = service.finish(&json!({"task_id": "t", "instruction": "two"})).await;
    let (events, _) = parse(&since(&service, "t", "").await.text());
    assert_eq!((numbers(&events), events[3].json()), (vec![1, 2, 3, 4], task));
}

#[tokio::test]
async fn who_reads_slowly_is_never_told_of_another_task_that_has_got_the_name() {
    // Far more than lies in the buffers between the two.
    const STEPS: usize = 40;
    let padding = "x".repeat(400_000);
    let brain = Brain::start(move |seen, before| {
        let mut reply = if seen.iteration() == STEPS { finish() } else { read() };
        reply["padding"] = format!("{} {padding}", if before < STEPS { "first" } else { "second" }).into();
        Reply::json(&reply)
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let task = json!({"task_id": "t", "instruction": "x", "max_iterations": STEPS});
    service.finish(&task).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let host = service.url.strip_prefix("http://").unwrap();
    let mut slow = socket.connect(host.parse().unwrap()).await.unwrap();
    let request = format!("GET /tasks/t/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut text = vec![0; 1000];
    slow.read_exact(&mut text).await.unwrap();
    // Meanwhile the service sends until nothing more goes into the buffers.
    let record = service.get("/tasks/t/log").await.body.len();
    assert_eq!(send(service.request("DELETE", "/tasks/t")).await.status, 204);
    service.finish(&task).await;
    slow.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.len() < record, "it was not slow: {} of {record}", text.len());
    assert!(text.contains("first") && !text.contains("second"), "{} bytes", text.len());
    assert!(text.ends_with("\r\n0\r\n\r\n"), "the stream broke off");
}

#[tokio::test]
async fn a_stop_ends_the_stream_whole_and_the_next_start_goes_on_with_it() {
    let (brain, go) = gated(3).await;
    let variables = [AGAIN, ("SHUTDOWN_GRACE", "1")];
    let service = Service::start(&brain.url, &variables).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let mut listening = Listening::to(&service, &id, 0).await;
    go.add_permits(1);
    listening.has(&[1, 2, 3]).await;
    // Nothing happens, and yet something comes.
    assert!(listening.until(|_, comments| comments > 0).await);
    let (stopped, before) = tokio::join!(service.stop(), listening.ended());
    assert_eq!((stopped.1, numbers(&before)), (Some(0), vec![1, 2, 3]));

    let service = Service::start_in(stopped.0, &brain.url, &variables).await;
    let listening = Listening::to(&service, &id, 3).await;
    go.add_permits(2);
    let after = listening.ended().await;
    assert_eq!(numbers(&after), [4, 5, 6]);
    assert_eq!(parse(&since(&service, &id, "").await.text()).0, [before, after].concat());
}

#[tokio::test]
async fn many_clients_that_come_and_go_lose_nothing_and_get_nothing_twice() {
    const STEPS: usize = 60;
    let (brain, go) = gated(STEPS).await;
    let service = Service::start(&brain.url, &[AGAIN]).await;
    let id = service.submit(&json!({"instruction": "x", "max_iterations": 200})).await;
    let stays = |_| async { Listening::to(&service, &id, 0).await.ended().await };
    // Each goes away after some events, in the middle of an answer, and comes back with the last number that it has.
    let comes_back = |some: usize| {
        let (service, id) = (&service, &id);
        async move {
            let mut had: Vec<Event> = Vec::new();
            loop {
                let last = had.last().map_or(0, |event| event.id);
                let mut listening = Listening::to(service, id, last).await;
                let more = listening.until(|events, _| events.len() >= some).await;
                let whole = listening.text.rfind("\n\n").map_or(0, |end| end + 2);
                had.extend(parse(&listening.text[..whole]).0);
                if !more || had.last().is_some_and(|event| event.kind == "end") {
                    return had;
                }
            }
        }
    };
    let stayed = futures_util::future::join_all((0..48).map(stays));
    let returned = futures_util::future::join_all((1..=16).map(comes_back));
    let working = async { go.add_permits(STEPS) };
    let (stayed, returned, ()) = tokio::join!(stayed, returned, working);
    let whole = parse(&since(&service, &id, "").await.text()).0;
    assert_eq!(numbers(&whole), (1..=STEPS as u64 + 3).collect::<Vec<_>>());
    for events in stayed.iter().chain(&returned) {
        assert!(*events == whole, "{:?}", numbers(events));
    }
}
