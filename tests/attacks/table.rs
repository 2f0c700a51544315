//! What became of the cases of a mode, to be read by people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::case::Case;

/// How many cases are named for their slowness.
const SLOWEST: usize = 12;

/// What became of a case.
pub enum Verdict {
    Held,
    /// It cannot hold here, and did not.
    Expected(Vec<String>),
    Broken(Vec<String>, Value),
    Skipped(String),
}

/// A case, what became of it, and how long it took.
pub type Played = (Case, Verdict, Duration);

/// Prints what became of the cases, straight to the stream: the test runner keeps what the print macros write. How many
/// are broken.
pub fn table(name: &str, verdicts: &mut [Played], took: Duration) -> usize {
    verdicts.sort_by(|one, other| one.0.id.cmp(&other.0.id));
    // Per category: held, expected, broken, skipped.
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut lines = Vec::new();
    for (case, verdict, _) in &*verdicts {
        let Case { id, category, title, layer, note, .. } = case;
        let (column, line) = match verdict {
            Verdict::Held => (0, None),
            Verdict::Expected(broken) => {
                (1, Some(format!("  XFAIL   {id}: {title}: needs one of {:?}: {broken:?}", case.xfail_without)))
            }
            Verdict::Broken(broken, result) => {
                let mut shown = result.to_string();
                shown.truncate(shown.floor_char_boundary(2000));
                (
                    2,
                    Some(format!(
                        "  BROKEN  {id}: {title} ({layer}; {note})\n    {}\n    {shown}",
                        broken.join("\n    ")
                    )),
                )
            }
            Verdict::Skipped(reason) => (3, Some(format!("  SKIPPED {id}: {title}: {reason}"))),
        };
        counts.entry(category).or_default()[column] += 1;
        lines.extend(line);
    }
    let mut text = format!("\n== {name}: {} cases in {:.1} s\n", verdicts.len(), took.as_secs_f64());
    let row = |name: &str, [held, expected, broken, skipped]: [usize; 4]| {
        format!("  {name:<16} held {held:>3}   xfail {expected:>2}   broken {broken:>3}   skipped {skipped:>2}\n")
    };
    for (category, counts) in &counts {
        text += &row(category, *counts);
    }
    let mut total = [0; 4];
    for counts in counts.values() {
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    text += &row("all", total);
    for line in lines {
        text += &line;
        text.push('\n');
    }
    verdicts.sort_by_key(|(_, _, took)| std::cmp::Reverse(*took));
    let slowest = verdicts[..verdicts.len().min(SLOWEST)].iter();
    let slowest = slowest.map(|(case, _, took)| format!("{} {:.1} s", case.id, took.as_secs_f64()));
    let _ = writeln!(text, "  slowest: {}", slowest.collect::<Vec<_>>().join(", "));
    let _ = std::io::stderr().write_all(text.as_bytes());
    total[2]
}
