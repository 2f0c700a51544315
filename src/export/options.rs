//! What is asked of an export: the same for a command, a call over HTTP and a schedule.
//!
//! One parser reads all three, so that they understand and refuse the same.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, FromArgMatches, ValueEnum};
use serde::Serialize;

use crate::domain::{LabelFilter, Status, Timestamp, VerdictOutcome, parse_moment};

/// The largest number that readers of all kinds of JSON and of integers hold: the manifest has it.
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// What is asked of an export. Two that are equal make the same rows of the same tasks.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[group(skip)]
pub struct Options {
    /// What a row is
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,

    /// What of a chat becomes an example
    #[arg(long, value_enum, default_value_t, value_name = "UNIT")]
    pub examples: Examples,

    /// A system message that each chat and each preference begins with
    #[arg(long, value_name = "TEXT", value_parser = text)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,

    /// Only tasks that ended so: succeeded, failed, cancelled, or some with commas between them [default: succeeded for a chat, all
    /// but cancelled for a preference, all for the others]
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',', value_parser = status)]
    #[serde(serialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,

    /// Only tasks that were posted with this label; given more than once, with all of these
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = label)]
    #[serde(serialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<LabelFilter>,

    /// Only tasks that were posted then or later: a time in RFC 3339, or a day, from its beginning in UTC
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,

    /// Only tasks that were posted before
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,

    /// Only tasks with this workspace, as it was posted
    #[arg(long, value_name = "DIR", value_parser = text)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,

    /// Only tasks with this verdict, as it was put on them by `PUT /tasks/{id}/label` [default: for a chat, all but the rejected]
    #[arg(long, value_name = "accepted|rejected", value_parser = outcome)]
    #[serde(serialize_with = "maybe_word", skip_serializing_if = "Option::is_none")]
    pub outcome: Option<VerdictOutcome>,

    /// At most so many tasks, or preferences, of a group: those with the same label `group`, or else the same instruction
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_group: Option<u32>,

    /// Leave out tasks that did the same as one before: the same instruction, calls, results and summary
    #[arg(long)]
    pub dedupe: bool,

    /// The most tokens of a row, by `o200k_base`
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..=LARGEST))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,

    /// What becomes of a chat with more tokens than --max-tokens
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub too_long: TooLong,

    /// Also tasks in which no model decided: those of the script brain, and replays
    #[arg(long)]
    pub include_scripted: bool,

    /// What is taken out of instructions, calls, results and summaries
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub redact: Redact,

    /// Secrets may be in the export; for --redact none
    #[arg(long)]
    pub allow_secrets: bool,

    /// How many of a hundred groups are for validation; a group is drawn by its hash, so none ever moves
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub validation_percent: u8,
}

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Format {
    /// A chat in OpenAI's fine-tuning format: arguments of calls are strings.
    #[default]
    #[serde(rename = "openai")]
    #[value(name = "openai")]
    OpenAi,
    /// A chat for the templates of Hugging Face: arguments are objects.
    #[serde(rename = "hf")]
    #[value(name = "hf")]
    HuggingFace,
    /// A preference, one answer over another, in OpenAI's format.
    #[serde(rename = "dpo-openai")]
    #[value(name = "dpo-openai")]
    DpoOpenAi,
    /// A preference as TRL has it.
    #[serde(rename = "dpo-hf")]
    #[value(name = "dpo-hf")]
    DpoHuggingFace,
    /// A trajectory in the Agent Trajectory Interchange Format.
    Atif,
    /// The lines of the records as they are.
    Records,
}

/// What is made of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To learn what was done.
    Chat,
    /// To learn what is better.
    Preference,
    /// To keep what was.
    Archive,
}

/// What of a chat becomes an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Examples {
    /// All of it: one for each task.
    #[default]
    Trajectory,
    /// Each message that the model wrote, behind what was said before.
    Turn,
}

