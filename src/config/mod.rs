//! Everything that can be set: one line of documentation per variable, flags over environment over `.env`.
//!
//! This is the one place that reads the environment. `codex-agent --help` prints this list.

mod derived;
mod error;
mod parse;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use reqwest::Url;

pub use self::error::ConfigError;
use self::parse::{
    address, base_url, brain_url, bytes, count, database, days, many_bytes, retries, rounds, seconds, seed, temperature,
};
use crate::export::Schedule;
use crate::sandbox::{Network, Requirement};

/// The service's configuration. Every option is also a variable of the same name in capitals.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Configuration (flags over environment over .env)")]
pub struct Config {
    /// The brain: http(s)://… or ws(s)://… (with /step behind it), grpc(s)://HOST:PORT, openai: (a model, see `OPENAI_BASE_URL`),
    /// or script: (what stands in the task)
    #[arg(long, env = "MCP_SERVER_URL", default_value = "http://localhost:8000", hide_env_values = true, global = true, value_parser = brain_url)]
    pub mcp_server_url: BrainUrl,

    /// How many times the brain is asked in a task that names no number
    #[arg(long, env = "MAX_MCP_ITERATIONS", default_value_t = 7, global = true, value_name = "N", value_parser = count)]
    pub max_mcp_iterations: u32,

    /// The most iterations a task may ask for
    #[arg(long, env = "MAX_ITERATIONS_LIMIT", default_value_t = 200, global = true, value_name = "N", value_parser = count)]
    pub max_iterations_limit: u32,

    /// How long the brain may take over one step, in seconds
    #[arg(long, env = "MCP_TIMEOUT", default_value = "120", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub mcp_timeout: Duration,

    /// How many times a step is tried again
    #[arg(long, env = "MCP_RETRIES", default_value_t = 5, global = true, value_name = "N", value_parser = retries)]
    pub mcp_retries: u32,

    /// The longest reply taken from a brain, in bytes
    #[arg(long, env = "MAX_REPLY_BYTES", default_value_t = 8 * 1024 * 1024, global = true, value_name = "BYTES", value_parser = bytes)]
    pub max_reply_bytes: usize,

    /// How long a command may run that names no timeout, in seconds
    #[arg(long, env = "CMD_TIMEOUT", default_value = "20", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub cmd_timeout: Duration,

    /// The longest timeout a command may ask for, in seconds
    #[arg(long, env = "CMD_TIMEOUT_MAX", default_value = "600", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub cmd_timeout_max: Duration,

    /// How much of each output stream of a command is kept, in bytes
    #[arg(long, env = "CMD_MAX_OUTPUT", default_value_t = 20_000, global = true, value_name = "BYTES", value_parser = bytes)]
    pub cmd_max_output: usize,

    /// A file of rules that says which commands are refused; it replaces the built-in rules
    #[arg(long, env = "COMMAND_POLICY", global = true, value_name = "FILE")]
    pub command_policy: Option<PathBuf>,

    /// The processor time that a command may use, in seconds
    #[arg(long, env = "CMD_MAX_CPU", default_value = "600", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub cmd_max_cpu: Duration,

    /// The memory that a command may use, in bytes
    #[arg(long, env = "CMD_MAX_MEMORY", default_value_t = 2 << 30, global = true, value_name = "BYTES", value_parser = many_bytes)]
    pub cmd_max_memory: u64,

    /// How many processes and threads a command may have
    #[arg(long, env = "CMD_MAX_PROCESSES", default_value_t = 256, global = true, value_name = "N", value_parser = count)]
    pub cmd_max_processes: u32,

    /// The longest file that a command may write, in bytes
    #[arg(long, env = "CMD_MAX_FILE_SIZE", default_value_t = 1 << 30, global = true, value_name = "BYTES", value_parser = many_bytes)]
    pub cmd_max_file_size: u64,

    /// How much a command may write to disk, in bytes
    #[arg(long, env = "CMD_MAX_DISK", default_value_t = 2 << 30, global = true, value_name = "BYTES", value_parser = many_bytes)]
    pub cmd_max_disk: u64,

