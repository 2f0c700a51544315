//! A database with many records, written past the service.

use codex_agent::store::{SqliteStore, Store};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _};

use super::common::Home;
use super::world::{FIRST, LEASE, Story, tell};

/// Tool calls of a task: with the finish they are six iterations.
const CALLS: usize = 5;

/// What stands in the first task where the others have their number.
const NUMBER: &str = "0000001";

/// A home with so many ended tasks of six iterations. One is told as a run leaves it; the others are copies that differ in a number
/// of seven digits, so that no two have the same instruction and all offsets stay right.
pub async fn tasks(count: i64) -> Home {
    let home = Home::new();
    tell(&home, &[story()], FIRST).await;
    let file = home.output().join("codex-agent.db");
    let mut db = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    copy(&mut db, count).await;
    db.close().await.unwrap();
    // What is written beside the database by then is put into it.
    SqliteStore::open(&file, LEASE).await.unwrap().close().await;
    home
}

fn story() -> Story {
    let story = Story::new(NUMBER, &format!("Task {NUMBER}: find out why the totals are wrong, and mend it."));
    (0..CALLS).fold(story, |story, call| {
        let output = format!("row of step {call}: expected 41, found 42 in totals.py\\n").repeat(8);
        story.turn(
            "run_command",
            &format!(r#"{{"command":"python3 check.py --task {NUMBER} --step {call}","timeout":20}}"#),
            &format!(r#"{{"status":"success","returncode":1,"stdout":"{output}","stderr":"","truncated":false,"duration_ms":31}}"#),
        )
    })
}

async fn copy(db: &mut SqliteConnection, count: i64) {
    let of_tasks = "SELECT group_concat(name) FROM pragma_table_info('tasks') WHERE name NOT IN ('seq', 'id')";
    let columns: String = sqlx::query_scalar(of_tasks).fetch_one(&mut *db).await.unwrap();
    let mut transaction = db.begin().await.unwrap();
    let numbered = |column: &str| format!("replace({column}, '{NUMBER}', printf('%07d', t.seq))");
    let (body, line, next) = (numbered("body"), numbered("line"), numbered("next"));
    let copies = [
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             INSERT INTO tasks (id, {columns}) SELECT printf('%07d', i), {columns} FROM n, tasks WHERE seq = 1"
        ),
        format!(
            "INSERT INTO posted (seq, body) SELECT t.seq, {body} FROM tasks t, posted p WHERE t.seq > 1 AND p.seq = 1"
        ),
        format!(
            "INSERT INTO iterations (seq, iteration, log_end, line, cut, next, next_tool_ms) \
             SELECT t.seq, i.iteration, log_end, {line}, cut, {next}, next_tool_ms \
             FROM tasks t, iterations i WHERE t.seq > 1 AND i.seq = 1 ORDER BY t.seq, i.iteration"
        ),
    ];
    for copy in copies {
        sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}
