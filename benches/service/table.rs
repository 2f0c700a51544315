//! The one table that is printed.

use std::fmt::Display;

/// Above this many running programs on average, somebody else is at work and the figures are noise.
const QUIET: f64 = 0.7;

/// What is promised of a figure.
#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One line of the table.
pub struct Row {
    figure: &'static str,
    what: String,
    goal: String,
    measured: String,
    floor: String,
    ratio: String,
    met: &'static str,
}

/// Prints rows as they come.
pub struct Table;

impl Row {
    /// A figure that is held against another one: both in `unit`.
    pub fn ratio(figure: &'static str, what: &str, goal: Goal, (measured, floor): (f64, f64), unit: &str) -> Self {
        let ratio = measured / floor;
        Self {
            figure,
            what: what.to_owned(),
            goal: format!("{goal} ×"),
            measured: format!("{} {unit}", short(measured)),
            floor: format!("{} {unit}", short(floor)),
            ratio: format!("{ratio:.2} ×"),
            met: goal.met(ratio),
        }
    }

    /// A figure that is held against another one, and nothing is promised of it.
    pub fn compared(figure: &'static str, what: &str, pair: (f64, f64), unit: &str) -> Self {
        let row = Self::ratio(figure, what, Goal::AtMost(0.0), pair, unit);
        Self { goal: "–".to_owned(), met: "–", ..row }
    }

    /// A figure that stands for itself.
    pub fn plain(figure: &'static str, what: &str, goal: Goal, measured: f64, unit: &str) -> Self {
        Self {
            figure,
            what: what.to_owned(),
            goal: format!("{goal} {unit}"),
            measured: format!("{} {unit}", short(measured)),
            floor: "–".to_owned(),
            ratio: "–".to_owned(),
            met: goal.met(measured),
        }
    }

    /// A figure that nothing is promised of; it explains another one.
    pub fn note(figure: &'static str, what: &str, measured: f64, unit: &str) -> Self {
        let row = Self::plain(figure, what, Goal::AtMost(0.0), measured, unit);
        Self { goal: "–".to_owned(), met: "–", ..row }
    }

    /// A figure that was not measured, and why.
    pub fn absent(figure: &'static str, what: &str, reason: &str) -> Self {
        let row = Self::note(figure, what, 0.0, "");
        Self { what: format!("{what}: {reason}"), measured: "–".to_owned(), ..row }
    }
}

impl Goal {
    fn met(self, value: f64) -> &'static str {
        let met = match self {
            Self::AtMost(goal) => value <= goal,
            Self::AtLeast(goal) => value >= goal,
        };
        if met { "yes" } else { "NO" }
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(goal) => write!(f, "≤ {goal}"),
            Self::AtLeast(goal) => write!(f, "≥ {goal}"),
        }
    }
}

impl Table {
    pub fn begin() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load = load();
        let noisy = if load > QUIET { "; others are at work here: the figures are noisy" } else { "" };
        println!("{cores} cores, load {load:.2} before the first figure{noisy}\n");
        print(["", "figure", "goal", "measured", "floor", "ratio", "met"]);
        Self
    }

    #[expect(clippy::unused_self, reason = "whoever adds a row has begun a table")]
    pub fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            let Row { figure, what, goal, measured, floor, ratio, met } = row;
            print([figure, &what, &goal, &measured, &floor, &ratio, met]);
        }
    }

    #[expect(clippy::unused_self, reason = "whoever ends a table has begun it")]
    pub fn end(self) {
        println!("\nThe floor is what the figure is compared with, measured in the same run; a dash: nothing is.");
    }
}

fn print([figure, what, goal, measured, floor, ratio, met]: [&str; 7]) {
    println!("{figure:<4} {what:<52} {goal:>12} {measured:>14} {floor:>14} {ratio:>9} {met:>4}");
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}
