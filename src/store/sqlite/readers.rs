//! The connections that only read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::store::StoreError;

/// Reads at a time: they are short, and a waiting one is cheaper than a connection with its cache.
const READERS: usize = 4;

/// A few connections, each used by one read at a time, off the async threads.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Semaphore,
}

impl Readers {
    /// Opens a file that has its tables.
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        let idle = (0..READERS).map(|_| connect(file)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), free: Semaphore::new(READERS) })
    }

    /// Asks the tables. A question that was begun is answered even if the caller has gone.
    pub(super) async fn read<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let _free = self.free.acquire().await.map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let asked = tokio::task::spawn_blocking(move || {
            let db = lock(&idle).pop().ok_or(StoreError::Closed)?;
            let answer = ask(&db);
            lock(&idle).push(db);
            answer
        });
        asked.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets no more questions in and closes the connections.
    pub(super) fn close(&self) {
        self.free.close();
        lock(&self.idle).clear();
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    // A panic cannot leave the list half changed.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(super::BUSY_TIMEOUT)?;
    Ok(db)
}
