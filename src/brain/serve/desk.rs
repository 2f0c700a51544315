//! Where all steps come to: each is answered once, however often it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::known::{Conversation, Known};
use super::{MOST_ITERATIONS, Refusal, Step};
use crate::brain::{Brain, BrainError, StepRequest, farewell, resync};
use crate::domain::{Exchange, Json, Payload, Reply, TaskId};

/// A brain with a memory for many workers.
pub struct Desk {
    brain: Arc<dyn Brain>,
    state: Mutex<State>,
    /// Steps that are being answered. They go on when whoever asked has gone away: it asks again, and a model has been paid.
    tracker: TaskTracker,
}

#[derive(Default)]
struct State {
    known: Known,
    /// The steps that the brain thinks about.
    asking: HashMap<TaskId, Vec<Thought>>,
}

/// A step that the brain thinks about.
struct Thought {
    iteration: u32,
    /// A number alone may be used for two tasks of one name.
    payload: Json,
    reply: Shared<Asking>,
    give_up: CancellationToken,
}

type Asking = BoxFuture<'static, Result<Json, Refusal>>;

/// What is to be done with a step.
enum Plan {
    /// This is its reply.
    Reply(Json),
    /// The brain has to be asked, and its answer belongs to this life of the task.
    Ask(StepRequest, u64),
    /// The task is over: whatever is thought about it is for nothing.
    GiveUp(TaskId),
}

impl Desk {
    /// A desk for this brain.
    pub fn new(brain: Arc<dyn Brain>) -> Self {
        Self { brain, state: Mutex::default(), tracker: TaskTracker::new() }
    }

    pub(super) async fn answer(self: &Arc<Self>, step: Step) -> Result<Json, Refusal> {
        let asking = {
            let mut state = self.lock();
            match plan(&mut state.known, step)? {
                Plan::Reply(reply) => return Ok(reply),
                Plan::GiveUp(id) => {
                    state.asking.get(&id).into_iter().flatten().for_each(|thought| thought.give_up.cancel());
                    return Ok(farewell());
                }
                Plan::Ask(request, life) => self.asking(&mut state, request, life),
            }
        };
        asking.await
    }