    /// How many files a process of a command may have open
    #[arg(long, env = "CMD_MAX_OPEN_FILES", default_value_t = 1024, global = true, value_name = "N", value_parser = count)]
    pub cmd_max_open_files: u32,

    /// Whether commands may run unconfined: required stops the start if they cannot be confined
    #[arg(
        long,
        env = "SANDBOX",
        default_value = "required",
        global = true,
        value_enum,
        value_name = "required|best-effort|off",
        hide_possible_values = true
    )]
    pub sandbox: Requirement,

    /// Directories and files that commands may read besides the system's, separated by colons
    #[arg(long, env = "SANDBOX_READ", global = true, value_name = "PATH:…")]
    pub sandbox_read: Option<OsString>,

    /// Directories that commands may write besides their workspace, separated by colons
    #[arg(long, env = "SANDBOX_WRITE", global = true, value_name = "PATH:…")]
    pub sandbox_write: Option<OsString>,

    /// Variables that commands get besides the fixed ones, separated by commas: NAME as the service has it, or NAME=value
    #[arg(long, env = "SANDBOX_ENV", global = true, value_name = "NAME,…", hide_env_values = true)]
    pub sandbox_env: Option<String>,

    /// Whether commands reach the network: not at all, or as the service does
    #[arg(
        long,
        env = "SANDBOX_NETWORK",
        default_value = "none",
        global = true,
        value_enum,
        value_name = "none|full",
        hide_possible_values = true
    )]
    pub sandbox_network: Network,

    /// The directory whose files the tools work on
    #[arg(long, env = "CODE_DIR", default_value = "/app/code", global = true, value_name = "DIR")]
    pub code_dir: PathBuf,

    /// The directory for the database, the records and the log
    #[arg(long, env = "OUTPUT_DIR", default_value = "/app/output", global = true, value_name = "DIR")]
    pub output_dir: PathBuf,

    /// Sent to the brain, or by openai: to the model's server, as a bearer token
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, global = true, value_name = "KEY")]
    pub openai_api_key: Option<String>,

    /// Where openai: finds /chat/completions
    #[arg(long, env = "OPENAI_BASE_URL", default_value = "https://api.openai.com/v1", hide_env_values = true, global = true, value_name = "URL", value_parser = base_url)]
    pub openai_base_url: Url,

    /// The main model's id: asked by openai:, told to any other brain
    #[arg(long, env = "OPENAI_FINETUNED_MODEL_ID", global = true, value_name = "MODEL")]
    pub openai_finetuned_model_id: Option<String>,

    /// The critique model's id: it reviews what openai: proposes; told to any other brain
    #[arg(long, env = "OPENAI_CRITIQUE_MODEL_ID", global = true, value_name = "MODEL")]
    pub openai_critique_model_id: Option<String>,

    /// How many times the critique model may send a proposed action back, in one step of openai:
    #[arg(long, env = "CRITIQUE_ROUNDS", default_value_t = 1, global = true, value_name = "N", value_parser = rounds)]
    pub critique_rounds: u32,

    /// The sampling temperature that openai: asks for [default: the server's own]
    #[arg(long, env = "OPENAI_TEMPERATURE", global = true, value_name = "0…2", value_parser = temperature)]
    pub openai_temperature: Option<f64>,

    /// The seed that openai: asks for, where the server has one
    #[arg(long, env = "OPENAI_SEED", global = true, value_name = "N", allow_hyphen_values = true, value_parser = seed)]
    pub openai_seed: Option<i64>,

    /// How many tokens the main model takes, prompt and answer together: openai: shortens old results before that
    /// [default: unknown; they are shortened once the server has refused]
    #[arg(long, env = "OPENAI_CONTEXT_TOKENS", global = true, value_name = "TOKENS", value_parser = count)]
    pub openai_context_tokens: Option<u32>,

    /// Where script: finds the records that a task wants replayed [default: `OUTPUT_DIR/finetuning_data`]
    #[arg(long, env = "REPLAY_DIR", global = true, value_name = "DIR")]
    pub replay_dir: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1:8080, for the brain 127.0.0.1:8000]
    #[arg(long, env = "LISTEN", global = true, value_name = "IP:PORT", value_parser = address)]
    pub listen: Option<SocketAddr>,

    /// Tokens that clients must bear, separated by commas
    #[arg(long, env = "API_TOKENS", hide_env_values = true, global = true, value_name = "TOKEN,…")]
    pub api_tokens: Option<String>,

    /// A file with such tokens, one a line
    #[arg(long, env = "API_TOKENS_FILE", global = true, value_name = "FILE")]
    pub api_tokens_file: Option<PathBuf>,

    /// Listen beyond loopback without a token: whoever reaches the port may run commands
    #[arg(long, env = "ALLOW_ANONYMOUS", global = true, default_value = "false", num_args = 0..=1,
          default_missing_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub allow_anonymous: bool,

    /// Names under which clients may reach the service besides its addresses, separated by commas; * for any
    #[arg(long, env = "ALLOWED_HOSTS", global = true, value_name = "HOST,…")]
    pub allowed_hosts: Option<String>,

    /// What this process does: everything, HTTP alone, or tasks alone (with HTTP for probes and figures); api and worker need a
    /// `DATABASE_URL` of PostgreSQL
    #[arg(
        long,
        env = "ROLE",
        default_value = "all",
        global = true,
        value_enum,
        value_name = "all|api|worker",
        hide_possible_values = true
    )]
    pub role: Role,

    /// Where tasks are kept: `sqlite://PATH` for one service, `postgres://…` for many workers on one queue [default: `OUTPUT_DIR`/codex-agent.db]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL", value_parser = database)]
    pub database_url: Option<Database>,

    /// How many connections to PostgreSQL this process has at most, besides one that listens and one that renews leases
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8, global = true, value_name = "N", value_parser = count)]
    pub database_connections: u32,

    /// How long the service may stand still before another one may take its tasks over, in seconds
    #[arg(long, env = "LEASE", default_value = "30", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub lease: Duration,

    /// How many workers may die over a task without a new iteration, before it fails
    #[arg(long, env = "LOST_LIMIT", default_value_t = 5, global = true, value_name = "N", value_parser = count)]
    pub lost_limit: u32,

    /// How many days a task and its record are kept after its end; 0: for ever
    #[arg(long, env = "RETENTION_DAYS", default_value_t = 0, global = true, value_name = "DAYS", value_parser = days)]
    pub retention_days: u32,

    /// When records become training data by themselves, in the syntax of cron and in UTC, as in `17 3 * * *`; one worker does it
    #[arg(long, env = "EXPORT_SCHEDULE", global = true, value_name = "CRON")]
    pub export_schedule: Option<Schedule>,

    /// Where they are exported to by schedule [default: `OUTPUT_DIR/export`]
    #[arg(long, env = "EXPORT_DIR", global = true, value_name = "DIR")]
    pub export_dir: Option<PathBuf>,

    /// What is exported by schedule: flags of `codex-agent export`, as in `--format hf --dedupe`
    #[arg(long, env = "EXPORT_OPTIONS", global = true, value_name = "FLAGS", allow_hyphen_values = true)]
    pub export_options: Option<String>,

    /// How many tasks run at a time
    #[arg(long, env = "MAX_RUNNING", default_value_t = 256, global = true, value_name = "N", value_parser = count)]
    pub max_running: u32,

    /// How many commands run at a time [default: twice the cores]
    #[arg(long, env = "MAX_COMMANDS", global = true, value_name = "N", value_parser = count)]
    pub max_commands: Option<u32>,

    /// How many tasks may wait
    #[arg(long, env = "MAX_QUEUED", default_value_t = 100_000, global = true, value_name = "N", value_parser = count)]
    pub max_queued: u32,

    /// The longest request body, in bytes
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = 1024 * 1024, global = true, value_name = "BYTES", value_parser = bytes)]
    pub max_body_bytes: usize,

    /// How long a client may take over the head of a request, in seconds; also how long an idle connection is kept
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "30", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub header_timeout: Duration,

    /// How long what runs may take to come to rest after SIGTERM, in seconds
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "25", global = true, value_name = "SECONDS", value_parser = seconds)]
    pub shutdown_grace: Duration,

    /// Set (to anything): package installs are refused whatever the rules say; told to commands
    #[arg(long, env = "CI", global = true, value_name = "ANY", hide_env_values = true)]
    pub ci: Option<String>,

    /// How log lines look
    #[arg(
        long,
        env = "LOG_FORMAT",
        default_value = "text",
        global = true,
        value_enum,
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,

    /// Which log lines are written, as for tracing's `EnvFilter` [default: info; for a task in the foreground: warn]
    #[arg(long, env = "RUST_LOG", global = true, value_name = "FILTER")]
    pub rust_log: Option<String>,
}

