//! The PostgreSQL that tests throw away, and the proxy before it: they do what tests of the service rely on.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a harness starts what it needs")]

#[path = "common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "common/proxy.rs"]
mod proxy;

use std::process::Stdio;
use std::time::Duration;

use common::eventually;
use postgres::{Database, Postgres, Stop};
use proxy::{Proxy, What};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Long enough to see that something does not come by itself.
const A_WHILE: Duration = Duration::from_millis(300);

/// Set for the process that is to be killed.
const VICTIM: &str = "CODEX_AGENT_POSTGRES_VICTIM";

/// What one statement gives through the proxy, or nothing if the connection did not last.
async fn through(proxy: &Proxy, database: &Database, sql: &str) -> Option<String> {
    at(&database.url_at(proxy.port), database, sql).await
}

/// The same at any address.
async fn at(url: &str, database: &Database, sql: &str) -> Option<String> {
    let mut psql = database.cluster.client();
    psql.arg("-d").arg(url).args(["-c", sql]);
    let output = Command::from(psql).kill_on_drop(true).output().await.unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

/// How many connections sleep.
async fn sleepers(database: &Database) -> String {
    let sql =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(999)'";
    database.psql(sql).await
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let Some(one) = Postgres::database().await else { return };
    let other = Postgres::database().await.unwrap();
    one.psql("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('a|b'), ('c')").await;
    assert_eq!(one.psql("SELECT text, 1 FROM notes ORDER BY text").await, "a|b|1\nc|1");
    assert!(other.try_psql("SELECT * FROM notes").await.unwrap_err().contains("does not exist"));
    assert_eq!(at(&other.url(), &one, "SELECT current_database()").await, Some(other.name.clone()));
    assert_eq!(one.psql("SHOW listen_addresses").await, "");
}

#[tokio::test]
async fn a_cluster_of_ones_own_keeps_what_is_committed_through_stops_of_any_kind() {
    let Some(cluster) = Postgres::own(&["max_connections=10"]).await else { return };
    let database = cluster.create().await;
    assert_eq!(database.psql("SHOW max_connections").await, "10");
    assert_eq!(database.psql("SHOW fsync").await, "on");
    database.psql("CREATE TABLE kept (n int)").await;
    for how in [Stop::Fast, Stop::Immediate] {
        database.psql("INSERT INTO kept VALUES (1)").await;
        cluster.stop(how).await;
        database.try_psql("SELECT 1").await.unwrap_err();
        cluster.start().await;
        database.psql("INSERT INTO kept VALUES (2)").await;
        cluster.restart(how).await;
    }
    assert_eq!(database.psql("SELECT count(*) FROM kept").await, "4");
    assert!(cluster.log().contains("not properly shut down"), "{}", cluster.log());
}

#[tokio::test]
async fn a_frozen_cluster_answers_when_it_is_thawed() {
    let Some(cluster) = Postgres::own(&[]).await else { return };
    let database = cluster.create().await;
    cluster.freeze();
    let mut answer = Box::pin(database.psql("SELECT 1"));
    assert!(tokio::time::timeout(A_WHILE, &mut answer).await.is_err());
    cluster.thaw();
    assert_eq!(answer.await, "1");
}

#[tokio::test]
async fn all_connections_can_be_ended_from_inside() {
    let Some(database) = Postgres::database().await else { return };
    let sleeping = database.try_psql("SELECT pg_sleep(999)");
    let end = async {
        eventually("the statement runs", async || sleepers(&database).await == "1").await;
        assert_eq!(database.terminate_all().await, 1);
    };
    let (slept, ()) = tokio::join!(sleeping, end);
    assert!(slept.unwrap_err().contains("terminating connection"));
}

/// Runs in a process of its own, below: it says where its cluster is and waits to be killed.
#[tokio::test]
async fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = Postgres::own(&[]).await.unwrap();
    cluster.create().await;
    println!("\nserver {} {}", cluster.pid().as_raw_nonzero(), cluster.socket().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_server_and_its_files_are_gone_when_the_process_of_the_tests_is_killed() {
    if Postgres::database().await.is_none() {
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "victim", "--nocapture"]).env(VICTIM, "1").stdout(Stdio::piped()).kill_on_drop(true);
    let mut test = test.spawn().unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let said = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(said) = line.strip_prefix("server ") {
            break said.to_owned();
        }
    };
    let (pid, socket) = said.split_once(' ').unwrap();
    let (server, socket) = (std::path::Path::new("/proc").join(pid), std::path::Path::new(socket));
    assert!(server.exists() && socket.exists());
    test.kill().await.unwrap();
    eventually("the server is gone, and its directory", async || {
        !server.exists() && !socket.parent().unwrap().exists()
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_is_told_nothing_is_not_there() {
    let Some(database) = Postgres::database().await else { return };
    let proxy = Proxy::before(database.cluster.socket()).await;
    let sql = "SELECT length(repeat('x', 3000000)), md5(repeat('x', 3000000))";
    assert_eq!(through(&proxy, &database, sql).await, Some(database.psql(sql).await));
    assert_eq!(proxy.cuts(), 0);
}

#[tokio::test]
async fn a_proxy_cuts_refuses_and_stalls() {
    let Some(database) = Postgres::database().await else { return };
    let proxy = Proxy::before(database.cluster.socket()).await;
    let sleeping = through(&proxy, &database, "SELECT pg_sleep(999)");
    let cut = async {
        eventually("the statement runs", async || sleepers(&database).await == "1").await;
        proxy.cut();
    };
    assert_eq!(tokio::join!(sleeping, cut).0, None);
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(through(&proxy, &database, "SELECT 1").await.as_deref(), Some("1"));

    proxy.refuse(true);
    assert_eq!(through(&proxy, &database, "SELECT 1").await, None);
    proxy.refuse(false);

    proxy.stall(true);
    let mut answer = Box::pin(through(&proxy, &database, "SELECT 2"));
    assert!(tokio::time::timeout(A_WHILE, &mut answer).await.is_err());
    proxy.stall(false);
    assert_eq!(answer.await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_lost_request_is_not_done_and_a_lost_answer_is_for_something_done() {
    let Some(database) = Postgres::database().await else { return };
    let proxy = Proxy::before(database.cluster.socket()).await;
    database.psql("CREATE TABLE done (n int)").await;
    let insert = "INSERT INTO done VALUES (1)";
    let done = async || database.psql("SELECT count(*) FROM done").await;

    let lost = proxy.lose("INTO done", What::Request);
    assert_eq!(through(&proxy, &database, "SELECT 1").await.as_deref(), Some("1"));
    assert_eq!(through(&proxy, &database, insert).await, None);
    assert_eq!(lost.await.as_deref(), Ok(insert));
    assert_eq!(done().await, "0");

    let lost = proxy.lose("INTO done", What::Answer);
    assert_eq!(through(&proxy, &database, insert).await, None);
    lost.await.unwrap();
    assert_eq!(done().await, "1");

    let lost = proxy.lose_after("done", 1, What::Request);
    assert_eq!(through(&proxy, &database, "SELECT count(*) FROM done").await.as_deref(), Some("1"));
    assert_eq!(through(&proxy, &database, insert).await, None);
    lost.await.unwrap();

    // It was for one transaction, and what is taken back is for none.
    drop((proxy.lose("INTO done", What::Request), proxy.lose("INTO done", What::Answer)));
    let lost = proxy.lose("INTO done", What::Request);
    proxy.lose_nothing();
    assert!(lost.await.is_err());
    assert_eq!(through(&proxy, &database, insert).await.as_deref(), Some(""));
    assert_eq!(proxy.cuts(), 3);
}

#[tokio::test]
async fn an_answer_is_lost_when_the_transaction_of_its_statement_is_over_and_not_before() {
    let Some(database) = Postgres::database().await else { return };
    let proxy = Proxy::before(database.cluster.socket()).await;
    database.psql("CREATE TABLE done (n int)").await;
    let connect = async || PgConnection::connect(&database.url_at(proxy.port)).await.unwrap();
    let insert = || sqlx::query("INSERT INTO done VALUES ($1)").bind(1);
    let done = async || database.psql("SELECT count(*) FROM done").await;

    // Prepared statements are known by their names, and the first time they only become known.
    let mut client = connect().await;
    insert().execute(&mut client).await.unwrap();
    let lost = proxy.lose("INTO done", What::Answer);
    let mut transaction = client.begin().await.unwrap();
    for _ in 0..2 {
        assert_eq!(insert().execute(&mut *transaction).await.unwrap().rows_affected(), 1);
    }
    assert_eq!(done().await, "1");
    transaction.commit().await.unwrap_err();
    lost.await.unwrap();
    assert_eq!(done().await, "3");

    // Without a transaction of its own, a statement is one.
    let (mut client, lost) = (connect().await, proxy.lose("INTO done", What::Answer));
    sqlx::query("SELECT count(*) FROM done").fetch_one(&mut client).await.unwrap();
    insert().execute(&mut client).await.unwrap_err();
    lost.await.unwrap();
    assert_eq!(done().await, "4");

    // A request that is lost takes its transaction with it.
    let (mut client, lost) = (connect().await, proxy.lose("COMMIT", What::Request));
    let mut transaction = client.begin().await.unwrap();
    insert().execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap_err();
    lost.await.unwrap();
    assert_eq!(done().await, "4");
}
