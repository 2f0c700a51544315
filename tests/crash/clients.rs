//! Clients that never stop: each does one thing, at whatever moment it comes to it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::Interval;

use crate::audit::whole_lines;
use crate::book::{Book, Entry};
use crate::plan::Fate;

/// Tasks that are accepted and not over: as many again as run at a time, so that there is always a queue.
const LOAD: usize = 64;

/// All of them, at work.
pub fn all(book: &Arc<Book>, accepted: UnboundedReceiver<u64>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    clients.spawn(submitting(Arc::clone(book)));
    clients.spawn(submitting(Arc::clone(book)));
    clients.spawn(following(Arc::clone(book), accepted));
    clients.spawn(cancelling(Arc::clone(book)));
    clients.spawn(deleting(Arc::clone(book)));
    clients.spawn(reading(Arc::clone(book)));
    clients
}

fn every(milliseconds: u64) -> Interval {
    tokio::time::interval(Duration::from_millis(milliseconds))
}

/// Waits for the next look; whether there is to be one.
async fn looks(book: &Book, looks: &mut Interval) -> bool {
    loop {
        looks.tick().await;
        if book.stopped().is_cancelled() {
            return false;
        }
        if !book.is_resting() {
            return true;
        }
    }
}

/// Submits one task after the other, each until it is accepted.
async fn submitting(book: Arc<Book>) {
    let mut moments = every(2);
    while looks(&book, &mut moments).await {
        if book.load() >= LOAD {
            continue;
        }
        let (number, plan) = book.next_task();
        let answer = book.ask("POST", "/tasks", Some(plan.posted().to_string())).await;
        match answer.status {
            200 | 202 => book.note_accepted(number, plan.fate),
            _ => book.unexpected("a submission", &answer),
        }
    }
}

/// Waits for the end of each task.
async fn following(book: Arc<Book>, mut accepted: UnboundedReceiver<u64>) {
    let numbers = stream::poll_fn(move |context| accepted.poll_recv(context));
    let numbers = numbers.take_until(book.stopped().cancelled());
    numbers.for_each_concurrent(LOAD, |number| book.wait_for(number)).await;
}

/// Cancels tasks at whatever moment it comes to them.
async fn cancelling(book: Arc<Book>) {
    let mut moments = every(7);
    while looks(&book, &mut moments).await {
        let Some(number) = book.any(|_, task| task.cancel_granted.is_none() && task.fate == Fate::Cancel) else {
            continue;
        };
        let answer = book.ask("POST", &format!("/tasks/task-{number}/cancel"), None).await;
        let granted = match answer.status {
            202 => true,
            409 => false,
            _ => return book.unexpected("a wish to cancel", &answer),
        };
        book.tasks().get_mut(&number).unwrap().cancel_granted = Some(granted);
        if granted {
            book.note_end(number, answer.json());
        }
    }
}

/// Deletes tasks when they have ended; until then the service says no.
async fn deleting(book: Arc<Book>) {
    let mut moments = every(11);
    while looks(&book, &mut moments).await {
        let fits = |number, task: &Entry| task.fate == Fate::Delete && !task.deleted && book.is_over(number, task);
        let Some(number) = book.any(fits) else { continue };
        let answer = book.ask("DELETE", &format!("/tasks/task-{number}"), None).await;
        match answer.status {
            // Gone already: the one who was to tell died.
            204 | 404 => book.note_deleted(number),
            409 => {}
            _ => book.unexpected("a wish to delete", &answer),
        }
    }
}

/// Reads tasks and records while they grow.
async fn reading(book: Arc<Book>) {
    let mut moments = every(book.course.mix.reads);
    while looks(&book, &mut moments).await {
        let Some(number) = book.any(|_, task| !task.deleted) else { continue };
        let follow = if fastrand::u32(0..10) == 0 { "?follow=true" } else { "" };
        let Some(log) = book.try_once("GET", &format!("/tasks/task-{number}/log{follow}"), None).await else {
            continue;
        };
        if log.status == 200 {
            let mut tasks = book.tasks();
            let before = &mut tasks.get_mut(&number).unwrap().record;
            let mut seen = book.seen.lock().unwrap();
            seen.torn += u64::from(whole_lines(&log.body).is_none());
            seen.went_back += u64::from(!log.body.starts_with(before));
            *before = log.body;
        }
        if let Some(task) = book.try_once("GET", &format!("/tasks/task-{number}"), None).await
            && task.status == 200
        {
            book.note_end(number, task.json());
        }
    }
}
