//! The connections that only read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::store::StoreError;

/// Reads at a time: they are short, and a waiting one is cheaper than a connection with its cache.
const READERS: usize = 4;

/// A few connections, each used by one read at a time, off the async threads.
#[derive(Clone)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
}

impl Readers {
    /// Opens a file that has its tables.
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        let idle = (0..READERS).map(|_| connect(file)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), free: Arc::new(Semaphore::new(READERS)) })
    }

    /// Asks the tables. A question that was begun is answered even if the caller has gone.
    pub(super) async fn read<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let free = Arc::clone(&self.free).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let asked = tokio::task::spawn_blocking(move || {
            let db = lock(&idle).pop().ok_or(StoreError::Closed)?;
            let answer = ask(&db);
            if !free.semaphore().is_closed() {
                lock(&idle).push(db);
            }
            // Only now: whoever gets it finds a connection.
            drop(free);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn one_who_stops_waiting_takes_no_connection_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let readers = Readers::open(&file).unwrap();
        let (go, slow) = mpsc::channel::<()>();
        let slow = Arc::new(Mutex::new(slow));
        for _ in 0..READERS {
            let slow = Arc::clone(&slow);
            let mut reading = Box::pin(readers.read(move |_| {
                slow.lock().unwrap().recv().unwrap();
                Ok(())
            }));
            // Begun, and given up.
            assert!(futures_util::poll!(&mut reading).is_pending());
        }
        let mut reading = Box::pin(readers.read(|_| Ok(())));
        assert!(futures_util::poll!(&mut reading).is_pending());
        (0..READERS).for_each(|_| go.send(()).unwrap());
        reading.await.unwrap();
    }
}
