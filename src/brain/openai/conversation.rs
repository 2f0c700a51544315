//! The conversation with the model, rebuilt from the task's history.
//!
//! ```text
//!  start                                   system, user
//!  reply with "assistant" and "call": 0    assistant, with all its calls
//!  tool_result                             tool, the answer to call 0
//!  reply with "call": 1                    (the next call of the same answer; nothing was asked)
//!  tool_result                             tool, the answer to call 1
//! ```
//!
//! Nothing else is kept, so that whoever takes a task over says the same to the model.

use std::collections::HashSet;

use super::fit::Rate;
use super::message::{Called, Message};
use super::prompt;
use super::record::{Assistant, Call, Context, Record};
use super::toolset::Toolset;
use crate::brain::StepRequest;
use crate::brain::fields::Fields;
use crate::domain::{Exchange, Json, Models};

/// What has been said, and what is known beside it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// The models that the worker names.
    pub(super) models: Models,
    /// What a token is worth, by the last count.
    pub(super) rate: Rate,
    /// How many bytes a prompt may have, if that was found out before.
    pub(super) room: Option<usize>,
    /// The calls of the model's last answer, and whether each has its result.
    calls: Vec<(Call, bool)>,
    /// The one whose result comes next.
    open: Option<usize>,
    /// Ids that stand for a call already.
    taken: HashSet<String>,
    /// How many ids have been made in this step.
    made: u32,
    iteration: u32,
}

impl Conversation {
    /// Everything up to the payload of this step.
    pub(super) fn rebuild(request: &StepRequest, history: &[Exchange], tools: &Toolset) -> Self {
        let messages = prompt::opening(&request.task, tools);
        let mut conversation = Self { messages, iteration: request.iteration, ..Self::default() };
        for exchange in history {
            conversation.hear(&exchange.agent_input);
            if let Some(reply) = &exchange.mcp_reply {
                conversation.recall(reply);
            }
        }
        conversation.hear(&request.payload);
        conversation
    }

    /// The reply to this step, if the model has decided on it before: the next call of its last answer.
    pub(super) fn next_call(&mut self) -> Option<Json> {
        let waits = |(call, answered): &(Call, bool)| !answered && call.not_done.is_none();
        let Some(index) = self.calls.iter().position(waits) else {
            self.close();
            return None;
        };
        let (call, _) = &self.calls[index];
        Some(Json::of(&Record {
            event: "tool_call",
            name: Some(&call.name),
            arguments: Some(&call.arguments),
            call: Some(index),
            ..Record::default()
        }))
    }

    /// An id for a call: the server's own, unless it is missing or in use. Ours have nine letters and digits: Mistral's
    /// templates take no others.
    pub(super) fn id(&mut self, given: Option<&str>) -> String {
        let mut id = given.unwrap_or_default().to_owned();
        while id.is_empty() || self.taken.contains(&id) {
            id = format!("c{:05}{:03}", self.iteration % 100_000, self.made);
            self.made += 1;
        }
        self.taken.insert(id.clone());
        id
    }

    /// Takes in what a worker told.
    fn hear(&mut self, payload: &Json) {
        let fields = Fields::of(payload.as_str()).unwrap_or_default();
        match fields.string("event").as_deref() {
            Some("start") => {
                let models = fields.object("models").unwrap_or_default();
                self.models = Models { finetuned: models.string("finetuned"), critique: models.string("critique") };
            }
            Some("tool_result") => {
                let content = fields.get("result").unwrap_or("{}").to_owned();
                // A result without a call is none of this conversation's: it may still be of use.
                let Some((call, answered)) = self.open.take().and_then(|open| self.calls.get_mut(open)) else {
                    return self.messages.push(Message::User(format!("A tool's result: {content}")));
                };
                *answered = true;
                self.messages.push(Message::Tool { id: call.id.clone(), content });
            }
            _ => {}
        }
    }

    /// Takes in what was replied, by this brain or by another.
    fn recall(&mut self, reply: &Json) {
        let fields = Fields::of(reply.as_str()).unwrap_or_default();
        if fields.string("event").as_deref() != Some("tool_call") {
            return;
        }
        if let Some(context) = Context::read(&fields) {
            self.rate = Rate::of(context).unwrap_or(self.rate);
            self.room = context.room.or(self.room);
        }
        let assistant = fields.get("assistant").and_then(Assistant::read).filter(|said| !said.tool_calls.is_empty());
        let index = fields.count("call").and_then(|index| usize::try_from(index).ok());
        if assistant.is_none() && index.is_some_and(|index| index < self.calls.len()) {
            self.open = index;
            return;
        }
        self.close();
        let assistant = assistant.unwrap_or_else(|| self.foreign(&fields));
        self.taken.extend(assistant.tool_calls.iter().map(|call| call.id.clone()));
        self.messages.push(said(&assistant));
        self.calls = assistant.tool_calls.into_iter().map(|call| (call, false)).collect();
        self.open = index.or(Some(0));
    }

    /// A call of another brain's.
    fn foreign(&self, reply: &Fields<'_>) -> Assistant {
        let arguments = reply.get("arguments").and_then(|text| Json::reread(text).ok());
        // In a form that this step does not make itself.
        let id = format!("f{:08}", self.messages.len());
        let call = Call {
            id,
            name: reply.string("name").unwrap_or_default(),
            arguments: arguments.unwrap_or_else(Json::empty_object),
            not_done: None,
        };
        Assistant { content: String::new(), tool_calls: vec![call] }
    }

    /// No call may stay without an answer.
    fn close(&mut self) {
        for (call, answered) in std::mem::take(&mut self.calls) {
            if !answered {
                let why = call.not_done.unwrap_or_else(|| "another answer took its place".to_owned());
                self.messages.push(Message::Tool { id: call.id, content: format!("not done: {why}") });
            }
        }
        self.open = None;
    }
}

/// A model's message, as it is sent back to it.
pub(super) fn said(assistant: &Assistant) -> Message {
    let called = |call: &Call| Called { id: call.id.clone(), name: call.name.clone(), arguments: call.sendable() };
    Message::Assistant { content: assistant.content.clone(), calls: assistant.tool_calls.iter().map(called).collect() }
}
