//! The connections, and how a statement is asked on one of them.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::store::StoreError;

/// How long a free connection is waited for, and a new one takes.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server works on one statement at most: by far the longest deletes a task with all its lines.
const STATEMENT: Duration = Duration::from_secs(30);

/// How long an answer is waited for, at least and at most. Beyond that the connection is taken for dead: nothing is heard any
/// more when a network swallows packets. Others are tried before a lease runs out: so many times.
const ANSWER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
const ANSWERS: u32 = 3;

/// Everything here is found by an index. A plan that was made when a table was small enough to be read whole would be kept by
/// its connection until the next statistics, a minute or more, however many tasks come meanwhile. And in the index's order, one
/// row after the other: who takes a planner's word that there are few, reads all that there are and sorts them.
const INDEXES: [(&str, &str); 2] = [("enable_seqscan", "off"), ("enable_bitmapscan", "off")];

/// A connection that has been idle for longer is asked whether it lives before it is used, and has so long to say so: the server
/// may have gone away.
const FRESH: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(1);

/// Where the database is, and how it is used.
#[derive(Clone)]
pub struct PostgresSettings {
    pub(super) options: PgConnectOptions,
    pub(super) connections: u32,
    /// How long a worker holds a task without renewing.
    pub(super) lease: Duration,
    /// How long after the server's start nobody is taken for dead: who lives renews in that time.
    pub grace: Duration,
}

/// The server's name, port and database, without what is secret.
impl fmt::Display for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        write!(f, "postgres://{host}:{}/{database}", options.get_port())
    }
}

impl PostgresSettings {
    /// From a URL such as `postgres://user:password@host:5432/name`.
    pub fn new(url: &str, connections: u32, lease: Duration) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::Open(error.into()))?;
        let (limit, dead) = (STATEMENT.as_millis().to_string(), lease.max(CONNECT).as_millis().to_string());
        let options = options
            .application_name("codex-agent")
            .options([
                ("statement_timeout", limit.as_str()),
                // Whoever does not take its answer (a machine that is gone) holds no lock for longer.
                ("tcp_user_timeout", dead.as_str()),
                ("default_transaction_isolation", "read committed"),
                ("client_min_messages", "warning"),
            ])
            .options(INDEXES)
            .disable_statement_logging();
        Ok(Self { options, connections, lease, grace: lease.min(Duration::from_secs(10)) })
    }
}

/// A few connections, each used for one question at a time.
///
/// Not sqlx's pool, which asks the server once more whenever a connection is given back, and waits for that without an end: it
/// cost a second journey for each statement, and where the network had swallowed a connection its place was lost.
#[derive(Clone)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    options: PgConnectOptions,
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    free: Arc<Semaphore>,
    size: usize,
    answer: Duration,
    /// What is being asked.
    asking: TaskTracker,
}

impl Pool {
    /// For what everybody asks.
    pub(super) fn for_all(settings: &PostgresSettings) -> Self {
        let answer = (settings.lease / ANSWERS).clamp(ANSWER.0, ANSWER.1);
        Self::new(settings, settings.connections as usize, answer)
    }

    /// For beats alone: they must not wait for those whose answers do not come.
    pub(super) fn for_beats(settings: &PostgresSettings) -> Self {
        Self::new(settings, 1, (settings.lease / ANSWERS).clamp(CONNECT / 5, CONNECT))
    }

    fn new(settings: &PostgresSettings, size: usize, answer: Duration) -> Self {
        let (options, free) = (settings.options.clone(), Arc::new(Semaphore::new(size)));
        let inner = Inner { options, idle: Mutex::default(), free, size, answer, asking: TaskTracker::new() };
        Self { inner: Arc::new(inner) }
    }

    /// A connection for what may take its time: the tables are brought up to date.
    pub(super) async fn first(settings: &PostgresSettings) -> Result<PgConnection, StoreError> {
        let options = settings.options.clone().options([("statement_timeout", "0")]);
        connect(&options).await.map_err(|error| match error {
            StoreError::Unavailable(cause) | StoreError::Refused(cause) => StoreError::Open(cause),
            other => other,
        })
    }

    /// Asks on a connection. What has been begun is done even if the caller goes away meanwhile: a connection that is given
    /// back in the middle of an answer would be another's trouble.
    pub(super) async fn ask<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.ask_within(self.inner.answer, ask).await
    }

    /// The same where the answer may take longer.
    pub(super) async fn ask_long<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.ask_within(STATEMENT + CONNECT, ask).await
    }

    async fn ask_within<T, F>(&self, patience: Duration, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let asked = self.inner.asking.spawn(async move {
            let place = tokio::time::timeout(CONNECT, Arc::clone(&inner.free).acquire_owned()).await;
            let place = place.map_err(|_| StoreError::Unavailable("all connections are in use".into()))?;
            let place = place.map_err(|_| StoreError::Closed)?;
            let mut connection = inner.connection().await?;
            let answer = tokio::time::timeout(patience, ask(&mut connection)).await;
            let answer = answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the server does not answer".into())));
            // What is wrong with a connection does not go away by waiting.
            if !matches!(answer, Err(StoreError::Unavailable(_))) && !inner.free.is_closed() {
                inner.idle().push((connection, Instant::now()));
            }
            drop(place);
            answer
        });
        asked.await.map_err(|_| StoreError::Closed)?
    }

    /// How many connections are idle, and how many in use.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.inner.idle().len(), self.inner.size.saturating_sub(self.inner.free.available_permits()))
    }

    /// Lets what is being asked be answered, for a while, and closes the connections.
    pub(super) async fn close(&self) {
        let closing = async {
            self.inner.asking.close();
            self.inner.asking.wait().await;
            let idle = std::mem::take(&mut *self.inner.idle());
            for (connection, _) in idle {
                if let Err(error) = connection.close().await {
                    tracing::debug!(%error, "a connection was lost before it was closed");
                }
            }
        };
        if tokio::time::timeout(CONNECT, closing).await.is_err() {
            tracing::warn!("the database does not answer: its connections are dropped");
        }
        self.inner.free.close();
        self.inner.idle().clear();
    }
}

impl Inner {
    async fn connection(&self) -> Result<PgConnection, StoreError> {
        loop {
            let Some((mut connection, since)) = self.idle().pop() else { return connect(&self.options).await };
            // The server may have gone away meanwhile.
            if since.elapsed() < FRESH || matches!(tokio::time::timeout(PING, connection.ping()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        // A panic cannot leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let late = |_| StoreError::Unavailable("the server does not answer".into());
    Ok(tokio::time::timeout(CONNECT, PgConnection::connect_with(options)).await.map_err(late)??)
}