/// What becomes of what is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TooLong {
    /// It is left out.
    #[default]
    Drop,
    /// What the tools answered is shortened.
    TruncateObservations,
}

/// What is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Redact {
    /// What looks like a secret, and this process's own.
    #[default]
    Secrets,
    /// Nothing; --allow-secrets says that this is meant.
    None,
}

/// An option that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {detail}")]
pub struct BadOption {
    /// Which, as a flag's name without its dashes.
    pub option: String,
    /// Why not.
    pub detail: String,
}

impl BadOption {
    fn new(option: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { option: option.into(), detail: detail.into() }
    }
}

impl Options {
    /// Reads flags as they stand on a command line.
    pub fn from_words(words: &[String]) -> Result<Self, BadOption> {
        let matches = command().try_get_matches_from(words).map_err(|error| bad(&error))?;
        Self::from_arg_matches(&matches).map_err(|error| bad(&error))?.checked()
    }

    /// Reads parameters: the flags' names with underscores, and `true` or `false` for those without a value.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BadOption> {
        let command = command();
        let mut words = Vec::new();
        for (name, value) in pairs {
            let flag = name.replace('_', "-");
            let Some(argument) = command.get_arguments().find(|argument| argument.get_long() == Some(&flag)) else {
                let known: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
                let known = known.join(", ").replace('-', "_");
                return Err(BadOption::new(name, format!("is not known here; known: {known}")));
            };
            if argument.get_action().takes_values() {
                words.push(format!("--{flag}={value}"));
            } else {
                match value {
                    "true" => words.push(format!("--{flag}")),
                    "false" => {}
                    _ => return Err(BadOption::new(name, "must be true or false")),
                }
            }
        }
        Self::from_words(&words).map_err(|BadOption { option, detail }| BadOption {
            option: option.replace('-', "_"),
            // Where it names another one.
            detail: detail.replace("allow-secrets", "allow_secrets").replace("max-tokens", "max_tokens"),
        })
    }

    /// Refuses what does not go together.
    pub fn checked(self) -> Result<Self, BadOption> {
        let refuse = |option: &str, detail: &str| Err(BadOption::new(option, detail));
        if self.redact == Redact::None && !self.allow_secrets {
            return refuse(
                "redact",
                "none leaves passwords and keys in the data; allow-secrets says that this is meant",
            );
        }
        if self.allow_secrets && self.redact != Redact::None {
            return refuse("allow-secrets", "goes with redact none alone");
        }
        let chat = self.format.purpose() == Purpose::Chat;
        if self.examples != Examples::default() && !chat {
            return refuse("examples", "is for the formats openai and hf");
        }
        if self.system.is_some() && self.format.purpose() == Purpose::Archive {
            return refuse("system", "is for chats and preferences");
        }
        if self.too_long == TooLong::TruncateObservations && !chat {
            return refuse("too-long", "truncate-observations is for the formats openai and hf");
        }
        if self.too_long == TooLong::TruncateObservations && self.max_tokens.is_none() {
            return refuse("too-long", "needs max-tokens");
        }
        if self.since.zip(self.until).is_some_and(|(since, until)| since >= until) {
            return refuse("until", "must be later than since");
        }
        if let Some(open) = self.status.iter().find(|status| matches!(status, Status::Queued | Status::Running)) {
            let detail =
                if *open == Status::Queued { "queued tasks have no record" } else { "running tasks have not ended" };
            return refuse("status", detail);
        }
        Ok(self)
    }
}

impl Format {
    /// What its rows are for.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::OpenAi | Self::HuggingFace => Purpose::Chat,
            Self::DpoOpenAi | Self::DpoHuggingFace => Purpose::Preference,
            Self::Atif | Self::Records => Purpose::Archive,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::HuggingFace => "hf",
            Self::DpoOpenAi => "dpo-openai",
            Self::DpoHuggingFace => "dpo-hf",
            Self::Atif => "atif",
            Self::Records => "records",
        }
    }
}

