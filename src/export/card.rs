//! `README.md`: the data card, for people, and for the library that reads its first lines.

use std::fmt::Write;

use super::options::{Examples, Format, Options, Purpose, Redact};
use super::redact::RULES;
use super::sink::Split;
use super::totals::Totals;

/// The card of an export.
pub(super) fn render(options: &Options, totals: &Totals) -> String {
    let mut card = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut card, options, totals);
    card
}

fn write(card: &mut String, options: &Options, totals: &Totals) -> std::fmt::Result {
    front_matter(card, options, totals)?;
    writeln!(card, "# Agent trajectories\n")?;
    writeln!(
        card,
        "{} of agent tasks that `codex-agent` has recorded: an instruction, calls of three tools with their results, and an end.\n",
        match options.format {
            Format::OpenAi => "Chats in OpenAI's fine-tuning format (`function.arguments` is a string that holds JSON)",
            Format::HuggingFace => "Chats for Hugging Face's chat templates (`function.arguments` is an object)",
            Format::DpoOpenAi => "Preferences in OpenAI's format for direct preference optimisation",
            Format::DpoHuggingFace => "Preferences as TRL's `DPOTrainer` takes them",
            Format::Atif => "Trajectories in the Agent Trajectory Interchange Format",
            Format::Records => "The records",
        }
    )?;
    writeln!(card, "| | tasks | rows | tokens | bytes |\n| --- | ---: | ---: | ---: | ---: |")?;
    for (split, count) in &totals.splits {
        writeln!(
            card,
            "| {} | {} | {} | {} | {} |",
            split.as_str(),
            count.tasks,
            count.rows,
            count.tokens,
            count.bytes
        )?;
    }
    let whole = totals.whole;
    writeln!(card, "| all | {} | {} | {} | {} |\n", whole.tasks, whole.rows, whole.tokens, whole.bytes)?;
    writeln!(
        card,
        "Tokens are counted by `o200k_base`, of what the messages say and of the tools' schemas, without what a chat template adds; for models with another vocabulary they are approximate.\n"
    )?;
    how_it_was_made(card, options, totals)?;
    files(card, options.format)
}

fn front_matter(card: &mut String, options: &Options, totals: &Totals) -> std::fmt::Result {
    writeln!(card, "---\nlicense: other")?;
    if totals.whole.rows > 0 {
        writeln!(card, "configs:\n- config_name: default\n  data_files:")?;
    }
    for split in Split::ALL {
        // A part without a row may not be named: there is no file of it.
        if totals.splits.get(&split).is_some_and(|count| count.rows > 0) {
            let name = split.as_str();
            writeln!(card, "  - split: {name}\n    path: data/{name}-*.jsonl")?;
        }
    }
    // Lists of JSON values: as structs, every message would get every field of every other, with nulls.
    let list = |name: &str| format!("  - name: {name}\n    list: json\n");
    let features = match options.format {
        Format::OpenAi => list("messages") + &list("tools") + "  - name: parallel_tool_calls\n    dtype: bool\n",
        Format::HuggingFace if options.examples == Examples::Turn => {
            ["prompt", "completion", "tools"].map(list).concat()
        }
        Format::HuggingFace => list("messages") + &list("tools"),
        Format::DpoHuggingFace => ["prompt", "chosen", "rejected", "tools"].map(list).concat(),
        Format::DpoOpenAi => {
            let input = "  - name: input\n    struct:\n    - name: messages\n      list: json\n    - name: tools\n      list: json\n    - name: parallel_tool_calls\n      dtype: bool\n";
            [input.to_owned(), list("preferred_output"), list("non_preferred_output")].concat()
        }
        Format::Atif | Format::Records => String::new(),
    };
    if !features.is_empty() {
        write!(card, "dataset_info:\n  features:\n{features}")?;
    }
    writeln!(card, "---\n")
}

fn how_it_was_made(card: &mut String, options: &Options, totals: &Totals) -> std::fmt::Result {
    writeln!(card, "## How it was made\n")?;
    let purpose = options.format.purpose();
    if purpose == Purpose::Preference {
        writeln!(
            card,
            "A row is one message against another behind the same conversation. Either two attempts at the same task part there, of which one succeeded and the other failed; or a call failed, and the next call of the same tool on the same target succeeded, with nothing but files read in between.\n"
        )?;
    }
    if options.examples == Examples::Turn {
        writeln!(
            card,
            "Each row ends on a message of the model's, the one to learn; those before it are its context.\n"
        )?;
    }
    match options.redact {
        Redact::None => writeln!(card, "**Nothing was taken out: there may be passwords and keys in it.**\n")?,
        Redact::Secrets => {
            writeln!(card, "What looks like a secret was replaced by `[REDACTED:rule]`, by these rules:\n")?;
            for rule in RULES {
                let count = totals.redacted.get(rule.name).copied().unwrap_or_default();
                writeln!(card, "- `{}`: {} ({count})", rule.name, rule.what)?;
            }
            writeln!(card, "\nWhat looks like nothing is not found: look at the data before you give it away.\n")?;
        }
    }
    writeln!(
        card,
        "A task is in `train` or `validation` by a hash of its group (its label `group`, or else its instruction), for good. {} tasks that had ended were left out{}\n",
        totals.left_out(),
        if totals.rejected.is_empty() { "." } else { ":" }
    )?;
    for (reason, count) in &totals.rejected {
        writeln!(card, "- `{reason}`: {count}")?;
    }
    if !totals.rejected.is_empty() {
        writeln!(card)?;
    }
    Ok(())
}

fn files(card: &mut String, format: Format) -> std::fmt::Result {
    writeln!(
        card,
        "## Files\n\n\
         - `data/`: the rows; `datasets.load_dataset` reads them.\n\
         - `index.jsonl`: each task in it, with the place of its rows, its group and a hash of what it did.\n\
         - `rejected.jsonl`: each ended task that is not, with the reason.\n\
         - `manifest.json`: what was asked for, counts, and the SHA-256 of every file."
    )?;
    match format {
        // There all JSON is inside strings.
        Format::OpenAi | Format::DpoOpenAi => Ok(()),
        Format::HuggingFace | Format::DpoHuggingFace => writeln!(
            card,
            "\nAs it loads them, `datasets` rounds fractions inside arguments to ten decimals; the files have them whole."
        ),
        Format::Atif | Format::Records => writeln!(
            card,
            "\nAs it loads them, `datasets` rounds fractions to ten decimals, and refuses whole numbers beyond 64 bits; the files have them whole."
        ),
    }
}
