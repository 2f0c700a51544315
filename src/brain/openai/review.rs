//! The critic within a step: asked about every proposal that can be done, as long as it may send something back.

use std::sync::Arc;

use super::answer::Answer;
use super::aside::aside;
use super::client::AskError;
use super::conversation::said;
use super::critic::{self, Question};
use super::decide::Step;
use super::message::Message;
use super::record::Assistant;
use super::request::Draft;
use super::verdict;
use crate::brain::BrainError;

/// So much shorter, in turn, is what a critic gets that refused it as too long.
const LESS: [usize; 4] = [1, 2, 4, 8];

/// What the model is told of a call that the critic was not shown.
const UNSEEN: &str = "the reviewer had no room to look at so many calls: make it again in a later answer";

impl Step<'_> {
    /// Asks the critic; whether the main model has to think again. Calls that the critic did not see are left out of the
    /// proposal.
    pub(super) async fn is_sent_back(&mut self, proposal: &mut Assistant) -> Result<bool, BrainError> {
        let Some(critic) = self.critic.filter(|_| self.spent.rounds < self.brain.settings.critique_rounds) else {
            return Ok(false);
        };
        // What cannot be done anyway needs no second opinion.
        let calls = &proposal.tool_calls;
        if !calls.is_empty() && !calls.iter().any(|call| call.not_done.is_none() && call.arguments.is_object()) {
            return Ok(false);
        }
        let (answer, seen) = self.review(critic, proposal).await?;
        self.spend(&answer);
        let open = proposal.tool_calls.iter_mut().filter(|call| call.not_done.is_none());
        open.skip(seen).for_each(|call| call.not_done = Some(UNSEEN.to_owned()));
        let verdict = verdict::read(&answer);
        self.spent.critique.push(critic::record(&verdict, proposal, critic));
        if !verdict.revise {
            return Ok(false);
        }
        self.spent.rounds += 1;
        self.conversation.messages.push(said(proposal));
        let why = verdict.reason;
        if proposal.tool_calls.is_empty() {
            let told = format!("The reviewer sent this back: {why}\nGo on with the task.");
            self.conversation.messages.push(Message::User(told));
        }
        for call in &proposal.tool_calls {
            let content = format!("not done: the reviewer sent it back: {why}");
            self.conversation.messages.push(Message::Tool { id: call.id.clone(), content });
        }
        Ok(true)
    }

    /// What the critic says, and how many of the calls it was shown.
    async fn review(&mut self, critic: &str, proposal: &Assistant) -> Result<(Answer, usize), BrainError> {
        let brain = self.brain;
        let (task, proposal, files) = (self.task.clone(), proposal.clone(), self.files.clone());
        let said = critic::recent(&self.conversation.messages).to_vec();
        // Of an edit there is a diff to be made, for which the files matter, too.
        let bytes = files.bytes() + proposal.bytes() + said.iter().map(Message::bytes).sum::<usize>();
        let question = aside(bytes, move || Question::new(&task, &said, &proposal, &files)).await?;
        let question = Arc::new(question);
        let mut refused = String::new();
        for less in LESS {
            let asked = question.clone();
            let (messages, seen) = aside(bytes, move || asked.asked(less)).await?;
            let draft = Draft {
                model: critic.to_owned(),
                messages: messages.into(),
                tools: None,
                schema: Some(brain.verdict.clone()),
                temperature: brain.settings.temperature,
                seed: brain.settings.seed,
            };
            match brain.client.ask(&draft, &mut self.spent.dropped[1]).await {
                Ok(answer) => return Ok((answer, seen)),
                Err(AskError::Brain(error)) => return Err(error),
                Err(AskError::TooLong(message)) => refused = message,
            }
        }
        Err(BrainError::Protocol(format!("the critique model takes no question as long as a step needs: {refused}")))
    }
}
