//! The brain: it follows the plans, and holds each question against what it was asked before.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::common::brain::finish;
use crate::plan::{Course, Plan, Word};
use crate::trouble::Trouble;

/// What it was asked, what it said, and what it found wrong with the questions.
pub struct Judge {
    course: Course,
    /// Whether its askers live one after the other, or several at a time.
    askers: Askers,
    questions: AtomicU64,
    heard: Mutex<HashMap<String, Heard>>,
    faults: Mutex<Faults>,
}

/// How those who ask live. Of several at a time, one may ask late what another has asked and gone on from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Askers {
    OneAfterTheOther,
    SideBySide,
}

/// One task's questions by their number.
#[derive(Default)]
pub struct Heard {
    pub asked: BTreeMap<u64, Asked>,
    pub over: bool,
    /// Questions that came behind the farewell that took their place.
    pub overtaken: u64,
    /// Questions whose asker was dead when they were read: a later life had asked before.
    pub from_the_dead: u64,
    /// Questions that were to be asked again because of trouble.
    pub troubled: u64,
    /// Questions that came with the history.
    pub with_history: u64,
    life: u64,
}

pub struct Asked {
    pub payload: String,
    /// What it says in the end, as it stands in the record.
    pub reply: String,
    times: usize,
}

#[derive(Clone, Default)]
pub struct Faults {
    pub payloads_that_differed: Vec<String>,
    pub keys_out_of_order: Vec<String>,
    pub keys_that_are_no_keys: Vec<String>,
    pub histories_that_differed: Vec<String>,
}

/// What is to be done about a question.
pub struct Answer {
    pub thinking: Duration,
    pub word: Result<Word, Trouble>,
}

#[derive(Deserialize)]
pub struct Body {
    task_id: String,
    payload: Box<RawValue>,
    history: Option<Vec<Exchange>>,
}

#[derive(Deserialize)]
struct Exchange {
    agent_input: Box<RawValue>,
    // Not an option: a null is to be seen as what it is.
    mcp_reply: Box<RawValue>,
}

impl Judge {
    pub fn new(course: Course, askers: Askers) -> Arc<Self> {
        let (questions, heard, faults) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Arc::new(Self { course, askers, questions, heard, faults })
    }

    pub fn heard(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap()
    }

    pub fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    /// Whether it has said its last word on the task.
    pub fn is_over(&self, id: &str) -> bool {
        self.heard().get(id).is_some_and(|heard| heard.over)
    }

    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    pub fn answer(&self, headers: &HeaderMap, body: &Body) -> Answer {
        let (id, payload) = (&body.task_id, body.payload.get());
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).and_then(|key| key.rsplit_once('/'));
        let iteration = key.filter(|(task, _)| task == id).and_then(|(_, iteration)| iteration.parse::<u64>().ok());
        let mut faults = self.faults.lock().unwrap();
        let (Some(iteration), Some(number)) = (iteration, id.strip_prefix("task-").and_then(|text| text.parse().ok()))
        else {
            faults.keys_that_are_no_keys.push(format!("{key:?} for {id}"));
            return Answer { thinking: Duration::ZERO, word: Ok(Word::Text("{}".to_owned())) };
        };
        let plan = self.course.plan(number);
        let abort = is_abort(payload);
        let word = if abort { Word::Text(finish().to_string()) } else { plan.word(iteration) };
        let mut heard = self.heard();
        let heard = heard.entry(id.clone()).or_default();
        // Which of two that live at the same time is the later one, nobody can tell: a question that comes again is.
        let late = self.askers == Askers::SideBySide && heard.asked.contains_key(&iteration);
        heard.place(id, iteration, payload, (life(headers), late), &mut faults);
        heard.over |= abort || plan.is_over(iteration);
        if let Some(history) = &body.history {
            heard.with_history += 1;
            if abort || !plan.is_lost(iteration) || !heard.is_history(history, iteration) {
                faults.histories_that_differed.push(format!("{id}/{iteration}"));
            }
        }
        let reply = word.on_record();
        let asked = heard.asked.entry(iteration).or_insert(Asked { payload: payload.to_owned(), reply, times: 0 });
        let before = asked.times;
        asked.times += 1;
        self.questions.fetch_add(1, Ordering::Relaxed);
        if asked.payload != payload {
            faults.payloads_that_differed.push(format!("{id}/{iteration}: {} became {payload}", asked.payload));
        }
        let trouble = plan.trouble.as_ref().filter(|(at, _)| *at == iteration).and_then(|(_, tries)| tries.get(before));
        heard.troubled += u64::from(trouble.is_some());
        let word = match trouble {
            Some(trouble) => Err(*trouble),
            None if plan.is_lost(iteration) && body.history.is_none() && !abort => Ok(Word::resync()),
            None => Ok(word),
        };
        Answer { thinking: self.thinking(&plan, iteration, abort), word }
    }

    fn thinking(&self, plan: &Plan, iteration: u64, abort: bool) -> Duration {
        let hurry = plan.hurry.filter(|(at, _)| *at == iteration && !abort).map(|(_, time)| time);
        Duration::from_millis(hurry.unwrap_or_else(|| fastrand::u64(0..=self.course.mix.slowness)))
    }
}

impl Heard {
    /// Sees whether a question may come at this place.
    fn place(&mut self, id: &str, iteration: u64, payload: &str, (life, late): (u64, bool), faults: &mut Faults) {
        let last = self.asked.last_key_value().map_or(0, |(last, _)| *last);
        // A payload that a cancelled task no longer sends has a number all the same.
        let next = last + 1..=last + if is_abort(payload) { 2 } else { 1 };
        // A question that is dropped for the farewell may be overtaken by it, on another connection; there is one such.
        let before = self.asked.last_key_value().map_or("", |(_, last)| &last.payload);
        let dead = late || life < self.life;
        let overtaken = is_abort(before) && iteration + 1 == last && self.overtaken == 0 && !dead;
        if !next.contains(&iteration) && (iteration != last || last == 0) && !overtaken && !dead {
            faults
                .keys_out_of_order
                .push(format!("life {life}, {id}/{iteration} after {last}: {payload} after {before}"));
        }
        self.overtaken += u64::from(overtaken);
        self.from_the_dead += u64::from(dead);
        self.life = self.life.max(life);
    }

    /// Whether these are the task's iterations before this one, as they were asked and answered.
    fn is_history(&self, history: &[Exchange], iteration: u64) -> bool {
        let told = history.iter().map(|exchange| (exchange.agent_input.get(), exchange.mcp_reply.get()));
        let known = self.asked.range(..iteration).map(|(_, asked)| (asked.payload.as_str(), asked.reply.as_str()));
        told.eq(known)
    }
}

/// Which life of the service asks: its key for the brain tells.
fn life(headers: &HeaderMap) -> u64 {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer life-"));
    bearer.and_then(|life| life.parse().ok()).unwrap()
}

pub fn is_abort(payload: &str) -> bool {
    payload.starts_with("{\"event\":\"agent_abort\"")
}
