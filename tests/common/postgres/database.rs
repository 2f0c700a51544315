//! One database of a cluster, and what tests do with it.

use std::sync::Arc;

use super::{Postgres, USER};

/// One of its databases, fresh.
pub struct Database {
    pub cluster: Arc<Postgres>,
    pub name: String,
}

impl Database {
    pub(super) fn new(cluster: &Arc<Postgres>, name: String) -> Self {
        Self { cluster: Arc::clone(cluster), name }
    }

    /// What a service is given to find it.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@localhost/{}?host={}", self.name, self.cluster.directory().display())
    }

    /// The same by way of a loopback port, for instance a proxy's.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{}?sslmode=disable", self.name)
    }

    /// What these statements give, as `psql` prints it.
    pub async fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same where the server may not be there.
    pub async fn try_psql(&self, sql: &str) -> Result<String, String> {
        self.cluster.psql(&self.name, sql).await
    }

    /// Ends all connections to it but the one that does so; how many there were.
    pub async fn terminate_all(&self) -> u32 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.psql(sql).await.parse().unwrap()
    }
}
