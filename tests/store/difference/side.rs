//! One of the two stores.

use std::fmt::Write;

use codex_agent::domain::{
    ErrorCode, Intent, Json, Outcome, SpecLimits, Status, TaskFilter, TaskSpec, Usage, Verdict, VerdictOutcome,
};
use codex_agent::store::{
    CancelAnswer, Chore, Claim, Cursor, DeleteAnswer, Fence, ListQuery, NewLine, NewTask, Pending, Step, StoreError,
    Submitted, Which,
};

use super::act::Act;
use crate::world::{World, at, id};

/// One store, and what is known of it from its answers.
pub struct Side {
    pub world: World,
    claims: Vec<Held>,
    places: Vec<Cursor>,
}

/// A claim that was made.
struct Held {
    fence: Fence,
    iteration: u32,
    /// Whether the next line's payload is on record as what is to be sent.
    pending: bool,
    ended: bool,
}

impl Side {
    pub fn new(world: World) -> Self {
        Self { world, claims: Vec::new(), places: Vec::new() }
    }

    /// Takes the step at `now`, and tells what came of it.
    pub async fn act(&mut self, act: &Act, now: i64) -> String {
        let store = &self.world.store;
        match *act {
            Act::Submit { task, key, body, priority, max_queued } => {
                let more = MORE[usize::from(body)];
                let posted = format!(r#"{{"instruction":"{body}","priority":{priority}{more}}}"#);
                let posted = Json::parse(&posted).unwrap();
                let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
                let idempotency_key = key.map(|key| format!("k{key}"));
                let new = NewTask { id: named(task), idempotency_key, spec, now: at(now), max_queued };
                told(store.submit(new).await, |submitted| match submitted {
                    Submitted::Created(task) => format!("created {task:?}"),
                    Submitted::Known(task) => format!("known {task:?}"),
                    other => format!("{other:?}"),
                })
            }
            Act::Claim { worker, limit, which, task } => self.claim_tasks(worker, limit, which, task, now).await,
            Act::Line { claim, off, pending, intent, usage } => {
                let Some(held) = self.claim(claim) else { return String::new() };
                let iteration = held.iteration.saturating_add_signed(i32::from(off) + 1);
                let mut step = plain(iteration, now);
                step.line = Some(line(held, now));
                step.pending = pending.then(|| payload(now));
                step.intent =
                    intent.then(|| Intent { before: Some("a".into()), after: None, result: Json::empty_object() });
                step.usage = usage.map(|tokens| Usage {
                    prompt_tokens: tokens,
                    completion_tokens: tokens / 3,
                    cached_tokens: (tokens % 2 == 0).then_some(tokens / 5),
                });
                self.record(claim, step).await
            }
            Act::Result { claim } => {
                let Some(held) = self.claim(claim).filter(|held| held.iteration > 0) else { return String::new() };
                let step = Step { pending: Some(payload(now)), ..plain(held.iteration, now) };
                self.record(claim, step).await
            }
            Act::End { claim, how, with_line } => {
                // The end of one's own that comes again is told again by one store, and refused by the other.
                let Some(held) = self.claim(claim).filter(|held| !held.ended) else { return String::new() };
                let mut step = plain(held.iteration + u32::from(with_line), now);
                step.line = with_line.then(|| line(held, now));
                step.end = Some(match how {
                    0 => Outcome::Cancelled,
                    1 => Outcome::failed(ErrorCode::BrainProtocol, "with \0 and \\0 and ü"),
                    2 => Outcome::Succeeded { summary: None },
                    _ => Outcome::Succeeded { summary: Some("\\ \0".into()) },
                });
                self.record(claim, step).await
            }
            Act::HandBack { claim } => {
                let Some(held) = self.claim(claim) else { return String::new() };
                told(store.hand_back(held.fence.clone()).await, |()| "handed back".into())
            }
            Act::Cancel { task } => told(store.request_cancel(&named(task), at(now)).await, |answer| match answer {
                CancelAnswer::Cancelled(task) => format!("cancelled {task:?}"),
                CancelAnswer::Accepted(task) => format!("accepted {task:?}"),
                CancelAnswer::Ended(task) => format!("ended {task:?}"),
                CancelAnswer::Missing => "missing".into(),
            }),
            Act::Label { task, outcome, reward, note } => {
                let verdict = Verdict {
                    outcome: VerdictOutcome::ALL.get(usize::from(outcome)).copied(),
                    reward: reward.map(|reward| f64::from(reward) / 3.0),
                    note: note.then(|| "\0 or \\0".to_owned()),
                    at: at(now),
                };
                told(store.label(&named(task), verdict).await, |answer| format!("{answer:?}"))
            }
            Act::Delete { task } => {
                told(store.delete(&named(task)).await, |answer: DeleteAnswer| format!("{answer:?}"))
            }
            Act::Recover { limit } => {
                self.world.let_run_out().await;
                told(store.recover(&"another".into(), limit, at(now)).await, |recovered| format!("{recovered:?}"))
            }
            Act::List { status, label, times, workspace, limit, place } => {
                let filter = filter(status, label, times, workspace);
                self.list(filter, limit, place).await
            }
            Act::Lines { task, from, limit, after } => {
                let lines = store.lines(&named(task), from, limit).await;
                let place = store.offset_after(&named(task), after).await.unwrap();
                told(lines, |lines| format!("{lines:?} {place}"))
            }
            Act::Filed { task, life } => {
                let ended = vec![(named(task), at(life)), (id("never"), at(1))];
                told(store.mark_filed(ended).await, |mut missing| {
                    missing.sort();
                    format!("{missing:?}")
                })
            }
            Act::Removed { task } => {
                let before = self.world.removals().await;
                // A name may have been given anew and deleted again since.
                store.mark_removed(&named(task)).await.unwrap();
                format!("{before:?} {:?}", self.world.removals().await)
            }
            Act::Chore { worker, slot, what } => self.chore(worker, slot, what, now).await,
            Act::Look { task, worker, before } => self.look(task, worker, before).await,
        }
    }

    async fn chore(&self, worker: u8, slot: i64, what: u8, now: i64) -> String {
        let (store, chore) = (&self.world.store, Chore { name: "c", slot: at(slot), worker: worker_of(worker) });
        let done = match what {
            0..=2 => store.begin_chore(chore, at(now)).await.unwrap(),
            3..=4 => store.keep_chore(chore, at(now)).await.unwrap(),
            5 => {
                self.world.let_chores_run_out().await;
                true
            }
            end => {
                store.end_chore(chore, end == 6).await.unwrap();
                true
            }
        };
        format!("{done} {:?}", store.last_chore("c").await.unwrap())
    }

    async fn claim_tasks(&mut self, worker: u8, limit: u32, which: u8, task: u8, now: i64) -> String {
        let which = match which {
            0 => Which::Cancelled,
            1 => Which::One(named(task)),
            _ => Which::Any,
        };
        let claimed = self.world.store.claim(Claim { worker: worker_of(worker), limit, which, now: at(now) }).await;
        let mut said = String::new();
        for claimed in claimed.unwrap() {
            let (fence, iteration) = (claimed.fence, claimed.task.iteration);
            let (task, pending) = (&claimed.task, &claimed.pending);
            let (line, intent) = (&claimed.last_line, &claimed.intent);
            writeln!(said, "{task:?} {} {pending:?} {line:?} {intent:?}", fence.claim).unwrap();
            let pending = claimed.pending.is_some();
            self.claims.push(Held { fence, iteration, pending, ended: false });
        }
        said
    }

    async fn list(&mut self, filter: TaskFilter, limit: u32, place: Option<u8>) -> String {
        let place = place.filter(|_| !self.places.is_empty());
        let before = place.map(|place| self.places[usize::from(place) % self.places.len()]);
        let listed = self.world.store.list(ListQuery { filter, before, limit }).await.unwrap();
        self.places.extend(listed.next);
        format!("{:?}, more: {}", listed.tasks, listed.next.is_some())
    }

    async fn look(&self, task: u8, worker: u8, before: i64) -> String {
        let store = &self.world.store;
        self.world.let_run_out().await;
        let cancelled = store.cancel_requests(&worker_of(worker)).await.unwrap();
        let mut cancelled: Vec<_> = cancelled.iter().map(|fence| (fence.id.clone(), fence.claim)).collect();
        cancelled.sort();
        let stats = store.stats().await.unwrap();
        format!(
            "{:?} {cancelled:?} {} {} {:?} {:?} {:?}",
            store.task(&named(task)).await.unwrap(),
            stats.queued,
            stats.running,
            stats.oldest,
            store.unfiled(10).await.unwrap(),
            store.expired(at(before), 10).await.unwrap(),
        )
    }

    fn claim(&self, number: u8) -> Option<&Held> {
        self.claims.get(usize::from(number) % self.claims.len().max(1))
    }

    async fn record(&mut self, claim: u8, step: Step) -> String {
        let number = usize::from(claim) % self.claims.len();
        let held = &mut self.claims[number];
        let recorded = self.world.store.record(held.fence.clone(), step.clone()).await;
        if recorded.is_ok() {
            held.iteration = step.iteration;
            held.pending = step.pending.is_some();
            held.ended |= step.end.is_some();
        }
        told(recorded, |recorded| format!("{recorded:?}"))
    }
}

/// What stands in the bodies, by their numbers.
const MORE: [&str; 3] = [
    "",
    r#","labels":{"team":"a","a=b":"c","\u0000":"\\"},"workspace":"w""#,
    r#","labels":{"team":"b","":"x"},"odd":"\ud800""#,
];

fn filter(status: u8, label: u8, (since, until): (Option<i64>, Option<i64>), workspace: bool) -> TaskFilter {
    // Each bit is a status.
    let status = Status::ALL.iter().enumerate().filter(|(bit, _)| status >> bit & 1 == 1).map(|(_, status)| *status);
    let labels = ["", "team", "team=a", "\0=\\", "team=b"].get(usize::from(label)).copied().unwrap_or_default();
    TaskFilter {
        status: status.collect(),
        labels: labels.split(' ').filter_map(|label| label.parse().ok()).collect(),
        since: since.map(at),
        until: until.map(at),
        workspace: workspace.then(|| "w".to_owned()),
    }
}

fn named(task: u8) -> codex_agent::domain::TaskId {
    id(&format!("t{task}"))
}

fn worker_of(worker: u8) -> codex_agent::domain::WorkerId {
    format!("w{worker}").as_str().into()
}

fn plain(iteration: u32, now: i64) -> Step {
    Step { iteration, line: None, pending: None, intent: None, usage: None, end: None, now: at(now) }
}

/// A line that is no other's, with its payload cut out if that is on record.
fn line(held: &Held, now: i64) -> NewLine {
    let text = format!("{now}ü<\"{now}\">\n");
    let payload = held.pending.then(|| text.find('"').unwrap()..text.len() - 2);
    // What stood before the cut is what was to be sent: the text says only where.
    NewLine { text: text.into(), payload }
}

fn payload(now: i64) -> Pending {
    Pending {
        payload: Json::parse(&format!("\"zwölf {now}\"")).unwrap(),
        tool_ms: u64::try_from(now).ok().filter(|now| now % 2 == 0),
    }
}

fn told<T>(answer: Result<T, StoreError>, tell: impl FnOnce(T) -> String) -> String {
    match answer {
        Ok(answer) => tell(answer),
        Err(StoreError::Lost(id)) => format!("lost {id}"),
        // Each says so in its own words.
        Err(StoreError::Refused(_)) => "refused".into(),
        Err(other) => format!("{other:?}"),
    }
}