/// Where the brain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrainUrl {
    /// At the other end of a connection: a question, an answer.
    Http(Url),
    /// At the other end of one connection for all tasks.
    WebSocket(Url),
    /// The same, over HTTP/2.
    Grpc(Url),
    /// In this process: a model at `OPENAI_BASE_URL`.
    OpenAi,
    /// In this process: the task's own steps.
    Script,
}

/// Where tasks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In one file.
    Sqlite(PathBuf),
    /// In a PostgreSQL database.
    Postgres(DatabaseUrl),
}

/// A database's URL. It may bear a password, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub(super) String);

impl DatabaseUrl {
    /// The whole of it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("postgres://…")
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything.
    All,
    /// It answers clients, and runs nothing.
    Api,
    /// It runs tasks, and answers probes alone.
    Worker,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Config {
    /// Where the service listens if nothing is said.
    pub const SERVE_PORT: u16 = 8080;
    /// Where the brain listens if nothing is said; `MCP_SERVER_URL`'s default leads there.
    pub const BRAIN_PORT: u16 = 8000;

    /// The defaults, whatever the environment says.
    pub fn defaults() -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("defaults").no_binary_name(true));
        let blind = command.mut_args(|argument| argument.env(None::<&'static str>));
        Self::from_arg_matches(&blind.try_get_matches_from(None::<&str>)?)
    }

    /// Puts the variables of a `.env` file in or above the working directory behind those of the environment. To be
    /// called before any thread is started.
    pub fn load_dotenv() -> Result<(), String> {
        match dotenvy::dotenv() {
            Ok(_) => Ok(()),
            Err(error) if error.not_found() => Ok(()),
            Err(error) => Err(format!(".env: {}", error.to_string().replace('\n', " "))),
        }
    }

    /// Whether a variable is there but empty, as a compose file passes on what is not set; it counts as not set.
    #[expect(clippy::disallowed_methods, reason = "this is the room that reads the environment")]
    pub fn is_blank(name: &std::ffi::OsStr) -> bool {
        std::env::var_os(name).is_some_and(|value| value.is_empty())
    }

    /// Checks what one variable's parser cannot see, and drops variables that are set to nothing.
    pub fn checked(mut self) -> Result<Self, ConfigError> {
        for text in [
            &mut self.openai_api_key,
            &mut self.openai_finetuned_model_id,
            &mut self.openai_critique_model_id,
            &mut self.api_tokens,
            &mut self.allowed_hosts,
            &mut self.export_options,
            &mut self.ci,
        ] {
            *text = text.take().filter(|text| !text.trim().is_empty());
        }
        if self.max_mcp_iterations > self.max_iterations_limit {
            return Err(ConfigError::Order("MAX_MCP_ITERATIONS", "MAX_ITERATIONS_LIMIT"));
        }
        if self.cmd_timeout > self.cmd_timeout_max {
            return Err(ConfigError::Order("CMD_TIMEOUT", "CMD_TIMEOUT_MAX"));
        }
        self.bearer()?;
        self.scheduled_options()?;
        Ok(self)
    }
}
