//! The conversation as it is rebuilt from histories, and steps that need no model.

use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::message::Message;
use super::*;
use crate::domain::{Exchange, SystemClock};

const TOOLS: &str = r#"[{"name":"read_file","parameters":{"type":"object","properties":{"file_path":{"type":"string"}},"required":["file_path"]}}]"#;

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn exchange(input: &str, reply: &str) -> Exchange {
    Exchange { agent_input: json(input), mcp_reply: Some(json(reply)) }
}

fn request(payload: &str, history: Option<Vec<Exchange>>) -> StepRequest {
    let iteration = u32::try_from(history.as_ref().map_or(0, Vec::len)).unwrap() + 1;
    let task = json(r#"{"instruction":"do"}"#);
    StepRequest { task_id: "t".parse().unwrap(), iteration, payload: json(payload), task, history }
}

fn rebuilt(payload: &str, history: &[Exchange]) -> Conversation {
    Conversation::rebuild(&request(payload, Some(history.to_vec())), history, &Toolset::new(&json(TOOLS)))
}

/// What is said after the opening, one line each.
fn told(conversation: &Conversation) -> Vec<String> {
    let one = |message: &Message| serde_json::to_string(message).unwrap();
    conversation.messages.iter().skip(2).map(one).collect()
}

const START: &str = r#"{"event":"start","task":{"instruction":"do"},"models":{"finetuned":"m","critique":"c"}}"#;
const RESULT: &str = r#"{"event":"tool_result","name":"read_file","arguments":{},"result":{"status":"success"}}"#;

fn two_calls(second: &str) -> String {
    format!(
        r#"{{"event":"tool_call","name":"read_file","arguments":{{"n":1.0}},"assistant":{{"content":"I look.","tool_calls":[{{"id":"a","name":"read_file","arguments":{{"n":1.0}}}},{{"id":"b","name":"read_file","arguments":"oops"{second}}}]}},"call":0}}"#
    )
}

#[test]
fn the_next_call_of_an_answer_is_the_reply_and_then_the_model_is_asked() {
    let first = exchange(START, &two_calls(""));
    let mut conversation = rebuilt(RESULT, std::slice::from_ref(&first));
    assert_eq!(conversation.models.finetuned.as_deref(), Some("m"));
    let next = conversation.next_call().unwrap();
    assert_eq!(next.as_str(), r#"{"event":"tool_call","name":"read_file","arguments":"oops","call":1}"#);

    let mut conversation = rebuilt(RESULT, &[first, exchange(RESULT, next.as_str())]);
    assert_eq!(conversation.next_call(), None);
    assert_eq!(
        told(&conversation),
        [
            r#"{"role":"assistant","content":"I look.","tool_calls":[{"id":"a","type":"function","function":{"name":"read_file","arguments":"{\"n\":1.0}"}},{"id":"b","type":"function","function":{"name":"read_file","arguments":"{}"}}]}"#,
            r#"{"role":"tool","tool_call_id":"a","content":"{\"status\":\"success\"}"}"#,
            r#"{"role":"tool","tool_call_id":"b","content":"{\"status\":\"success\"}"}"#,
        ]
    );
    // An id that is in use is not given twice.
    assert_eq!((conversation.id(Some("a")), conversation.id(Some("z"))), ("c00003000".to_owned(), "z".to_owned()));
    assert_eq!(conversation.id(None), "c00003001");
}

#[test]
fn a_call_that_was_left_out_is_answered_with_the_reason() {
    let mut conversation = rebuilt(RESULT, &[exchange(START, &two_calls(r#","not_done":"cut off""#))]);
    assert_eq!(conversation.next_call(), None);
    assert_eq!(told(&conversation)[2], r#"{"role":"tool","tool_call_id":"b","content":"not done: cut off"}"#);
}

#[test]
fn what_another_brain_said_is_taken_over() {
    let foreign = r#"{"event":"tool_call","name":"read_file","arguments":{"n":1e-7}}"#;
    let mut conversation = rebuilt(RESULT, &[exchange(START, foreign), exchange(RESULT, foreign)]);
    assert_eq!(conversation.next_call(), None);
    let told = told(&conversation);
    assert_eq!(told.len(), 4);
    assert!(told[0].contains(r#""id":"f00000002""#) && told[0].contains(r#"{\"n\":1e-7}"#), "{}", told[0]);
    assert!(told[3].contains(r#""tool_call_id":"f00000004""#), "{}", told[3]);
}

#[test]
fn what_was_found_out_about_the_context_is_remembered() {
    let reply =
        r#"{"event":"tool_call","name":"read_file","context":{"prompt_bytes":800,"prompt_tokens":200,"room":90}}"#;
    let conversation = rebuilt(RESULT, &[exchange(START, reply)]);
    assert_eq!(conversation.room, Some(90));
    assert_eq!(fit::room_in(100, conversation.rate), 300);
}

fn brain() -> OpenAiBrain {
    let settings = OpenAiSettings {
        base_url: "http://127.0.0.1:9/v1".parse().unwrap(),
        key: None,
        models: Models::default(),
        critique_rounds: 1,
        temperature: None,
        seed: None,
        context_tokens: None,
        timeout: Duration::from_secs(5),
        retries: 0,
        max_reply_bytes: 1000,
        tools: json(TOOLS),
    };
    OpenAiBrain::new(settings, Arc::new(SystemClock)).unwrap()
}

#[tokio::test]
async fn without_its_history_a_task_is_not_gone_on_with() {
    let mut later = request(RESULT, None);
    later.iteration = 2;
    assert_eq!(brain().step(&later).await.unwrap().as_str(), r#"{"event":"resync"}"#);
    let abort = request(r#"{"event":"agent_abort","reason":"cancelled"}"#, None);
    assert!(brain().step(&abort).await.unwrap().as_str().contains("finish"));
}

#[tokio::test]
async fn a_long_history_is_read_on_another_thread() {
    for (length, is_aside) in [(100, false), (1_000_000, true)] {
        let result = format!(r#"{{"event":"tool_result","result":{{"stdout":"{}"}}}}"#, "x".repeat(length));
        let request = request(&result, Some(vec![exchange(START, &two_calls(""))]));
        let brain = brain();
        let mut step = brain.step(&request);
        let (reply, waited) = match step.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => (reply, false),
            Poll::Pending => (step.await, true),
        };
        assert!(reply.unwrap().as_str().ends_with(r#""call":1}"#));
        assert_eq!(waited, is_aside);
    }
}

#[tokio::test]
async fn a_model_is_named_by_the_brain_or_by_the_worker() {
    let unnamed = brain().step(&request(r#"{"event":"start","task":{}}"#, None)).await.unwrap_err();
    assert!(unnamed.to_string().starts_with("OPENAI_FINETUNED_MODEL_ID is not set"), "{unnamed}");
    // Nobody listens there: it has come as far as asking.
    let named = brain().step(&request(START, None)).await.unwrap_err();
    assert!(named.to_string().starts_with("http://127.0.0.1:9/v1/chat/completions: no reply after 1 try"), "{named}");
}

/// Whether every tool message answers a call just made, and no call stays unanswered.
fn is_sound(messages: &[Message]) -> bool {
    let mut waiting: Vec<&str> = Vec::new();
    for message in messages {
        match message {
            Message::Tool { id, .. } => match waiting.iter().position(|call| call == id) {
                Some(at) => drop(waiting.remove(at)),
                None => return false,
            },
            _ if !waiting.is_empty() => return false,
            Message::Assistant { calls, .. } => waiting.extend(calls.iter().map(|call| call.id.as_str())),
            Message::System(_) | Message::User(_) => {}
        }
    }
    waiting.is_empty()
}

/// An answer of a model's on record, whose calls are left out where `left_out` says so; or one of another brain's.
fn recorded(number: usize, left_out: &[bool], foreign: bool) -> String {
    if foreign {
        return r#"{"event":"tool_call","name":"read_file"}"#.to_owned();
    }
    let call = |(at, out): (usize, &bool)| {
        let not_done = if *out && at > 0 { r#","not_done":"cut off""# } else { "" };
        format!(r#"{{"id":"i{number}.{at}","name":"read_file","arguments":{{}}{not_done}}}"#)
    };
    let calls: Vec<String> = left_out.iter().enumerate().map(call).collect();
    let calls = calls.join(",");
    format!(
        r#"{{"event":"tool_call","name":"read_file","assistant":{{"content":"","tool_calls":[{calls}]}},"call":0}}"#
    )
}

proptest! {
    #[test]
    fn whatever_is_on_record_the_conversation_is_one_that_servers_take(
        answers in prop::collection::vec((prop::collection::vec(any::<bool>(), 1..4), any::<bool>(), any::<bool>()), 0..6)
    ) {
        let mut history: Vec<Exchange> = Vec::new();
        for (number, (left_out, foreign, is_broken_off)) in answers.iter().enumerate() {
            let payload = if history.is_empty() { START } else { RESULT };
            history.push(exchange(payload, &recorded(number, left_out, *foreign)));
            // The other calls of the answer, as the brain goes through them; unless another one took over meanwhile.
            while let Some(next) = rebuilt(RESULT, &history).next_call().filter(|_| !is_broken_off) {
                history.push(exchange(RESULT, next.as_str()));
            }
        }
        let mut conversation = rebuilt(if history.is_empty() { START } else { RESULT }, &history);
        while let Some(next) = conversation.next_call() {
            history.push(exchange(RESULT, next.as_str()));
            conversation = rebuilt(RESULT, &history);
        }
        prop_assert!(is_sound(&conversation.messages), "{:#?}", conversation.messages);
        let fitted = fit::fit(&conversation.messages, 0, Some(1));
        prop_assert!(is_sound(&fitted.messages));
    }

    #[test]
    fn nothing_that_a_server_sends_makes_the_reading_fall_over(
        cut in 0..400usize, inserted in "[\\PC\n{}\\[\\]\",:\\\\]{0,6}", text in any::<String>()
    ) {
        let body = r#"{"choices":[{"message":{"content":"<think>x</think>ä<tool_call>{\"name\":\"n\",\"arguments\":{\"a\":\"b\\n\"}}","tool_calls":[{"id":"i","function":{"name":"n","arguments":"{\"a\":[1,\"ü\"]}"}}],"refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":7},"error":null}"#;
        let mut at = cut.min(body.len());
        while !body.is_char_boundary(at) {
            at -= 1;
        }
        for odd in [format!("{}{inserted}{}", &body[..at], &body[at..]), format!("{}{inserted}", &body[..at]), text] {
            let _ = (answer::read(&odd), problem::Problem::read(400, &odd), arguments::read_text(&odd));
            let _ = (words::without_thoughts(&odd), words::calls_within(&odd));
            let said = answer::Answer { content: odd, ..Default::default() };
            let _ = verdict::read(&said);
        }
    }
}
