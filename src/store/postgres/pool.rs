//! The connections, and how a statement is asked on one of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio_util::task::TaskTracker;

use crate::store::StoreError;

/// How long a free connection is waited for, and a new one takes.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server works on one statement at most: by far the longest deletes a task with all its lines.
const STATEMENT: Duration = Duration::from_secs(30);

/// How long its answer is waited for. Beyond that the connection is taken for dead: nothing is heard any more when a network
/// swallows packets.
const ANSWER: Duration = Duration::from_secs(35);

/// Everything here is found by an index. A plan that was made when a table was small enough to be read whole would be kept by
/// its connection until the next statistics, a minute or more, however many tasks come meanwhile.
const INDEXES: (&str, &str) = ("enable_seqscan", "off");

/// A connection that has been idle for longer is asked whether it lives before it is used: the server may have gone away.
const FRESH: Duration = Duration::from_secs(1);

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
        let limit = STATEMENT.as_millis().to_string();
        let options = options
            .application_name("codex-agent")
            .options([("statement_timeout", limit.as_str()), ("client_min_messages", "warning"), INDEXES])
            .disable_statement_logging();
        Ok(Self { options, connections, lease, grace: lease.min(Duration::from_secs(10)) })
    }
}

/// The connections of this process.
#[derive(Clone)]
pub(super) struct Pool {
    pool: PgPool,
    /// What is being asked.
    asking: TaskTracker,
}

impl Pool {
    /// Opens the first one, for what may take its time: the tables are brought up to date.
    pub(super) async fn first(settings: &PostgresSettings) -> Result<PgConnection, StoreError> {
        let options = settings.options.clone().options([("statement_timeout", "0")]);
        let connected = tokio::time::timeout(CONNECT, PgConnection::connect_with(&options)).await;
        let late = |_| StoreError::Open("the server does not answer".into());
        connected.map_err(late)?.map_err(|error| StoreError::Open(error.into()))
    }

    /// Opens the connections as they are needed.
    pub(super) async fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let options = PgPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move {
                    if idle.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        let pool = options.connect_with(settings.options.clone()).await;
        let pool = pool.map_err(|error| StoreError::Open(error.into()))?;
        Ok(Self { pool, asking: TaskTracker::new() })
    }

    /// Asks on a connection. What has been begun is done even if the caller goes away meanwhile: a connection that is given
    /// back in the middle of an answer would be another's trouble.
    pub(super) async fn ask<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let pool = self.pool.clone();
        let asked = self.asking.spawn(async move {
            let mut connection = pool.acquire().await?;
            let answer = tokio::time::timeout(ANSWER, ask(&mut connection)).await;
            let answer = answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the server does not answer".into())));
            if let Err(StoreError::Unavailable(_)) = answer {
                // What is wrong with it does not go away by waiting in the pool.
                drop(connection.detach());
            }
            answer
        });
        asked.await.map_err(|_| StoreError::Closed)?
    }

    /// How many connections there are, and how many of them are idle.
    pub(super) fn connections(&self) -> (u32, u32) {
        (self.pool.size(), u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX))
    }

    /// Lets what is being asked be answered, and closes the connections.
    pub(super) async fn close(&self) {
        self.asking.close();
        self.asking.wait().await;
        self.pool.close().await;
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        match &error {
            PoolClosed => Self::Closed,
            Database(told) => {
                // What is in the way of the step will be next time, too, in these classes of SQLSTATE: data, integrity, and
                // syntax or access.
                let lasting = |code: &str| ["22", "23", "42"].iter().any(|class| code.starts_with(class));
                if told.code().is_some_and(|code| lasting(&code)) {
                    Self::Refused(error.into())
                } else {
                    Self::Unavailable(error.into())
                }
            }
            Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | WorkerCrashed => Self::Unavailable(error.into()),
            // An answer that is not understood will not be next time either.
            _ => Self::Refused(error.into()),
        }
    }
}
