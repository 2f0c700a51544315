//! `codex-agent brain`: one port, three ways in, for several workers; and what clients of others see of it.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::common::brain::{call, finish};
use crate::common::{Home, Service, client, eventually, send};

/// A served brain; its address.
async fn serve(home: &Home, listen: &str, variables: &[(&str, &str)]) -> (Child, String) {
    let mut command = home.command(&["brain", "--listen", listen]);
    let mut child = command.envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(at) = line.find("http://") {
            return (child, line[at + "http://".len()..].trim_end_matches("/step").to_owned());
        }
    }
    panic!("the brain did not start");
}

fn task(name: &str, seconds: f64) -> Value {
    let wait = call("run_command", &json!({"command": format!("sleep {seconds}")}));
    json!({"task_id": name, "instruction": "x", "script": [wait.clone(), wait, finish()]})
}

#[tokio::test]
async fn one_port_serves_several_workers_over_all_ways_and_is_killed_in_between() {
    let home = Home::new();
    let token = [("API_TOKENS", "letmein")];
    let (mut brain, address) = serve(&home, "127.0.0.1:0", &token).await;
    let mut services = Vec::new();
    for scheme in ["http", "ws", "grpc"] {
        let url = format!("{scheme}://{address}");
        services.push((scheme, Service::start(&url, &[("OPENAI_API_KEY", "letmein"), ("MAX_COMMANDS", "64")]).await));
    }
    for (scheme, service) in &services {
        for number in 0..10 {
            service.submit(&task(&format!("{scheme}-{number}"), 0.5)).await;
        }
    }
    eventually("all are under way", async || {
        for (_, service) in &services {
            let list = service.get("/tasks?limit=200").await.json();
            if !list["tasks"].as_array().unwrap().iter().all(|task| task["iteration"].as_u64().unwrap() >= 1) {
                return false;
            }
        }
        true
    })
    .await;
    brain.kill().await.unwrap();
    let (_brain, _) = serve(&home, &address, &token).await;
    for (scheme, service) in &services {
        for number in 0..10 {
            let name = format!("{scheme}-{number}");
            assert_eq!(service.ended(&name).await["status"], "succeeded", "{name}");
            let iterations: Vec<_> =
                service.record(&name).await.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
            assert_eq!(iterations, [1, 2, 3]);
        }
    }
}

/// A process that stands still keeps its connections open, and the kernel answers for it.
#[tokio::test]
async fn a_brain_that_stands_still_is_found_out_in_twenty_seconds_and_the_step_is_asked_again() {
    tokio::join!(stands_still("ws"), stands_still("grpc"));
}

async fn stands_still(scheme: &str) {
    let home = Home::new();
    let (brain, address) = serve(&home, "127.0.0.1:0", &[]).await;
    let signal = |signal| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(brain.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    };
    let service = Service::start(&format!("{scheme}://{address}"), &[]).await;
    let id = service.submit(&task("still", 1.0)).await;
    eventually("it is under way", async || service.get("/tasks/still").await.json()["iteration"] == 1).await;
    signal(rustix::process::Signal::STOP);
    let frozen = Instant::now();
    eventually("the worker hangs up", async || service.log().contains("the brain is asked again")).await;
    let found = frozen.elapsed();
    drop(writeln!(std::io::stderr(), "{scheme}: found out after {found:?}"));
    // Far from what a step may take, which is two minutes.
    assert!(found < Duration::from_secs(25), "{scheme}: {found:?}");
    signal(rustix::process::Signal::CONT);
    assert_eq!(service.ended(&id).await["status"], "succeeded");
    let iterations: Vec<_> =
        service.record("still").await.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
    assert_eq!(iterations, [1, 2, 3]);
}

#[tokio::test]
async fn a_worker_without_the_token_is_told_so_over_all_ways() {
    let home = Home::new();
    let (_brain, address) = serve(&home, "127.0.0.1:0", &[("API_TOKENS", "letmein")]).await;
    for scheme in ["http", "ws", "grpc"] {
        let service = Service::start(&format!("{scheme}://{address}"), &[("OPENAI_API_KEY", "guessed")]).await;
        let task = service.finish(&task("t", 0.0)).await;
        assert_eq!(task["error"]["code"], "brain_protocol", "{task}");
        let told = task["error"]["message"].as_str().unwrap();
        assert!(told.contains("401") || told.contains("Unauthenticated"), "{told}");
        assert!(!told.contains("guessed") && !told.contains("letmein"), "{told}");
    }
}

#[tokio::test]
async fn a_repeated_step_has_the_same_answer_and_a_bad_one_says_why() {
    let home = Home::new();
    let (_brain, address) = serve(&home, "127.0.0.1:0", &[]).await;
    let post = async |key: &str, body: String| {
        send(client().post(format!("http://{address}/step")).header("idempotency-key", key).body(body)).await
    };
    let start = json!({"task_id": "t", "payload": {"event": "start", "task": task("t", 0.0)}}).to_string();
    let first = post("t/1", start.clone()).await;
    assert_eq!((first.status, &first.json()["name"]), (200, &json!("run_command")));
    assert_eq!(post("t/1", start).await.body, first.body);
    let unknown = json!({"task_id": "u", "payload": {"event": "tool_result", "result": {}}}).to_string();
    assert_eq!(post("u/2", unknown).await.json(), json!({"event": "resync"}));
    for (body, named) in [
        ("{", "not a step"),
        (r#"{"task_id":"../x","payload":{"event":"start"}}"#, "task_id"),
        (r#"{"task_id":"t","payload":{"event":"start"}}"#, "a start has no task"),
        (r#"{"task_id":"t","payload":{"event":"start","task":{}}}"#, "script"),
    ] {
        let answer = post("x/1", body.to_owned()).await;
        assert_eq!(answer.status, 422, "{body}");
        assert!(answer.text().contains(named), "{body}: {}", answer.text());
    }
    let answer = send(client().get(format!("http://{address}/healthz"))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn who_says_half_a_word_or_nothing_more_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let home = Home::new();
    let (_brain, address) = serve(&home, "127.0.0.1:0", &[("API_TOKENS", "letmein"), ("HEADER_TIMEOUT", "1")]).await;
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let whole = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], settings].concat();
    for begun in [&b""[..], b"P", b"PRI", b"PRI * HTTP/2.0\r\n", &whole, b"POST /st"] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut said = Vec::new();
        let closed = tokio::time::timeout(crate::common::PATIENCE, stream.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "{:?} is waited for", String::from_utf8_lossy(begun));
    }
}

/// What a client that knows nothing of this program asks: a probe without a token, and a tool like grpcurl with one.
#[tokio::test]
async fn grpc_tells_its_health_to_everybody_and_its_services_to_who_has_a_token() {
    use tonic::transport::Endpoint;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let home = Home::new();
    let (_brain, address) = serve(&home, "127.0.0.1:0", &[("API_TOKENS", "letmein")]).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    for service in ["", "codexagent.v1.Brain"] {
        let asked = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(asked).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "SERVING");
    }
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let ask = async |token: Option<&'static str>| {
        let mut request = tonic::Request::new(tokio_stream(asked.clone()));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        let mut answers =
            ServerReflectionClient::new(channel.clone()).server_reflection_info(request).await?.into_inner();
        answers.message().await
    };
    assert_eq!(ask(None).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    let answer = ask(Some("Bearer letmein")).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"codexagent.v1.Brain") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
}

fn tokio_stream<T: Send + 'static>(one: T) -> impl futures_util::Stream<Item = T> + Send {
    futures_util::stream::iter([one])
}
