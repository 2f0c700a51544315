//! Puts the parts together: store → scheduler → router. No logic of its own.
//!
//! ```text
//!  build: config ─► store, recorder, brain, toolbox ─► runner ─► scheduler
//!                                                   └─► http::Api ─► router
//!  run:   scheduler and router side by side; shutdown ─► drain ─► (grace) ─► halt ─► close
//! ```

mod brains;
mod database;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::brains::models;
pub use self::brains::{Inside, brain, inside, openai, script_brain};
use self::database::Opened;
pub use self::database::archive;
use crate::brain::OpenAiSetupError;
use crate::config::{Config, ConfigError, Role};
use crate::domain::{SpecLimits, TaskId};
use crate::export::{Directory, ExportError, Mode};
use crate::http::server::{self, Patience};
use crate::http::{self, Api, Guard};
use crate::metrics::Metrics;
use crate::recorder::{RecordError, Recorder};
use crate::run::{RunSettings, Runner};
use crate::sandbox::{self, Sandbox};
use crate::scheduler::{ScheduledExports, Scheduler, SchedulerSettings};
use crate::store::{Store, StoreError};
use crate::tools::{self, PathError, Policy, PolicyError, Settings, Toolbox};

/// After the tasks have come to rest, this long for answers that are still being sent.
const HTTP_GRACE: Duration = Duration::from_secs(5);

/// For the files of records when all else is at rest: what they lack is in the store, and written later.
const CLOSE: Duration = Duration::from_secs(5);

