//! Lists of what was asked for, whatever else there is.

use codex_agent::domain::{LabelFilter, Status, Task, TaskFilter, labels_of};
use codex_agent::store::{ListQuery, NewTask, Store};

use crate::world::{World, at, claim, end, id, posted};

on_both! {
    a_list_has_what_was_asked_for_in_the_order_of_the_whole_list,
    a_page_looks_at_so_many_tasks_and_the_next_one_goes_on,
    tasks_from_before_there_were_words_are_found_by_them,
    a_task_that_is_deleted_is_found_no_more,
}

/// A minute, in which tasks come here. Far more of them than may be in disorder.
const MINUTE: i64 = 60_000;

/// What tasks bear, by turns.
const BEAR: [&str; 7] = [
    "",
    r#","labels":{"team":"a"}"#,
    r#","labels":{"team":"b","batch":"1"},"workspace":"w""#,
    r#","labels":{"team":"a","batch":"2"},"workspace":"w/"#,
    r#","labels":{"a=b":"c","":"x","\u0000\\":"\u0000\\0"}"#,
    r#","labels":null,"odd":"\ud800""#,
    r#","labels":{"long":"~","team":""}"#,
];

/// A label that is longer than an index of PostgreSQL takes, and cannot be made shorter.
fn long() -> String {
    (0..9000u32).filter_map(|n| char::from_u32(0x4e00 + n * 7919 % 20_000)).collect()
}

fn body(n: usize) -> String {
    let (bear, long) = (BEAR[n % BEAR.len()], long());
    // One with a workspace as long as a path can be.
    let path: String = long.chars().take(1000).collect();
    let bear = bear.replace('~', &long).replace(r#""w/"#, &format!(r#""{path}""#));
    format!(r#"{{"instruction":"x"{bear}}}"#)
}

/// Tasks that stand in every way, one each minute.
async fn fill(world: &World, count: usize) {
    let store = &world.store;
    for n in 0..count {
        let new = NewTask { now: at(MINUTE * i64::try_from(n).unwrap()), ..posted(&format!("t{n}"), &body(n)) };
        store.submit(new).await.unwrap();
        match n % 4 {
            0 => {}
            1 => drop(store.request_cancel(&id(&format!("t{n}")), at(5)).await.unwrap()),
            _ => {
                let which = codex_agent::store::Which::One(id(&format!("t{n}")));
                let claim = codex_agent::store::Claim { worker: "w".into(), limit: 1, which, now: at(2) };
                let fence = store.claim(claim).await.unwrap().remove(0).fence;
                if n % 4 == 3 {
                    store.record(fence, end()).await.unwrap();
                }
            }
        }
    }
}

fn labelled(labels: &[&str]) -> TaskFilter {
    TaskFilter { labels: labels.iter().map(|label| label.parse().unwrap()).collect(), ..TaskFilter::default() }
}

fn filters() -> Vec<TaskFilter> {
    let (all, long) = (TaskFilter::default(), format!("long={}", long()));
    let path: String = self::long().chars().take(1000).collect();
    let status = |status: &[Status]| TaskFilter { status: status.to_vec(), ..all.clone() };
    let workspace = |path: &str| TaskFilter { workspace: Some(path.to_owned()), ..all.clone() };
    let between = |since: i64, until: i64| TaskFilter { since: Some(at(since)), until: Some(at(until)), ..all.clone() };
    let alone = vec![
        status(&[Status::Queued]),
        status(&[Status::Failed]),
        status(&[Status::Succeeded, Status::Queued, Status::Succeeded]),
        status(Status::ALL),
        labelled(&["team"]),
        labelled(&["team=a"]),
        labelled(&["team="]),
        labelled(&["team=c"]),
        labelled(&["a=b"]),
        labelled(&["a=b=c"]),
        labelled(&["\0\\=\0\\0"]),
        labelled(&["\0\\"]),
        labelled(&[&long]),
        labelled(&[&long[..long.len() - 3]]),
        labelled(&["workspace=w"]),
        labelled(&["batch", "team=a"]),
        labelled(&["team=a", "team=b"]),
        workspace("w"),
        workspace(&path),
        workspace("w2"),
        between(10 * MINUTE, 20 * MINUTE),
        between(10 * MINUTE + 1, 20 * MINUTE + 1),
        between(20 * MINUTE, 10 * MINUTE),
        between(-5, 0),
        TaskFilter { since: Some(at(35 * MINUTE)), ..all.clone() },
        TaskFilter { since: Some(at(999 * MINUTE)), ..all.clone() },
        TaskFilter { until: Some(at(5 * MINUTE)), ..all.clone() },
    ];
    let with = |one: &TaskFilter, other: &TaskFilter| TaskFilter {
        status: [&one.status[..], &other.status[..]].concat(),
        labels: [&one.labels[..], &other.labels[..]].concat(),
        since: one.since.or(other.since),
        until: one.until.or(other.until),
        workspace: one.workspace.clone().or_else(|| other.workspace.clone()),
    };
    let both = alone.iter().flat_map(|one| alone.iter().map(move |other| with(one, other))).collect();
    [vec![all.clone()], alone.clone(), both].concat()
}

/// Whether a task is what was asked for, looked at by itself.
fn is_meant(task: &Task, filter: &TaskFilter) -> bool {
    let labels = labels_of(&task.posted);
    let has = |LabelFilter { key, value }: &LabelFilter| {
        labels.iter().any(|(name, has)| name == key && value.as_ref().is_none_or(|value| value == has))
    };
    (filter.status.is_empty() || filter.status.contains(&task.state.status()))
        && filter.labels.iter().all(has)
        && filter.since.is_none_or(|since| task.created_at >= since)
        && filter.until.is_none_or(|until| task.created_at < until)
        && (filter.workspace.is_none() || filter.workspace == task.workspace)
}

/// All that is listed, page by page.
async fn all(store: &dyn Store, filter: &TaskFilter, limit: u32) -> (Vec<Task>, usize) {
    let (mut tasks, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.list(ListQuery { filter: filter.clone(), before, limit }).await.unwrap();
        assert!(page.tasks.len() <= limit as usize);
        tasks.extend(page.tasks);
        (before, pages) = (page.next, pages + 1);
        if before.is_none() {
            return (tasks, pages);
        }
    }
}

fn names(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str()).collect()
}

async fn a_list_has_what_was_asked_for_in_the_order_of_the_whole_list(world: &World) {
    fill(world, 40).await;
    let (whole, _) = all(&*world.store, &TaskFilter::default(), 100).await;
    assert_eq!(names(&whole), (0..40).rev().map(|n| format!("t{n}")).collect::<Vec<_>>());
    let mut met = 0;
    for filter in filters() {
        let meant: Vec<_> = whole.iter().filter(|task| is_meant(task, &filter)).cloned().collect();
        met += usize::from(!meant.is_empty());
        let (listed, pages) = all(&*world.store, &filter, 3).await;
        assert_eq!(names(&listed), names(&meant), "{filter:?}");
        assert_eq!(pages, meant.len().div_ceil(3).max(1), "{filter:?}");
    }
    assert!(met > 100, "only {met} filters find anything");
}

async fn a_page_looks_at_so_many_tasks_and_the_next_one_goes_on(world: &World) {
    // Those that have failed are the oldest five, and one in the middle.
    let series = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 11999)";
    world
        .sql(&format!(
            "INSERT INTO tasks (id, priority, max_iterations, status, error_code, created_at, finished_at) \
                 {series} SELECT 't' || n, 0, 7, CASE WHEN n < 5 OR n = 6000 THEN 'failed' ELSE 'cancelled' END, \
                 CASE WHEN n < 5 OR n = 6000 THEN 'internal' END, n, 9 FROM n ORDER BY n; \
             INSERT INTO posted (seq, body) SELECT seq, '{{}}' FROM tasks; \
             INSERT INTO task_words (seq, word) SELECT seq, 'team' FROM tasks;"
        ))
        .await;
    let filter = TaskFilter { status: vec![Status::Failed], ..labelled(&["team"]) };
    let first = world.store.list(ListQuery { filter: filter.clone(), before: None, limit: 4 }).await.unwrap();
    assert!(first.tasks.is_empty() && first.next.is_some());
    let (listed, pages) = all(&*world.store, &filter, 4).await;
    assert_eq!((names(&listed), pages), (vec!["t6000", "t4", "t3", "t2", "t1", "t0"], 4));
    // Where there is nothing else to be, no page is short.
    for filter in [labelled(&["team"]), TaskFilter { status: vec![Status::Failed], ..TaskFilter::default() }] {
        let page = world.store.list(ListQuery { filter, before: None, limit: 4 }).await.unwrap();
        assert_eq!((page.tasks.len(), page.next.is_some()), (4, true));
    }
}