    /// The brain's answer to a step; the one that is being made already, if there is one.
    fn asking(self: &Arc<Self>, state: &mut State, request: StepRequest, life: u64) -> Shared<Asking> {
        let (id, iteration, payload) = (request.task_id.clone(), request.iteration, request.payload.clone());
        let is_it = |thought: &&Thought| thought.iteration == iteration && thought.payload == payload;
        if let Some(same) = state.asking.get(&id).and_then(|thoughts| thoughts.iter().find(is_it)) {
            return same.reply.clone();
        }
        let (desk, give_up) = (Arc::clone(self), CancellationToken::new());
        let token = give_up.clone();
        let working = self.tracker.spawn(async move {
            let answering = std::panic::AssertUnwindSafe(desk.brain.step(&request)).catch_unwind();
            let answered = tokio::select! {
                biased;
                answered = answering => answered.unwrap_or_else(|_| {
                    Err(BrainError::Unreachable("the brain failed for a reason of its own; its log has it".to_owned()))
                }),
                () = token.cancelled() => Err(BrainError::Protocol("the task is over".to_owned())),
            };
            let mut state = desk.lock();
            state.forget(&request);
            if let Ok(reply) = &answered {
                let exchange = Exchange { agent_input: request.payload, mcp_reply: Some(reply.clone()) };
                state.known.add(&request.task_id, life, request.iteration, exchange);
            }
            answered.map_err(Refusal::Brain)
        });
        let stopped = || Refusal::Brain(BrainError::Unreachable("the brain is being stopped".to_owned()));
        let asking: Asking = Box::pin(async move { working.await.unwrap_or_else(|_| Err(stopped())) });
        let reply = asking.shared();
        let thought = Thought { iteration, payload, reply: reply.clone(), give_up };
        state.asking.entry(id).or_default().push(thought);
        reply
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The brain has thought about it.
    fn forget(&mut self, request: &StepRequest) {
        let Some(thoughts) = self.asking.get_mut(&request.task_id) else { return };
        thoughts.retain(|thought| thought.iteration != request.iteration || thought.payload != request.payload);
        if thoughts.is_empty() {
            self.asking.remove(&request.task_id);
        }
    }
}

/// What a step means after what is known.
fn plan(known: &mut Known, step: Step) -> Result<Plan, Refusal> {
    let Step { id, iteration, payload, history } = step;
    if Payload::abort_reason(&payload).is_some() {
        known.forget(&id);
        return Ok(Plan::GiveUp(id));
    }
    let begun = started(&payload)?;
    if history.as_ref().is_some_and(|history| history.len() > MOST_ITERATIONS) {
        return Err(Refusal::TooLong);
    }
    if let Some(history) = history {
        let task = match history.first() {
            Some(first) => started(&first.agent_input)?,
            None => begun,
        };
        let task = task.ok_or_else(|| Refusal::Bad("history: does not begin with a start".to_owned()))?;
        // What is known already goes on: the brain may be thinking about its next step.
        if known.get(&id).is_none_or(|known| known.task != task || known.exchanges != history) {
            known.begin(id.clone(), Conversation::new(task, history));
        }
    } else if let Some(task) = begun {
        // A task of the same name that says something else is another one.
        let is_same = |known: &Conversation| match known.exchanges.first() {
            Some(first) => first.agent_input == payload,
            // The brain is thinking about it.
            None => known.task == task,
        };
        if !known.get(&id).is_some_and(is_same) {
            known.begin(id.clone(), Conversation::new(task, Vec::new()));
        }
    }
    let Some(conversation) = known.get(&id) else { return Ok(Plan::Reply(resync())) };
    let next = u32::try_from(conversation.exchanges.len()).unwrap_or(u32::MAX).saturating_add(1);
    let number = iteration.unwrap_or(if begun_is_first(conversation, &payload) { 1 } else { next });
    let index = usize::try_from(number).unwrap_or(usize::MAX).checked_sub(1);
    let index = index.ok_or_else(|| Refusal::Bad("iteration: counts from 1".to_owned()))?;
    if let Some(Exchange { agent_input, mcp_reply: Some(reply) }) = conversation.exchanges.get(index)
        && *agent_input == payload
    {
        return Ok(Plan::Reply(reply.clone()));
    }
    if number != next || !follows(conversation, &payload) {
        // What is known here is not what the worker has on record: another worker's task of the same name, perhaps.
        known.forget(&id);
        return Ok(Plan::Reply(resync()));
    }
    let (task, life) = (conversation.task.clone(), conversation.life);
    let history = Some(conversation.exchanges.clone());
    Ok(Plan::Ask(StepRequest { task_id: id, iteration: number, payload, task, history }, life))
}

/// Whether a result is that of the call which was asked for last; one that does not name its call may be.
fn follows(conversation: &Conversation, payload: &Json) -> bool {
    #[derive(Deserialize)]
    struct Told<'a> {
        name: Option<String>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let asked = conversation.exchanges.last().and_then(|last| last.mcp_reply.as_ref());
    let Some(Ok(Reply::ToolCall(call))) = asked.map(Reply::parse) else { return true };
    let Ok(told) = serde_json::from_str::<Told<'_>>(payload.as_str()) else { return true };
    told.name.is_none_or(|name| name == call.name)
        && told.arguments.is_none_or(|arguments| Json::parse(arguments.get()).is_ok_and(|told| told == call.arguments))
}

/// Whether this is the first payload again, from somebody who numbers no steps.
fn begun_is_first(conversation: &Conversation, payload: &Json) -> bool {
    conversation.exchanges.first().is_some_and(|first| first.agent_input == *payload)
}

/// The task in a `start` payload.
fn started(payload: &Json) -> Result<Option<Json>, Refusal> {
    #[derive(Deserialize)]
    struct Start<'a> {
        event: Option<String>,
        #[serde(borrow)]
        task: Option<&'a RawValue>,
    }
    let bad = |what: String| Refusal::Bad(format!("payload: {what}"));
    let start: Start<'_> = serde_json::from_str(payload.as_str()).map_err(|error| bad(error.to_string()))?;
    match (start.event.as_deref(), start.task) {
        (Some("start"), Some(task)) => Json::reread(task.get()).map(Some).map_err(|error| bad(error.to_string())),
        (Some("start"), None) => Err(bad("a start has no task".to_owned())),
        (Some(_), _) => Ok(None),
        (None, _) => Err(bad("has no event".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;

    /// Counts what it is asked, and answers when it is let.
    struct Slow {
        asked: AtomicU32,
        let_go: Semaphore,
    }

    #[async_trait]
    impl Brain for Slow {
        async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
            let count = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            self.let_go.acquire().await.unwrap().forget();
            let known = request.history.as_ref().unwrap().len();
            let reply = format!(r#"{{"event":"finish","count":{count},"known":{known}}}"#);
            Ok(Json::parse(&reply).unwrap())
        }
    }

    fn desk(permits: usize) -> (Arc<Desk>, Arc<Slow>) {
        let brain = Arc::new(Slow { asked: AtomicU32::new(0), let_go: Semaphore::new(permits) });
        (Arc::new(Desk::new(brain.clone())), brain)
    }

    fn step(text: &str) -> Step {
        Step::parse(text).unwrap()
    }

    const START: &str = r#"{"task_id":"t","iteration":1,"payload":{"event":"start","task":{"instruction":"x"}}}"#;
    const SECOND: &str = r#"{"task_id":"t","iteration":2,"payload":{"event":"tool_result","result":{}}}"#;

    #[tokio::test]
    async fn a_step_that_comes_again_gets_the_reply_it_had() {
        let (desk, brain) = desk(9);
        let first = desk.answer(step(START)).await.unwrap();
        assert_eq!(desk.answer(step(START)).await.unwrap(), first);
        let second = desk.answer(step(SECOND)).await.unwrap();
        assert_eq!(second.as_str(), r#"{"event":"finish","count":2,"known":1}"#);
        assert_eq!(desk.answer(step(SECOND)).await.unwrap(), second);
        assert_eq!(desk.answer(step(START)).await.unwrap(), first);
        assert_eq!(brain.asked.load(Ordering::Relaxed), 2);
        let other = START.replace("\"x\"", "\"another\"");
        assert_ne!(desk.answer(step(&other)).await.unwrap(), first);
    }

    #[tokio::test]
    async fn whoever_asks_while_the_brain_thinks_waits_for_the_same_reply_even_if_the_first_has_gone() {
        let (desk, brain) = desk(0);
        let mut first = Box::pin(desk.answer(step(START)));
        assert!(first.as_mut().now_or_never().is_none());
        drop(first);
        let again = desk.answer(step(START));
        brain.let_go.add_permits(1);
        let reply = again.await.unwrap();
        assert_eq!(reply.as_str(), r#"{"event":"finish","count":1,"known":0}"#);
        // It is remembered, whoever asked first.
        assert_eq!(desk.answer(step(START)).await.unwrap(), reply);
        assert_eq!(brain.asked.load(Ordering::Relaxed), 1);
        assert!(desk.lock().asking.is_empty());
    }

    #[tokio::test]
    async fn a_task_that_is_not_known_is_asked_for_and_goes_on_with_its_history() {
        let (desk, brain) = desk(9);
        assert_eq!(desk.answer(step(SECOND)).await.unwrap(), resync());
        let told = SECOND.replace(
            "\"payload\"",
            r#""history":[{"agent_input":{"event":"start","task":{"instruction":"x"}},"mcp_reply":{"event":"e"}}],"payload""#,
        );
        assert_eq!(desk.answer(step(&told)).await.unwrap().as_str(), r#"{"event":"finish","count":1,"known":1}"#);
        let fourth = SECOND.replace("\"iteration\":2", "\"iteration\":4");
        assert_eq!(desk.answer(step(&fourth)).await.unwrap(), resync());
        assert_eq!(brain.asked.load(Ordering::Relaxed), 1);
        let odd =
            SECOND.replace("\"payload\"", r#""history":[{"agent_input":{"event":"e"},"mcp_reply":null}],"payload""#);
        assert!(matches!(desk.answer(step(&odd)).await, Err(Refusal::Bad(_))));
    }

    #[tokio::test]
    async fn a_task_that_is_over_is_thought_about_no_more_and_its_answer_is_not_its_successors() {
        let (desk, brain) = desk(0);
        let mut first = Box::pin(desk.answer(step(START)));
        assert!(first.as_mut().now_or_never().is_none());
        let abort = SECOND.replace("tool_result\",\"result\":{}", "agent_abort\",\"reason\":\"cancelled\"");
        assert_eq!(desk.answer(step(&abort)).await.unwrap(), farewell());
        assert!(matches!(first.await, Err(Refusal::Brain(BrainError::Protocol(_)))));
        assert!(desk.lock().asking.is_empty());

        // One that is replaced while it is thought about: its reply goes to whoever waits, and on nobody's record.
        let mut old = Box::pin(desk.answer(step(START)));
        assert!(old.as_mut().now_or_never().is_none());
        let mut new = Box::pin(desk.answer(step(&START.replace("\"x\"", "\"another\""))));
        assert!(new.as_mut().now_or_never().is_none());
        brain.let_go.add_permits(2);
        let (old, new) = tokio::join!(old, new);
        assert_ne!(old.unwrap(), new.clone().unwrap());
        let state = desk.lock();
        let known = state.known.get(&"t".parse().unwrap()).unwrap();
        assert_eq!(
            known.exchanges.iter().map(|one| one.mcp_reply.clone().unwrap()).collect::<Vec<_>>(),
            [new.unwrap()]
        );
    }

    #[test]
    fn a_result_of_another_call_belongs_to_another_task_of_the_name() {
        let json = |text| Json::parse(text).unwrap();
        let call = json(r#"{"event":"tool_call","name":"read_file","arguments":{"file_path":"a"}}"#);
        let conversation = Conversation::new(
            Json::empty_object(),
            vec![Exchange { agent_input: Json::empty_object(), mcp_reply: Some(call) }],
        );
        let told = |text| follows(&conversation, &json(text));
        assert!(told(r#"{"event":"tool_result","name":"read_file","arguments":{"file_path":"a"},"result":{}}"#));
        assert!(told(r#"{"event":"tool_result","result":{"status":"failure"}}"#));
        assert!(!told(r#"{"event":"tool_result","name":"read_file","arguments":{"file_path":"b"},"result":{}}"#));
        assert!(!told(r#"{"event":"tool_result","name":"edit_file","arguments":{"file_path":"a"},"result":{}}"#));
    }

    #[tokio::test]
    async fn steps_without_numbers_follow_each_other() {
        let (desk, _) = desk(9);
        let bare = |text: &str| step(&text.replace("\"iteration\":1,", "").replace("\"iteration\":2,", ""));
        let first = desk.answer(bare(START)).await.unwrap();
        assert_eq!(desk.answer(bare(START)).await.unwrap(), first);
        assert_eq!(desk.answer(bare(SECOND)).await.unwrap().as_str(), r#"{"event":"finish","count":2,"known":1}"#);
        assert_eq!(desk.answer(bare(SECOND)).await.unwrap().as_str(), r#"{"event":"finish","count":3,"known":2}"#);
    }
}
