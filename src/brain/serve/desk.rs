//! Where all steps come to: each is answered once, however often it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use super::known::{Conversation, Known};
use super::{Refusal, Step};
use crate::brain::{Brain, BrainError, StepRequest, farewell, resync};
use crate::domain::{Exchange, Json, Payload, TaskId};

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
    /// The steps that the brain thinks about, by what they say: a key alone may be used for two tasks of one name.
    asking: HashMap<(TaskId, u32, Json), Shared<Asking>>,
}

type Asking = BoxFuture<'static, Result<Json, Refusal>>;

/// What is to be done with a step.
enum Plan {
    /// This is its reply.
    Reply(Json),
    /// The brain has to be asked.
    Ask(StepRequest),
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
                Plan::Ask(request) => self.asking(&mut state, request),
            }
        };
        asking.await
    }

    /// The brain's answer to a step; the one that is being made already, if there is one.
    fn asking(self: &Arc<Self>, state: &mut State, request: StepRequest) -> Shared<Asking> {
        let key = (request.task_id.clone(), request.iteration, request.payload.clone());
        if let Some(asking) = state.asking.get(&key) {
            return asking.clone();
        }
        let (desk, done) = (Arc::clone(self), key.clone());
        let working = self.tracker.spawn(async move {
            let answered = std::panic::AssertUnwindSafe(desk.brain.step(&request)).catch_unwind().await;
            let answered = answered.unwrap_or_else(|_| {
                Err(BrainError::Unreachable("the brain failed for a reason of its own; its log has it".to_owned()))
            });
            let mut state = desk.lock();
            state.asking.remove(&done);
            if let Ok(reply) = &answered {
                let exchange = Exchange { agent_input: request.payload, mcp_reply: Some(reply.clone()) };
                state.known.add(&request.task_id, request.iteration, exchange);
            }
            answered.map_err(Refusal::Brain)
        });
        let stopped = || Refusal::Brain(BrainError::Unreachable("the brain is being stopped".to_owned()));
        let asking: Asking = Box::pin(async move { working.await.unwrap_or_else(|_| Err(stopped())) });
        state.asking.entry(key).or_insert(asking.shared()).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a step means after what is known.
fn plan(known: &mut Known, step: Step) -> Result<Plan, Refusal> {
    let Step { id, iteration, payload, history } = step;
    if Payload::abort_reason(&payload).is_some() {
        known.forget(&id);
        return Ok(Plan::Reply(farewell()));
    }
    let begun = started(&payload)?;
    if let Some(history) = history {
        let task = match history.first() {
            Some(first) => started(&first.agent_input)?,
            None => begun,
        };
        let task = task.ok_or_else(|| Refusal::Bad("history: does not begin with a start".to_owned()))?;
        known.remember(id.clone(), Conversation::new(task, history));
    } else if let Some(task) = begun {
        // A task of the same name that says something else is another one.
        let same = known
            .get(&id)
            .is_some_and(|known| known.exchanges.first().is_some_and(|first| first.agent_input == payload));
        if !same {
            known.remember(id.clone(), Conversation::new(task, Vec::new()));
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
    if number != next {
        // What is known here is not what the worker has on record.
        known.forget(&id);
        return Ok(Plan::Reply(resync()));
    }
    let (task, history) = (conversation.task.clone(), Some(conversation.exchanges.clone()));
    Ok(Plan::Ask(StepRequest { task_id: id, iteration: number, payload, task, history }))
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
        assert_eq!(again.await.unwrap().as_str(), r#"{"event":"finish","count":1,"known":0}"#);
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
    async fn steps_without_numbers_follow_each_other() {
        let (desk, _) = desk(9);
        let bare = |text: &str| step(&text.replace("\"iteration\":1,", "").replace("\"iteration\":2,", ""));
        let first = desk.answer(bare(START)).await.unwrap();
        assert_eq!(desk.answer(bare(START)).await.unwrap(), first);
        assert_eq!(desk.answer(bare(SECOND)).await.unwrap().as_str(), r#"{"event":"finish","count":2,"known":1}"#);
        assert_eq!(desk.answer(bare(SECOND)).await.unwrap().as_str(), r#"{"event":"finish","count":3,"known":2}"#);
    }
}