async fn tasks_from_before_there_were_words_are_found_by_them(world: &World) {
    // As many as are dealt with at a time, and some.
    fill(world, 150).await;
    let (whole, _) = all(&*world.store, &TaskFilter::default(), 200).await;
    if world.store.is_shared() {
        world.sql("DROP TRIGGER posted_wordless ON posted; DROP FUNCTION note_wordless;").await;
    }
    world
        .sql(
            "DROP TABLE task_words; DROP TABLE wordless; DROP INDEX tasks_created; \
             DELETE FROM _sqlx_migrations WHERE version = 8;",
        )
        .await;
    let reopened = world.another().await;
    for filter in filters() {
        let meant: Vec<_> = whole.iter().filter(|task| is_meant(task, &filter)).cloned().collect();
        let (listed, _) = all(&*reopened, &filter, 200).await;
        assert_eq!(names(&listed), names(&meant), "{filter:?}");
    }
    reopened.close().await;
}

async fn a_task_that_is_deleted_is_found_no_more(world: &World) {
    let store = &world.store;
    store.submit(posted("t", &body(2))).await.unwrap();
    let fence = claim(store, 1).await.remove(0).fence;
    store.record(fence, end()).await.unwrap();
    store.delete(&id("t")).await.unwrap();
    store.submit(posted("t", r#"{"instruction":"x"}"#)).await.unwrap();
    let (listed, _) = all(&**store, &labelled(&["team"]), 9).await;
    assert!(listed.is_empty());
}