/// The options alone.
fn command() -> clap::Command {
    Options::augment_args(clap::Command::new("export").no_binary_name(true).disable_help_flag(true))
}

/// What clap says of an option, in a line.
fn bad(error: &clap::Error) -> BadOption {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let option = context(ContextKind::InvalidArg).unwrap_or_default();
    let option = option.trim_start_matches("--").split([' ', '=', '[']).next().unwrap_or_default().to_owned();
    let detail = match (error.kind(), std::error::Error::source(error)) {
        (_, Some(source)) => source.to_string(),
        (ErrorKind::InvalidValue, None) => match context(ContextKind::ValidValue) {
            Some(words) if !words.is_empty() => format!("must be one of {words}"),
            _ => "needs a value".to_owned(),
        },
        (ErrorKind::ArgumentConflict, None) => "is given more than once".to_owned(),
        (ErrorKind::UnknownArgument, None) => "is not known here; flags are as in --format hf".to_owned(),
        (kind, None) => kind.to_string(),
    };
    BadOption { option, detail }
}

fn status(word: &str) -> Result<Status, String> {
    Status::from_word(word).ok_or_else(|| "must be succeeded, failed or cancelled".to_owned())
}

fn outcome(word: &str) -> Result<VerdictOutcome, String> {
    VerdictOutcome::from_word(word).ok_or_else(|| "must be accepted or rejected".to_owned())
}

fn label(text: &str) -> Result<LabelFilter, String> {
    text.parse().map_err(|error: crate::domain::InvalidLabel| error.to_string())
}

fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn words<T: ToString, S: serde::Serializer>(words: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(words.iter().map(ToString::to_string))
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn maybe_word<T: ToString, S: serde::Serializer>(word: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&word.as_ref().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &[(&'static str, &'static str)]) -> Result<Options, String> {
        Options::from_pairs(query.iter().copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_call_and_a_command_line_are_read_alike() {
        let query = [
            ("format", "hf"),
            ("label", "a=b"),
            ("label", "c"),
            ("max_tokens", "9"),
            ("dedupe", "true"),
            ("status", "failed,succeeded"),
        ];
        let words =
            ["--format=hf", "--label=a=b", "--label=c", "--max-tokens", "9", "--dedupe", "--status=failed,succeeded"];
        let words: Vec<String> = words.map(str::to_owned).into();
        let options = pairs(&query).unwrap();
        assert_eq!(options, Options::from_words(&words).unwrap());
        assert_eq!((options.format, options.label.len(), options.status.len()), (Format::HuggingFace, 2, 2));
        assert_eq!(pairs(&[("dedupe", "false")]), Ok(Options::from_words(&[]).unwrap()));
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (query, told) in [
            (("format", "xml"), "format: must be one of openai, hf, dpo-openai, dpo-hf, atif, records"),
            (("max_tokens", "0"), "max_tokens: 0 is not in 1.."),
            (("since", "yesterday"), "since: must be a time as in"),
            (("status", "queued"), "status: queued tasks have no record"),
            (("status", "done"), "status: must be succeeded, failed or cancelled"),
            (("dedupe", "yes"), "dedupe: must be true or false"),
            (("to", "/etc"), "to: is not known here; known: format, examples,"),
            (("redact", "none"), "redact: none leaves passwords and keys in the data"),
            (("allow_secrets", "true"), "allow-secrets: goes with redact none alone"),
            (("format", ""), "format: must be one of openai, hf"),
        ] {
            let error = pairs(&[query]).unwrap_err();
            assert!(error.replace('_', "-").starts_with(&told.replace('_', "-")), "{error}");
        }
        assert_eq!(pairs(&[("format", "hf"), ("format", "hf")]).unwrap_err(), "format: is given more than once");
        assert!(pairs(&[("examples", "turn"), ("format", "atif")]).is_err());
    }
}
