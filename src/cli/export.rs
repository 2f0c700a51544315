//! `codex-agent export`: records as training data.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::logging::{self, To};
use super::{Exit, print_line, signals};
use crate::app;
use crate::config::Config;
use crate::export::{self, Count, Directory, Export, ExportError, Mode, Rows, Sink, Split, Totals};
use crate::tools;

/// How long a row that is being written is waited for once the export is interrupted.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(super) struct Options {
    #[command(flatten)]
    what: export::Options,

    /// A directory for the data, with a card, an index and a manifest; `datasets.load_dataset` opens it [default: the rows alone, to
    /// standard output]
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    to: Option<PathBuf>,

    /// Add to the export in DIR the tasks that it has not; if there is none, make it
    #[arg(long, requires = "to", conflicts_with = "overwrite", help_heading = "Where")]
    incremental: bool,

    /// Replace the export in DIR
    #[arg(long, requires = "to", help_heading = "Where")]
    overwrite: bool,

    /// Write only the rows of this part to standard output
    #[arg(long, value_name = "train|validation", conflicts_with = "to", value_parser = split, help_heading = "Where")]
    split: Option<Split>,

    /// Write nothing, and tell what there would be; with --incremental, beside what is in DIR
    #[arg(long, help_heading = "Where")]
    dry_run: bool,

    /// Tell how many tokens rows have
    #[arg(long, help_heading = "What is told")]
    stats: bool,

    /// With --stats, tell what one epoch costs, at this price for a million tokens
    #[arg(long, value_name = "PRICE", requires = "stats", value_parser = price, help_heading = "What is told")]
    price: Option<f64>,

    /// Nothing on standard error but errors
    #[arg(short, long, help_heading = "What is told")]
    quiet: bool,
}

pub(super) async fn export(config: Config, options: Options) -> anyhow::Result<Exit> {
    let what = options.what.clone().checked()?;
    let _logging = logging::start(&config, To::Stderr, false, if options.quiet { "error" } else { "warn" })?;
    let stop = CancellationToken::new();
    let export = Export {
        options: what,
        archive: app::archive(&config).await?,
        tools: tools::schemas(),
        secrets: config.secrets()?,
        runtime: tokio::runtime::Handle::current(),
        stop: stop.clone(),
    };
    let bar = bar(options.quiet || config.plain_progress());
    let to_stdout = options.to.is_none() && !options.dry_run;
    let (quiet, stats, price) = (options.quiet, options.stats, options.price);
    // It waits for files and for the database, and is at work between: a thread of its own.
    let mut working = tokio::task::spawn_blocking(move || {
        let exported = work(&export, &options, &bar);
        bar.finish_and_clear();
        exported
    });
    let exported = tokio::select! {
        exported = &mut working => exported?,
        () = signals::next() => {
            let again = signals::next();
            stop.cancel();
            // Behind a pipe that nobody reads it would wait for ever; what it writes to a directory it takes away again first.
            let patience = if to_stdout { PATIENCE } else { Duration::MAX };
            tokio::select! {
                exported = tokio::time::timeout(patience, &mut working) => exported.unwrap_or(Ok(Err(ExportError::Stopped)))?,
                () = again => Err(ExportError::Stopped),
            }
        }
    };
    let totals = match exported {
        Ok(totals) => totals,
        Err(ExportError::Stopped) => {
            let what = if to_stdout { "the rows are not all" } else { "nothing was written" };
            eprintln!("codex-agent: interrupted; {what}");
            return Ok(Exit::Interrupted);
        }
        // Whoever read the rows has gone.
        Err(ExportError::Stream(source)) => return Err(source.into()),
        Err(other) => return Err(other.into()),
    };
    if stats && !to_stdout {
        print_line(&told(&totals, price, true))?;
    } else if stats || !quiet {
        eprintln!("{}", told(&totals, price, stats));
    }
    Ok(Exit::Done)
}

fn work(export: &Export, options: &Options, bar: &ProgressBar) -> Result<Totals, ExportError> {
    let mode = match (options.incremental, options.overwrite) {
        (true, _) => Mode::Incremental,
        (_, true) => Mode::Overwrite,
        _ => Mode::New,
    };
    let mut sink: Box<dyn Sink> = match &options.to {
        Some(dir) if options.dry_run => Box::new(Rows::beside(dir, mode)?),
        None if options.dry_run => Box::new(Rows::new(io::sink(), None)),
        Some(dir) => Box::new(Directory::create(dir, mode)?),
        None => {
            let rows = Rows::new(io::BufWriter::new(io::stdout().lock()), options.split);
            let silent = options.quiet && !options.stats;
            Box::new(if silent { rows.uncounted() } else { rows })
        }
    };
    export.run(sink.as_mut(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
}

/// A bar on a terminal; nothing elsewhere.
fn bar(hidden: bool) -> ProgressBar {
    if hidden || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("exporting {wide_bar} {percent} %  {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What there is, and why the rest is not there.
fn told(totals: &Totals, price: Option<f64>, stats: bool) -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = tell(&mut out, totals, price, stats);
    String::from_utf8_lossy(&out).trim_end().to_owned()
}

fn tell(out: &mut Vec<u8>, totals: &Totals, price: Option<f64>, stats: bool) -> io::Result<()> {
    let whole = totals.whole;
    let amount = |count: &Count| format!("{} in {}", of(count.tasks, "task"), of(count.rows, "row"));
    writeln!(out, "{}, {}, {}", amount(&whole), of(whole.tokens, "token"), of(whole.bytes, "byte"))?;
    if totals.new != whole {
        writeln!(out, "  new         {}", amount(&totals.new))?;
    }
    for (split, count) in &totals.splits {
        writeln!(out, "  {:<11} {}, {}", split.as_str(), amount(count), of(count.tokens, "token"))?;
    }
    if totals.rows_too_long > 0 {
        writeln!(out, "  {} left out, with too many tokens", of(totals.rows_too_long, "more row"))?;
    }
    writeln!(out, "{} left out", of(totals.left_out(), "task"))?;
    for (reason, count) in &totals.rejected {
        let hint = if matches!(*reason, "script_brain" | "replay") { "  (--include-scripted takes them)" } else { "" };
        writeln!(out, "  {reason:<15} {count}{hint}")?;
    }
    let secrets: u64 = totals.redacted.values().sum();
    if secrets > 0 {
        let rules: Vec<_> = totals.redacted.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
        writeln!(out, "{} taken out: {}", of(secrets, "secret"), rules.join(", "))?;
    }
    if stats && !totals.quantiles.is_empty() {
        let named = |percent: &u32| match percent {
            0 => "least".to_owned(),
            100 => "most".to_owned(),
            percent => format!("{percent} %"),
        };
        let quantiles = Totals::PERCENTS.iter().zip(&totals.quantiles);
        let quantiles: Vec<_> = quantiles.map(|(percent, tokens)| format!("{} {tokens}", named(percent))).collect();
        let which = if totals.new == whole { "a row" } else { "a new row" };
        writeln!(out, "tokens of {which}: {}", quantiles.join(", "))?;
    }
    if let Some(price) = price {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let cost = whole.tokens as f64 / 1e6 * price;
        writeln!(out, "cost of one epoch at {price} for a million tokens: {cost:.2}")?;
    }
    Ok(())
}

fn of(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn split(word: &str) -> Result<Split, String> {
    Split::from_word(word).ok_or_else(|| "must be train or validation".to_owned())
}

fn price(text: &str) -> Result<f64, String> {
    let price = text.trim().parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| "must be a number, and not negative".to_owned())
}
