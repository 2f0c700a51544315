//! What very many tasks cost those that come after them: in the queue, waiting on the brain, or ended.

use std::time::Instant;

use super::brain::{Brain, Script};
use super::common::{Home, Service};
use super::load::{self, Connection, Watch};
use super::measure::{median, most_files};
use super::table::Row;
use super::{filled, retention, wal};

/// Tasks that wait in the queue: many, and as many as may by default.
const QUEUES: [i64; 2] = [10_000, 100_000];

/// Tasks that wait on the brain, and tasks that have ended.
const WAITING: usize = 10_000;
pub const MANY: i64 = 1_000_000;
pub const FEW: i64 = 10_000;

/// Requests of each kind, by turns on the services.
const SAMPLES: usize = 500;

/// What a process has open besides the connections of the tasks: far less than this.
const OTHERS: u64 = 1_000;

pub async fn scale() -> Vec<Row> {
    let mut rows = queue().await;
    let (many, few) = (filled::ended(MANY).await, filled::ended(FEW).await);
    rows.extend(retention::deleting(&many, &few).await);
    rows.extend(waiting(&many, &few).await);
    rows.extend(wal::length().await);
    rows
}

/// A submission beside a long queue.
async fn queue() -> Vec<Row> {
    // One task is taken up and waits for ever; the others stay in the queue.
    let brain = Brain::start(Script::Silence);
    let variables = [("MAX_RUNNING", "1")];
    let mut services = vec![load::service(load::home(), &brain.url, &variables).await];
    for count in QUEUES {
        services.push(load::service(filled::queued(count).await, &brain.url, &variables).await);
    }
    let mut connections = Vec::new();
    for service in &services {
        connections.push(Connection::open(&service.url).await);
    }
    let mut times = [const { Vec::new() }; 1 + QUEUES.len()];
    for _ in 0..SAMPLES {
        for (connection, times) in connections.iter_mut().zip(&mut times) {
            let started = Instant::now();
            assert_eq!(connection.send("POST", "/tasks", &load::task(7)).await.0, 202);
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [none, many, most] = times.map(median);
    vec![
        Row::compared("P7", "POST /tasks, 10,000 in the queue / none", (many, none), "µs"),
        Row::compared("P7", "POST /tasks, 100,000 in the queue / none", (most, none), "µs"),
    ]
}

/// Everything a client does, while ten thousand tasks wait on the brain and a million have ended.
async fn waiting(many: &Home, few: &Home) -> Vec<Row> {
    let what = "10,000 run, 1M ended / few";
    if most_files() < WAITING as u64 + OTHERS {
        return vec![Row::absent("P7", what, "a process may not have 10,000 connections here")];
    }
    let brain = Brain::start(Script::Silence);
    let start = async |home: &Home| load::service(home.clone(), &brain.url, &[("MAX_RUNNING", "20000")]).await;
    let services = [(start(many).await, MANY), (start(few).await, FEW)];
    load::post(&services[0].0, 64, WAITING, &load::task(7)).await;
    let mut watch = Watch::open(many).await;
    watch.until_running(i64::try_from(WAITING).unwrap()).await;
    watch.close().await;

    let mut times = [const { [const { Vec::new() }; 2] }; 4];
    for turn in 0..SAMPLES {
        for (which, (service, ended)) in services.iter().enumerate() {
            let mut client = Client::new(service).await;
            let lap = client.run(&format!("probe-{turn}")).await;
            times[0][which].push(lap);
            // The oldest of them have been deleted.
            let id = filled::old(fastrand::i64(ended * 3 / 4..*ended));
            for (what, path) in
                [format!("/tasks/{id}"), "/tasks?limit=50".to_owned(), "/tasks?limit=50&status=succeeded".to_owned()]
                    .iter()
                    .enumerate()
            {
                times[1 + what][which].push(client.get(path).await);
            }
        }
    }
    let [runs, statuses, pages, of_status] = times.map(|[many, few]| (median(many), median(few)));
    let row = |name: &str, pair| Row::compared("P7", &format!("{name}, {what}"), pair, "µs");
    vec![
        row("POST until it runs", runs),
        row("GET /tasks/{id}", statuses),
        row("GET /tasks", pages),
        row("GET /tasks?status=…", of_status),
    ]
}

/// A client with a connection of its own; times in microseconds.
struct Client(Connection);

impl Client {
    async fn new(service: &Service) -> Self {
        Self(Connection::open(&service.url).await)
    }

    async fn get(&mut self, path: &str) -> f64 {
        let started = Instant::now();
        assert_eq!(self.0.send("GET", path, "").await.0, 200);
        started.elapsed().as_secs_f64() * 1e6
    }

    /// From the submission until the task is claimed: the wait ends with each change.
    async fn run(&mut self, id: &str) -> f64 {
        let body = format!(r#"{{"task_id":"{id}","instruction":"Read."}}"#);
        let path = format!("/tasks/{id}?wait=5");
        let started = Instant::now();
        assert_eq!(self.0.send("POST", "/tasks", &body).await.0, 202);
        loop {
            let (status, body) = self.0.send("GET", &path, "").await;
            assert_eq!(status, 200);
            if String::from_utf8(body).unwrap().contains(r#""status":"running""#) {
                return started.elapsed().as_secs_f64() * 1e6;
            }
        }
    }
}
