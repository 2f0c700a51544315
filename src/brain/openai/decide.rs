//! One step with the model: asked until its answer is one, and the critic has let it pass.
//!
//! ```text
//!  ask ──► refused                      the step fails
//!   ▲ ├──► empty, or cut off            told so, once
//!   │ ├──► arguments that are no object told so, once
//!   │ └──► a proposal ──► critic ──► revise: told why, CRITIQUE_ROUNDS times
//!   └───────────┴────────────┘   └─► approve: the reply
//! ```
//!
//! Tokens are counted in the reply, so a step that ends in an error has none on record: the log has them. No `max_tokens` is
//! asked for: servers know two names for it and refuse the other one, and a number that is right for one model cuts off
//! another; `MCP_TIMEOUT` and `MAX_REPLY_BYTES` bound an answer.

use super::answer::{Answer, Asked, Tokens};
use super::aside::aside;
use super::client::AskError;
use super::conversation::{Conversation, said};
use super::fit::{self, Fitted, Rate};
use super::message::{Message, quote, shortened};
use super::proposal::Files;
use super::record::{Assistant, Call, Context, Record};
use super::request::{Draft, Features};
use super::{OpenAiBrain, arguments};
use crate::brain::BrainError;
use crate::brain::fields::Fields;
use crate::domain::Json;

/// How often a conversation that was refused as too long is shortened: after the fourth time an eighth of it is left.
const SHORTENED: u32 = 4;

/// How much of what a model wrote wrongly is quoted back to it.
const QUOTED: usize = 300;

/// Of words that came to nothing, the model sees so many characters again: one that ran on to the greatest length would
/// take up its own context.
const SEEN_AGAIN: usize = 2000;

/// Stands for an answer without words.
const EMPTY: &str = "(nothing)";

/// A step under way.
pub(super) struct Step<'a> {
    pub(super) brain: &'a OpenAiBrain,
    pub(super) model: &'a str,
    /// The critic, where there is one and it may send something back.
    pub(super) critic: Option<&'a str>,
    pub(super) conversation: Conversation,
    pub(super) task: &'a Json,
    pub(super) iteration: u32,
    pub(super) files: Files,
    pub(super) spent: Spent,
}

/// What the step has used up.
#[derive(Debug, Default)]
pub(super) struct Spent {
    tokens: Option<Tokens>,
    context: Option<Context>,
    pub(super) critique: Vec<Json>,
    corrections: Vec<String>,
    nudged: bool,
    corrected: bool,
    /// How often the critic has sent something back.
    pub(super) rounds: u32,
    /// What the main model and the critic are not asked with, after refusals that name nothing.
    pub(super) dropped: [Features; 2],
}

