//! The same random steps on both stores: what one says the other says, whatever is asked.
//!
//! Where a task lies in a table is each store's own: it is left out of the comparison, and a place in a list is named by
//! when it was told.

mod act;
mod side;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use self::act::act;
use self::side::Side;
use crate::world::World;

/// Sequences; each makes a database of its own. `PROPTEST_CASES` asks for more.
const CASES: u32 = 12;

/// Steps in one of them.
const STEPS: std::ops::Range<usize> = 1..60;

#[test]
fn the_same_steps_give_the_same_answers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if runtime.block_on(World::postgres()).is_none() {
        return;
    }
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let ran = runner.run(&proptest::collection::vec(act(), STEPS), |acts| {
        runtime.block_on(async {
            let (mut one, mut other) =
                (Side::new(World::sqlite().await), Side::new(World::postgres().await.expect("it was there")));
            for (number, act) in acts.iter().enumerate() {
                let now = i64::try_from(number).unwrap() + 1;
                let (sqlite, postgres) = (one.act(act, now).await, other.act(act, now).await);
                if sqlite != postgres {
                    return Err(TestCaseError::fail(format!("{act:?}\nSQLite:     {sqlite}\nPostgreSQL: {postgres}")));
                }
            }
            Ok(())
        })
    });
    ran.unwrap();
}
