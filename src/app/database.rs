//! Opens where tasks are kept, and makes sure that `OUTPUT_DIR` belongs to it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use super::{StartError, canonical};
use crate::config::{Config, Database, Role};
use crate::domain::{Clock, SystemClock, WorkerId};
use crate::store::{
    Archive, PostgresSettings, PostgresStore, SqliteStore, Store, StoreError, open_postgres, open_sqlite,
};

/// What has been opened.
pub(super) struct Opened {
    pub store: Arc<dyn Store>,
    /// All who share a database go by its clock.
    pub clock: Arc<dyn Clock>,
    /// Held as long as the service lives.
    pub lock: File,
}

/// Opens the database that the configuration names.
pub(super) async fn open(config: &Config) -> Result<Opened, StartError> {
    match config.database() {
        Database::Sqlite(_) if config.role == Role::Api => Err(StartError::Role("api")),
        Database::Sqlite(_) if config.role == Role::Worker => Err(StartError::Role("worker")),
        Database::Sqlite(file) => {
            let lock = lock(&config.output_dir, &canonical(&file).into_os_string().into_vec(), Sharing::SameDatabase)?;
            let store = SqliteStore::open(&file, config.lease).await.map_err(|source| match source {
                StoreError::Held => StartError::InUse(file),
                source => StartError::Store { database: file.display().to_string(), source },
            })?;
            Ok(Opened { store: Arc::new(store), clock: Arc::new(SystemClock), lock })
        }
        Database::Postgres(url) => {
            let settings = PostgresSettings::new(url.reveal(), config.database_connections, config.lease);
            let failed = |database: &str, source| StartError::Store { database: database.to_owned(), source };
            let settings = settings.map_err(|source| failed("postgres", source))?;
            let name = settings.to_string();
            let lock = lock(&config.output_dir, name.as_bytes(), Sharing::Nobody)?;
            let store = PostgresStore::open(settings).await.map_err(|source| failed(&name, source))?;
            let clock = store.clock();
            Ok(Opened { store: Arc::new(store), clock: Arc::new(clock), lock })
        }
    }
}

/// Opens it to read what has ended, beside the services that work with it.
pub async fn archive(config: &Config) -> Result<Arc<dyn Archive>, StartError> {
    match config.database() {
        Database::Sqlite(file) => {
            let failed = |source| StartError::Store { database: file.display().to_string(), source };
            open_sqlite(&file).await.map_err(failed)
        }
        Database::Postgres(url) => {
            let failed = |database: &str, source| StartError::Store { database: database.to_owned(), source };
            let settings = PostgresSettings::new(url.reveal(), config.database_connections, config.lease);
            let settings = settings.map_err(|source| failed("postgres", source))?;
            open_postgres(&settings).await.map_err(|source| failed(&settings.to_string(), source))
        }
    }
}

/// A name for this life of this process, that people find the machine by.
#[expect(clippy::disallowed_methods, reason = "here and in new_task_id ids are made")]
pub(super) fn new_worker_id() -> WorkerId {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (_, random) = uuid::Uuid::now_v7().as_u64_pair();
    // As long as the names of Kubernetes' own children.
    WorkerId::from(format!("{host}-{:010x}", random & 0xff_ffff_ffff).as_str())
}

/// With whom a process shares its directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// With whoever has the same database: its lease decides who works.
    SameDatabase,
    /// The files of many workers are each one's own.
    Nobody,
}

/// The directory, which no service with another database may use.
fn lock(dir: &Path, name: &[u8], sharing: Sharing) -> Result<File, StartError> {
    let path = dir.join(".lock");
    let failed = |source| StartError::OutputDir { path: path.clone(), source };
    std::fs::create_dir_all(dir).map_err(|source| StartError::OutputDir { path: dir.to_owned(), source })?;
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => lock.set_len(0).and_then(|()| lock.write_all(name)).map_err(failed)?,
        Err(TryLockError::WouldBlock) if sharing == Sharing::Nobody => return Err(StartError::InUse(path)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    if sharing == Sharing::Nobody {
        return Ok(lock);
    }
    lock.lock_shared().map_err(failed)?;
    // Only now it is certain whose it is: between the two locks another one may have come.
    let mut held_for = Vec::new();
    lock.rewind().and_then(|()| lock.read_to_end(&mut held_for)).map_err(failed)?;
    if held_for == name { Ok(lock) } else { Err(StartError::InUse(path)) }
}