impl Step<'_> {
    /// The reply.
    pub(super) async fn decide(mut self) -> Result<Json, BrainError> {
        let decided = self.decided().await;
        if let (Err(error), Some(tokens)) = (&decided, self.spent.tokens) {
            tracing::info!(%error, tokens.prompt, tokens.completion, "a step that failed has used tokens");
        }
        decided
    }

    async fn decided(&mut self) -> Result<Json, BrainError> {
        loop {
            let answer = self.ask().await?;
            if let Some(refusal) = &answer.refusal {
                return Err(BrainError::Protocol(format!("the model refused: {}", shortened(refusal, QUOTED, "here"))));
            }
            if answer.calls.is_empty() && (answer.cut || answer.content.is_empty()) {
                self.nudge(&answer)?;
                continue;
            }
            let mut proposal = self.proposal(&answer);
            let made = answer.calls.iter().zip(&proposal.tool_calls);
            let is_malformed =
                made.into_iter().any(|(asked, call)| asked.arguments.is_err() && call.not_done.is_none());
            if is_malformed && !self.spent.corrected {
                self.correct(&answer, &proposal);
                continue;
            }
            if self.is_sent_back(&mut proposal).await? {
                continue;
            }
            return Ok(self.reply(&answer, &proposal));
        }
    }

    /// Asks the main model, with a conversation that fits.
    async fn ask(&mut self) -> Result<Answer, BrainError> {
        let brain = self.brain;
        let rate = self.conversation.rate;
        let known = brain.settings.context_tokens.map(|tokens| fit::room_in(tokens, rate));
        let mut found = self.conversation.room;
        let mut refused: Option<(usize, String)> = None;
        for _ in 0..=SHORTENED {
            let mut fitted = self.fitted(known.into_iter().chain(found).min()).await?;
            if let Some((bytes, message)) = &refused
                && fitted.bytes >= *bytes
            {
                return Err(too_long(message));
            }
            let draft = Draft {
                model: self.model.to_owned(),
                messages: std::mem::take(&mut fitted.messages).into(),
                tools: Some(brain.tools.clone()),
                schema: None,
                temperature: brain.settings.temperature,
                seed: brain.settings.seed,
            };
            match brain.client.ask(&draft, &mut self.spent.dropped[0]).await {
                Ok(answer) => {
                    self.conversation.room = found;
                    self.count(&answer, &fitted);
                    return Ok(answer);
                }
                Err(AskError::Brain(error)) => return Err(error),
                Err(AskError::TooLong(message)) => {
                    tracing::info!(%message, bytes = fitted.bytes, "old results are shortened for the model");
                    found = Some(fit::room_after_refusal(fitted.bytes));
                    refused = Some((fitted.bytes, message));
                }
            }
        }
        let (_, message) = refused.unwrap_or_default();
        Err(too_long(&message))
    }

    async fn fitted(&mut self, room: Option<usize>) -> Result<Fitted, BrainError> {
        let around = self.brain.tools.described(true).as_str().len();
        // They are lent to the work, and come back with it.
        let messages = std::mem::take(&mut self.conversation.messages);
        let bytes = messages.iter().map(Message::bytes).sum();
        let (messages, fitted) = aside(bytes, move || {
            let fitted = fit::fit(&messages, around, room);
            (messages, fitted)
        })
        .await?;
        self.conversation.messages = messages;
        Ok(fitted)
    }

    fn count(&mut self, answer: &Answer, fitted: &Fitted) {
        self.spend(answer);
        let context = Context {
            prompt_bytes: fitted.bytes,
            prompt_tokens: answer.tokens.map(|tokens| tokens.prompt).filter(|tokens| *tokens > 0),
            room: self.conversation.room,
            shortened: fitted.shortened,
        };
        self.conversation.rate = Rate::of(context).unwrap_or(self.conversation.rate);
        self.spent.context = Some(context);
    }

    pub(super) fn spend(&mut self, answer: &Answer) {
        let sum = self.spent.tokens.unwrap_or_default();
        self.spent.tokens = answer.tokens.map(|tokens| sum.and(tokens)).or(self.spent.tokens);
    }

    /// Tells the model that nothing came of its answer, once.
    fn nudge(&mut self, answer: &Answer) -> Result<(), BrainError> {
        let (what, told) = if answer.cut {
            (
                "was cut off at the greatest length of one answer, before it came to anything",
                "Your answer was cut off at its greatest length. Be brief: call one tool, or give a short summary.",
            )
        } else {
            ("is empty", "Your answer was empty. Call a tool, or, if the task is done, give a short summary.")
        };
        if std::mem::replace(&mut self.spent.nudged, true) {
            return Err(BrainError::Protocol(format!("the model's answer {what}, also when it was asked again")));
        }
        // Some templates want the roles to alternate, and none wants an empty message.
        let content = if answer.content.is_empty() { EMPTY } else { &answer.content };
        let content = shortened(content, SEEN_AGAIN, "here");
        self.conversation.messages.push(Message::Assistant { content, calls: Vec::new() });
        self.tell(told.to_owned());
        Ok(())
    }

    fn tell(&mut self, told: String) {
        self.spent.corrections.push(told.clone());
        self.conversation.messages.push(Message::User(told));
    }

    /// The answer as it goes on record: every call with an id, a tool that there is, and arguments without nulls.
    fn proposal(&mut self, answer: &Answer) -> Assistant {
        let last = answer.calls.len().saturating_sub(1);
        let steps = self.steps_left();
        let tool_calls = answer.calls.iter().enumerate().map(|(at, asked)| {
            let cut_off = answer.cut && at == last && at > 0 && asked.arguments.is_err();
            let not_done = if at > 0 && at >= steps {
                Some("the task has no steps left for it: end it with your next answer")
            } else {
                cut_off.then_some("the answer was cut off within this call")
            };
            self.call(asked, not_done)
        });
        let tool_calls = tool_calls.collect();
        Assistant { content: answer.content.clone(), tool_calls }
    }

    /// How many calls the task still has steps for, if the last step is kept for the answer that ends it.
    fn steps_left(&self) -> usize {
        let steps = Fields::of(self.task.as_str()).and_then(|task| task.count("max_iterations"));
        let left = steps.map(|steps| steps.saturating_sub(self.iteration.into()));
        left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX)
    }

    fn call(&mut self, asked: &Asked, not_done: Option<&str>) -> Call {
        let tools = &self.brain.tools;
        let name = tools.meant(&asked.name);
        let arguments = match &asked.arguments {
            Ok(arguments) => {
                let typed = asked.untyped.then(|| tools.typed(&name, arguments));
                arguments::without_nulls(typed.as_ref().unwrap_or(arguments), tools.optional(&name))
            }
            Err(malformed) => Json::of(&malformed.text),
        };
        let not_done = not_done.map(str::to_owned);
        Call { id: self.conversation.id(asked.id.as_deref()), name, arguments, not_done }
    }

    /// Tells the model what is wrong with its arguments, once.
    fn correct(&mut self, answer: &Answer, proposal: &Assistant) {
        self.spent.corrected = true;
        self.conversation.messages.push(said(proposal));
        for (asked, call) in answer.calls.iter().zip(&proposal.tool_calls) {
            let content = match &asked.arguments {
                Err(malformed) => {
                    let cut = if answer.cut { "; the answer was cut off at its greatest length" } else { "" };
                    let wrote = quote(&malformed.text, QUOTED);
                    let told = format!("not done: {}{cut}. You wrote {wrote}. Make the call again.", malformed.why);
                    self.spent.corrections.push(told.clone());
                    told
                }
                Ok(_) => {
                    "not done: another call in the same answer could not be read; make this one again, too".to_owned()
                }
            };
            self.conversation.messages.push(Message::Tool { id: call.id.clone(), content });
        }
    }

    fn reply(&self, answer: &Answer, proposal: &Assistant) -> Json {
        let spent = &self.spent;
        let record = Record {
            model: Some(answer.model.as_deref().unwrap_or(self.model)),
            usage: spent.tokens.map(Into::into),
            critique: &spent.critique,
            corrections: &spent.corrections,
            context: spent.context,
            ..Record::default()
        };
        Json::of(&match proposal.tool_calls.first() {
            None => Record { event: "finish", summary: Some(&proposal.content), ..record },
            Some(first) => Record {
                event: "tool_call",
                name: Some(&first.name),
                arguments: Some(&first.arguments),
                assistant: Some(proposal),
                call: Some(0),
                ..record
            },
        })
    }
}

fn too_long(message: &str) -> BrainError {
    let advice = "the task does not fit the model's context, even with old results shortened";
    BrainError::Protocol(format!("{advice}; a model with a longer one may do it. The server said: {message}"))
}
