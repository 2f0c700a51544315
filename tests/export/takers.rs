//! Those who take an export take each row of it, and refuse it where it is spoilt.

use serde_json::Value;

use crate::check::{export, node, python};
use crate::common::Home;
use crate::stories::{self, ORDINARY};
use crate::world::{FIRST, tell};

/// As many for validation as are needed to have some among so few.
const SPLIT: &[&str] = &["--validation-percent", "25"];

async fn home() -> Home {
    let home = Home::new();
    tell(&home, &stories::all(), FIRST).await;
    home
}

/// Exports in a format, with further arguments.
async fn exported(home: &Home, format: &str, arguments: &[&str]) -> std::path::PathBuf {
    let arguments = [&["--format", format], SPLIT, arguments].concat();
    export(home, &arguments.concat(), &arguments).await
}

fn count(counts: &Value, name: &str) -> usize {
    counts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counts}")).try_into().unwrap()
}

#[tokio::test]
async fn openai_rows_are_of_the_types_of_the_openai_package() {
    let home = home().await;
    for (format, arguments) in [("openai", vec![]), ("openai", vec!["--examples", "turn"]), ("dpo-openai", vec![])] {
        let directory = exported(&home, format, &arguments).await;
        let Some(counts) = python("openai_types.py", &["openai", "pydantic"], &[&directory]).await else { return };
        assert!(count(&counts, "conversations") >= if format == "openai" { ORDINARY } else { 16 }, "{counts}");
        assert_eq!(count(&counts, "refused"), 11, "{counts}");
    }
}

#[tokio::test]
async fn mistral_takes_them_for_fine_tuning() {
    let home = home().await;
    for arguments in [vec!["--system", "You repair what is broken."], vec!["--examples", "turn"]] {
        let directory = exported(&home, "openai", &arguments).await;
        let Some(counts) = python("mistral.py", &["mistral_common"], &[&directory]).await else { return };
        assert!(count(&counts, "conversations") >= ORDINARY, "{counts}");
        assert!(count(&counts, "strict") >= ORDINARY && count(&counts, "versions") >= 7, "{counts}");
        // Not all take words beside a call.
        assert!(count(&counts, "strict") < count(&counts, "conversations"), "{counts}");
        assert_eq!(count(&counts, "refused"), 6, "{counts}");
    }
}

#[tokio::test]
async fn datasets_opens_the_directory_and_changes_nothing() {
    let home = home().await;
    for format in ["openai", "hf", "dpo-openai", "dpo-hf"] {
        let directory = exported(&home, format, &[]).await;
        let Some(counts) = python("datasets_load.py", &["datasets"], &[&directory]).await else { return };
        assert!(count(&counts, "calls") >= 16 && count(&counts, "shapes") >= 2, "{counts}");
    }
    // What is kept as it was may have numbers that this library does not take.
    let plain: Vec<_> = stories::all().into_iter().filter(|story| story.id != "big-number").collect();
    let home = Home::new();
    tell(&home, &plain, FIRST).await;
    for format in ["atif", "records"] {
        let directory = exported(&home, format, &[]).await;
        let Some(counts) = python("datasets_load.py", &["datasets"], &[&directory]).await else { return };
        assert!(count(&counts, "calls") > 3 * ORDINARY && count(&counts, "shapes") >= 6, "{counts}");
    }
}

#[tokio::test]
async fn chat_templates_show_tools_calls_and_results_and_mask_the_results() {
    let home = home().await;
    let directory = exported(&home, "hf", &[]).await;
    let Some(counts) = python("templates.py", &["trl"], &[&directory]).await else { return };
    assert!(count(&counts, "templates") >= 40 && count(&counts, "masked") >= 20, "{counts}");
    assert!(
        count(&counts, "rendered") >= ORDINARY * (count(&counts, "templates") - count(&counts, "refused")),
        "{counts}"
    );
    // What the other dialect would come to.
    assert!(count(&counts, "picky") >= 15, "{counts}");
}

#[tokio::test]
async fn a_model_learns_from_the_messages_alone() {
    let home = home().await;
    let directory = exported(&home, "hf", &[]).await;
    let Some(counts) = python("trainers.py", &["trl", "torch"], &[&"sft", &directory]).await else { return };
    assert_eq!(count(&counts, "steps"), 3, "{counts}");
    assert!(count(&counts, "learnt") > 1000 && count(&counts, "moved") > 0, "{counts}");
}

#[tokio::test]
async fn a_model_learns_what_is_preferred() {
    let home = home().await;
    let directory = exported(&home, "dpo-hf", &[]).await;
    let Some(counts) = python("trainers.py", &["trl", "torch"], &[&"dpo", &directory]).await else { return };
    assert_eq!(count(&counts, "steps"), 3, "{counts}");
    assert!(count(&counts, "learnt") > 100 && count(&counts, "moved") > 0, "{counts}");
}

#[tokio::test]
async fn harbor_reads_the_trajectories() {
    let home = home().await;
    let directory = exported(&home, "atif", &[]).await;
    let Some(counts) = python("atif.py", &["harbor", "pydantic"], &[&directory]).await else { return };
    assert!(count(&counts, "trajectories") >= ORDINARY && count(&counts, "results") >= 2 * ORDINARY, "{counts}");
    assert_eq!(count(&counts, "refused"), 6, "{counts}");
}

#[tokio::test]
async fn another_tokenizer_counts_as_many_tokens() {
    let home = home().await;
    for format in ["openai", "hf", "dpo-openai", "dpo-hf", "atif", "records"] {
        let directory = exported(&home, format, &[]).await;
        let Some(counts) = node("tokens.js", "gpt-tokenizer/encoding/o200k_base", &[&directory]).await else { return };
        assert!(count(&counts, "tokens") > 1000, "{counts}");
    }
}
