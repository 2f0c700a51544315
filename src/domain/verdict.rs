//! What a person or a program thinks of a task that has ended: whether its record is worth learning from.

use serde_json::value::RawValue;

use super::reader::{Reader, escaped};
use super::task::names;
use super::{FieldError, Json, Timestamp};

names! {
    /// The word for what is thought of a task.
    VerdictOutcome {
        /// As it should be done.
        Accepted = "accepted",
        /// As it should not be done.
        Rejected = "rejected",
    }
}

/// A verdict on a task that has ended. It has an outcome, or a reward, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it is as it should be.
    pub outcome: Option<VerdictOutcome>,
    /// How good it is, on a scale of whoever says so; a finite number.
    pub reward: Option<f64>,
    /// Why.
    pub note: Option<String>,
    /// When it was given.
    pub at: Timestamp,
}

impl Verdict {
    /// The longest note, in characters: a page of text.
    pub const MAX_NOTE: usize = 4096;

    /// The fields of a posted verdict.
    const FIELDS: [&str; 3] = ["outcome", "reward", "note"];

    /// Reads what was `posted`; all faults are told at once.
    pub fn parse(posted: &Json, at: Timestamp) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader::new(posted.as_str(), "a verdict")?;
        let outcome = reader.outcome();
        let reward = reader.reward();
        let note: Option<String> = reader.read("note", "a string");
        if note.as_ref().is_some_and(|note| note.chars().count() > Self::MAX_NOTE) {
            reader.fault("note", format!("must have at most {} characters", Self::MAX_NOTE));
        }
        let says = |(name, value): &(String, &RawValue)| name != "note" && value.get() != "null";
        if !reader.fields.iter().any(says) {
            reader.fault("outcome", "is required where there is no reward");
        }
        let unknown = reader.fields.iter().map(|(name, _)| name).filter(|name| !Self::FIELDS.contains(&name.as_str()));
        for name in unknown.cloned().collect::<Vec<_>>() {
            reader.fault(&escaped(&name), format!("is not known here; known: {}", Self::FIELDS.join(", ")));
        }
        reader.done()?;
        Ok(Self { outcome, reward, note, at })
    }

    /// Whether it says the same as another one that was given at another time.
    pub fn says_as(&self, other: &Self) -> bool {
        Self { at: other.at, ..self.clone() } == *other
    }
}

impl Reader<'_> {
    fn outcome(&mut self) -> Option<VerdictOutcome> {
        let words = || VerdictOutcome::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" or ");
        let word: String = self.read("outcome", &words())?;
        self.ok("outcome", VerdictOutcome::from_word(&word).ok_or_else(|| format!("must be {}", words())))
    }

    fn reward(&mut self) -> Option<f64> {
        // What is too large for a double is no number to its reader.
        let reward: f64 = self.read("reward", "a finite number")?;
        // Databases differ on whether they keep the sign of zero.
        Some(reward + 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(7);

    fn parse(text: &str) -> Result<Verdict, Vec<String>> {
        let pointers = |errors: Vec<FieldError>| errors.into_iter().map(|error| error.pointer).collect();
        Verdict::parse(&Json::parse(text).unwrap(), AT).map_err(pointers)
    }

    #[test]
    fn an_outcome_or_a_reward_is_a_verdict() {
        let accepted = Some(VerdictOutcome::Accepted);
        let verdict = Verdict { outcome: accepted, reward: None, note: None, at: AT };
        assert_eq!(parse(r#"{"outcome":"accepted","reward":null}"#), Ok(verdict.clone()));
        let text = r#"{"note":"\u0000","reward":-1.5e2,"outcome":"accepted"}"#;
        assert_eq!(parse(text), Ok(Verdict { reward: Some(-150.0), note: Some("\0".into()), ..verdict.clone() }));
        let zero = parse(r#"{"reward":-0.0}"#).unwrap().reward.unwrap();
        assert!(zero == 0.0 && zero.is_sign_positive());
        let later = Verdict { at: Timestamp::from_millis(8), ..verdict.clone() };
        assert!(later.says_as(&verdict) && later != verdict);
        assert!(!Verdict { reward: Some(1.0), ..verdict.clone() }.says_as(&verdict));
    }

    #[test]
    fn each_fault_names_its_field() {
        for (text, pointers) in [
            ("{}", &["/outcome"][..]),
            (r#"{"note":"x"}"#, &["/outcome"]),
            (r#"{"outcome":null,"reward":null}"#, &["/outcome"]),
            (r#"{"outcome":"good"}"#, &["/outcome"]),
            (r#"{"outcome":true,"reward":"1","note":7}"#, &["/outcome", "/reward", "/note"]),
            (r#"{"reward":1e999}"#, &["/reward"]),
            (r#"{"reward":1,"reward":1}"#, &["/reward"]),
            (r#"{"outcome":"accepted","outcome":"accepted","reward":"x"}"#, &["/outcome", "/reward"]),
            (r#"{"reward":1,"a/b":2}"#, &["/a~1b"]),
        ] {
            assert_eq!(parse(text), Err(pointers.iter().map(|&pointer| pointer.to_owned()).collect()), "{text}");
        }
        let note = |length| format!(r#"{{"reward":1,"note":"{}"}}"#, "ü".repeat(length));
        assert!(parse(&note(Verdict::MAX_NOTE)).is_ok());
        assert_eq!(parse(&note(Verdict::MAX_NOTE + 1)), Err(vec!["/note".to_owned()]));
    }
}