/// The assembled service.
pub struct App {
    /// Where tasks are kept.
    pub store: Arc<dyn Store>,
    /// Where records are kept.
    pub recorder: Arc<Recorder>,
    /// What the HTTP side needs.
    pub api: Api,
    role: Role,
    scheduler: Arc<Scheduler>,
    exports: Option<ScheduledExports>,
    drain: CancellationToken,
    halt: CancellationToken,
    grace: Duration,
    patience: Patience,
    /// Held as long as the service lives.
    _lock: File,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The rules for commands.
    #[error("COMMAND_POLICY: {0}")]
    Policy(#[from] PolicyError),
    /// `CODE_DIR` cannot be used.
    #[error("CODE_DIR: {0}")]
    CodeDir(#[source] PathError),
    /// `OUTPUT_DIR` cannot be used.
    #[error("OUTPUT_DIR: {path}: {source}")]
    OutputDir {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two services would each take the other's tasks for abandoned.
    #[error("OUTPUT_DIR: {0} is held by another codex-agent; submit tasks to that one, or use another directory")]
    InUse(PathBuf),
    /// The database.
    #[error("DATABASE_URL: {database}: {source}")]
    Store {
        /// Which file, or which server.
        database: String,
        /// Why.
        source: StoreError,
    },
    /// One service has an SQLite file, and does everything.
    #[error("ROLE: {0} needs a DATABASE_URL of PostgreSQL: an SQLite file is one service's")]
    Role(&'static str),
    /// Commands cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] sandbox::StartError),
    /// The records.
    #[error("OUTPUT_DIR: {0}")]
    Record(#[from] RecordError),
    /// The client for the brain.
    #[error("MCP_SERVER_URL: {0}")]
    Brain(#[from] crate::brain::SetupError),
    /// Nothing could be exported there.
    #[error("EXPORT_DIR: {0}")]
    ExportDir(#[source] ExportError),
    /// `openai:` without a model to ask.
    #[error("OPENAI_FINETUNED_MODEL_ID: must name the model that MCP_SERVER_URL=openai: asks")]
    NoModel,
    /// The client for the model.
    #[error(transparent)]
    OpenAi(#[from] OpenAiSetupError),
}

/// Builds the service. With `only`, it runs that task and leaves all others in the queue.
pub async fn build(config: &Config, only: Option<TaskId>) -> Result<App, StartError> {
    #[cfg(feature = "kill-points")]
    if let Some(point) = Config::kill_at() {
        assert!(crate::kill_point::arm(&point), "CODEX_AGENT_KILL_AT: there is no point {point}");
    }
    sandbox::hide_this_process();
    let toolbox = Arc::new(toolbox(config).await?);
    toolbox.workspace(None).map_err(StartError::CodeDir)?;
    let Opened { store, clock, lock } = database::open(config).await?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), clock.now());
    let recorder = Arc::new(Recorder::open(&config.output_dir, Arc::clone(&store))?);
    let brain = brain(config, Arc::clone(&clock))?;
    let (drain, halt) = (CancellationToken::new(), CancellationToken::new());

    let runner = Arc::new(Runner::new(RunSettings {
        store: Arc::clone(&store),
        recorder: Arc::clone(&recorder),
        brain,
        toolbox: Arc::clone(&toolbox),
        clock: Arc::clone(&clock),
        models: models(config),
        metrics: metrics.clone(),
    }));
    let worker = database::new_worker_id();
    let exports = match (&config.export_schedule, &only) {
        (Some(schedule), None) => Some(ScheduledExports {
            schedule: schedule.clone(),
            dir: export_dir(config)?,
            options: config.scheduled_options()?,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            worker: worker.clone(),
            lease: config.lease,
            tools: tools::schemas(),
            secrets: config.secrets()?,
            stop: drain.clone(),
        }),
        _ => None,
    };
    let scheduler = Scheduler::new(SchedulerSettings {
        store: Arc::clone(&store),
        runner,
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        worker,
        lease: config.lease,
        max_running: config.max_running,
        lost_limit: config.lost_limit,
        retention: config.retention(),
        only,
        drain: drain.clone(),
        halt: halt.clone(),
    });
    let api = Api {
        store: Arc::clone(&store),
        recorder: Arc::clone(&recorder),
        toolbox,
        clock,
        metrics,
        new_id: new_task_id,
        output_dir: config.output_dir.clone(),
        limits: SpecLimits {
            default_iterations: config.max_mcp_iterations,
            max_iterations: config.max_iterations_limit,
        },
        max_queued: config.max_queued,
        max_body_bytes: config.max_body_bytes,
        secrets: config.secrets()?.into(),
        exports: Arc::new(Semaphore::new(1)),
        drain: drain.clone(),
    };
    Ok(App {
        store,
        recorder,
        api,
        role: config.role,
        scheduler,
        exports,
        drain,
        halt,
        grace: config.shutdown_grace,
        patience: Patience { header: config.header_timeout, grace: HTTP_GRACE },
        _lock: lock,
    })
}

/// Serves until `shutdown`, then lets what runs come to rest, and answers until it has.
pub async fn run(
    app: App,
    listener: TcpListener,
    guard: &Guard,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StoreError> {
    let stop_http = CancellationToken::new();
    let router = match app.role {
        Role::All | Role::Api => http::router(app.api.clone(), guard),
        Role::Worker => http::probes(app.api.clone(), guard),
    };
    let serving = server::serve(listener, router, stop_http.clone(), app.patience);
    let working = async {
        let worked = work(&app, shutdown).await;
        stop_http.cancel();
        worked
    };
    let (worked, ()) = tokio::join!(working, serving);
    app.close().await;
    worked
}

/// Runs tasks until `shutdown`, then lets them come to rest within the grace period.
pub async fn work(app: &App, shutdown: impl Future<Output = ()>) -> Result<(), StoreError> {
    let scheduling = async {
        match app.role {
            Role::All | Role::Worker => {
                let exporting = async {
                    if let Some(exports) = &app.exports {
                        exports.run().await;
                    }
                };
                let running = async {
                    let ended = Arc::clone(&app.scheduler).run().await;
                    // Without tasks there is nothing to be exported any more.
                    app.drain.cancel();
                    ended
                };
                tokio::join!(running, exporting).0
            }
            Role::Api => {
                app.drain.cancelled().await;
                Ok(())
            }
        }
    };
    tokio::pin!(scheduling);
    tokio::select! {
        ended = &mut scheduling => return ended,
        () = app.store.displaced() => {
            // Whatever runs here is somebody else's by now.
            app.halt();
            scheduling.await?;
            return Err(StoreError::Displaced);
        }
        () = shutdown => {}
    }
    tracing::info!(grace = ?app.grace, "stopping: no new tasks are taken up");
    app.drain.cancel();
    tokio::select! {
        ended = &mut scheduling => return ended,
        () = tokio::time::sleep(app.grace) => {}
    }
    tracing::warn!("the grace period is over: what still runs is left for the next start");
    app.halt.cancel();
    scheduling.await
}

impl App {
    /// Cancelled, it ends the grace period.
    pub fn halt_handle(&self) -> CancellationToken {
        self.halt.clone()
    }

    /// What confines commands.
    pub fn sandbox_status(&self) -> &sandbox::Status {
        self.api.toolbox.sandbox().status()
    }

    /// The last thing to be called: lets go of everything that outlives a run.
    pub async fn close(&self) {
        self.api.toolbox.sandbox().close().await;
        if tokio::time::timeout(CLOSE, self.recorder.close()).await.is_err() {
            tracing::warn!("records' files are left behind the store: the database or the disk does not answer");
        }
        self.store.close().await;
    }

    /// Stops what runs without a grace period.
    pub fn halt(&self) {
        self.drain.cancel();
        self.halt.cancel();
    }
}

/// Where it is exported to by schedule. What could not be written there would be found out at night.
fn export_dir(config: &Config) -> Result<PathBuf, StartError> {
    let dir = config.scheduled_dir();
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = std::fs::create_dir_all(above).and_then(|()| tempfile::tempfile_in(above).map(drop));
    let failed = |source| ExportError::File { path: above.to_owned(), source };
    made.map_err(failed).and_then(|()| Directory::check(&dir, Mode::Incremental)).map_err(StartError::ExportDir)?;
    Ok(dir)
}

async fn toolbox(config: &Config) -> Result<Toolbox, StartError> {
    let mut sandboxed = config.clone();
    if config.role == Role::Api {
        // It runs no commands.
        sandboxed.sandbox = sandbox::Requirement::Off;
    }
    // Absolute, so that a brain may name files as `pwd` shows them. One that does not exist is refused later, by name.
    let code_dir = config.code_dir.canonicalize().unwrap_or_else(|_| config.code_dir.clone());
    let settings = Settings {
        timeout: config.cmd_timeout,
        timeout_max: config.cmd_timeout_max,
        max_output: config.cmd_max_output,
        max_commands: config.commands_at_a_time(),
        sandbox: Arc::new(sandbox(&sandboxed).await?),
        limits: config.limits(),
        policy: Arc::new(policy(config)?),
    };
    Ok(Toolbox::new(code_dir, settings))
}

/// The walls for commands.
pub async fn sandbox(config: &Config) -> Result<Sandbox, StartError> {
    let settings = sandbox::Settings {
        requirement: config.sandbox,
        network: config.sandbox_network,
        read: Config::paths(config.sandbox_read.as_ref()),
        write: Config::paths(config.sandbox_write.as_ref()),
        environment: config.command_environment()?,
        path: Config::command_path(),
        limits: config.limits(),
        private: config.private().into_iter().map(|(variable, path)| (variable, canonical(&path))).collect(),
        code_dir: canonical(&config.code_dir),
        temporary: canonical(&Config::temporary()),
        // The file that runs, even if another has taken its place since.
        supervisor: PathBuf::from("/proc/self/exe"),
    };
    Ok(Sandbox::new(settings).await?)
}

/// Where a path leads, also if its last parts are not there yet.
fn canonical(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), absolute.strip_prefix(above)) {
            return real.components().chain(rest.components()).collect();
        }
    }
    absolute
}

/// The rules for commands that the configuration asks for.
pub fn policy(config: &Config) -> Result<Policy, StartError> {
    Ok(Policy::load(config.command_policy.as_deref(), config.ci.is_some())?)
}

/// A name for a task that comes without one; later ones sort behind earlier ones.
#[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
pub fn new_task_id() -> TaskId {
    uuid::Uuid::now_v7().into()
}
