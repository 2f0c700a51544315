//! Places where a test may have the process die: `CODEX_AGENT_KILL_AT=name:n` kills it at the n-th pass of the named one.
//!
//! Only with the feature `kill-points`, which no release build takes; without it a point is nothing at all. `tests/crash/`
//! goes through every one of them.

#[cfg(all(feature = "kill-points", not(debug_assertions)))]
compile_error!("kill-points are for tests: no release build may have them");

/// Every point there is.
#[cfg(feature = "kill-points")]
pub const POINTS: &[&str] = &[
    "submit-uncommitted",
    "submit-committed",
    "claim-committed",
    "reply-received",
    "reply-recorded",
    "line-torn",
    "line-written",
    "edit-intended",
    "edit-made",
    "command-called",
    "command-ran",
    "result-recorded",
    "abort-answered",
    "cancel-committed",
    "end-recorded",
    "meta-torn",
    "meta-unrenamed",
    "meta-written",
    "delete-committed",
    "delete-done",
    "handing-back",
    "handed-back",
    "recovered",
];

#[cfg(feature = "kill-points")]
pub use armed::{arm, kill_point, kill_point_after};

/// A point; without the feature it is nothing.
#[cfg(not(feature = "kill-points"))]
#[inline]
pub fn kill_point(_: &'static str) {}

/// A point in the middle of something; without the feature it is nothing.
#[cfg(not(feature = "kill-points"))]
#[inline]
pub fn kill_point_after<T>(_: &'static str, _: impl FnOnce() -> T) {}

#[cfg(feature = "kill-points")]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::POINTS;

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        name: String,
        left: AtomicU64,
    }

    /// Arms the point that `name:n` names, once for the life of the process; false if there is no such point.
    pub fn arm(text: &str) -> bool {
        let Some((name, left)) = text.split_once(':') else { return false };
        let (Ok(left), true) = (left.parse(), POINTS.contains(&name)) else { return false };
        ARMED.set(Armed { name: name.to_owned(), left: AtomicU64::new(left) }).is_ok()
    }

    /// Ends the process here if this is the pass that was asked for.
    pub fn kill_point(name: &'static str) {
        kill_point_after(name, || ());
    }

    /// Does `work` and ends the process, if this is the pass that was asked for; otherwise nothing.
    pub fn kill_point_after<T>(name: &'static str, work: impl FnOnce() -> T) {
        debug_assert!(POINTS.contains(&name), "{name} is not in POINTS");
        let Some(armed) = ARMED.get().filter(|armed| armed.name == name) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        work();
        // A test that waits for a death wants to know that it was this one.
        let _ = writeln!(std::io::stdout(), "killed at {name}");
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
