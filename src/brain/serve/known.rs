//! What the tasks have been told, as far as there is room.

use std::collections::{HashMap, VecDeque};

use crate::domain::{Exchange, Json, TaskId};

/// Bytes that are remembered of all tasks together; an older one costs one resync when it comes back.
const REMEMBERED: usize = 64 * 1024 * 1024;

/// What a task takes besides its texts, in bytes, about: its places in the tables.
const TASK: usize = 512;

/// The same of an iteration: two texts that are counted, and their places.
const EXCHANGE: usize = 128;

/// The tasks, the one that was heard of the longest ago first to go.
#[derive(Default)]
pub(super) struct Known {
    tasks: HashMap<TaskId, Conversation>,
    /// By when they were heard of; the entry of a task that was heard of again, or is over, stands for nothing.
    order: VecDeque<(TaskId, u64)>,
    heard: u64,
    lives: u64,
    bytes: usize,
}

/// One task so far.
#[derive(Clone)]
pub(super) struct Conversation {
    /// As it was posted.
    pub(super) task: Json,
    /// All its iterations that have a reply, from the first.
    pub(super) exchanges: Vec<Exchange>,
    /// A task of the same name that begins anew has another one.
    pub(super) life: u64,
    heard: u64,
}

impl Conversation {
    /// A task with this past.
    pub(super) fn new(task: Json, exchanges: Vec<Exchange>) -> Self {
        Self { task, exchanges, life: 0, heard: 0 }
    }

    fn bytes(&self) -> usize {
        TASK + self.task.as_str().len() + self.exchanges.iter().map(size).sum::<usize>()
    }
}

fn size(exchange: &Exchange) -> usize {
    EXCHANGE + exchange.agent_input.as_str().len() + exchange.mcp_reply.as_ref().map_or(0, |reply| reply.as_str().len())
}

impl Known {
    pub(super) fn get(&self, id: &TaskId) -> Option<&Conversation> {
        self.tasks.get(id)
    }

    /// Takes the place of what was known of the task.
    pub(super) fn begin(&mut self, id: TaskId, conversation: Conversation) {
        self.lives += 1;
        self.remember(id, Conversation { life: self.lives, ..conversation });
    }

    fn remember(&mut self, id: TaskId, mut conversation: Conversation) {
        self.forget(&id);
        self.heard += 1;
        conversation.heard = self.heard;
        self.bytes += conversation.bytes();
        self.tasks.insert(id.clone(), conversation);
        self.order.push_back((id, self.heard));
        while self.bytes > REMEMBERED || self.order.front().is_some_and(|oldest| !self.stands(oldest)) {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.stands(&oldest) {
                self.forget(&oldest.0);
            }
        }
        // Tasks that come again and again behind one that stays.
        if self.order.len() > 2 * self.tasks.len() + 64 {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|entry| self.stands(entry));
            self.order = order;
        }
    }

    /// Adds iteration `number` to that life of the task, if it is the next one of what is known.
    pub(super) fn add(&mut self, id: &TaskId, life: u64, number: u32, exchange: Exchange) {
        let Some(mut conversation) = self.take(id) else { return };
        let is_next = u32::try_from(conversation.exchanges.len()).is_ok_and(|count| count + 1 == number);
        if conversation.life == life && is_next {
            conversation.exchanges.push(exchange);
        }
        self.remember(id.clone(), conversation);
    }

    pub(super) fn forget(&mut self, id: &TaskId) {
        drop(self.take(id));
    }

    fn take(&mut self, id: &TaskId) -> Option<Conversation> {
        let gone = self.tasks.remove(id)?;
        self.bytes -= gone.bytes();
        Some(gone)
    }

    fn stands(&self, (id, heard): &(TaskId, u64)) -> bool {
        self.tasks.get(id).is_some_and(|task| task.heard == *heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> TaskId {
        name.parse().unwrap()
    }

    fn long() -> Conversation {
        Conversation::new(Json::of(&"x".repeat(REMEMBERED / 3)), Vec::new())
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_nothing_is_kept_of_those_that_are_over() {
        let mut known = Known::default();
        for name in ["a", "b", "a", "c"] {
            known.begin(id(name), long());
        }
        // `a` was heard of again after `b`, so `b` is the oldest.
        let mut names: Vec<_> = known.tasks.keys().map(TaskId::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c"]);
        known.forget(&id("a"));
        known.forget(&id("c"));
        known.begin(id("d"), Conversation::new(Json::empty_object(), Vec::new()));
        assert_eq!((known.order.len(), known.bytes), (1, TASK + 2));
    }

    #[test]
    fn iterations_are_added_in_their_order_and_counted() {
        let mut known = Known::default();
        known.begin(id("t"), Conversation::new(Json::empty_object(), Vec::new()));
        let exchange = |text: &str| Exchange { agent_input: Json::of(text), mcp_reply: Some(Json::of(text)) };
        let life = known.tasks[&id("t")].life;
        for (life, number, text) in
            [(life, 2, "early"), (life - 1, 1, "another's"), (life, 1, "one"), (life, 1, "again"), (life, 2, "two")]
        {
            known.add(&id("t"), life, number, exchange(text));
        }
        let inputs: Vec<_> = known.tasks[&id("t")].exchanges.iter().map(|one| one.agent_input.as_str()).collect();
        assert_eq!((inputs, known.bytes), (vec![r#""one""#, r#""two""#], TASK + 2 + 2 * (EXCHANGE + 10)));
        for _ in 0..1000 {
            known.begin(id("s"), Conversation::new(Json::empty_object(), Vec::new()));
        }
        assert!(known.order.len() < 100, "{}", known.order.len());
    }
}
