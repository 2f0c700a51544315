//! What follows from several variables, from a default that no text can name, or from the environment of the process.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{BrainUrl, Config, ConfigError, Database};
use crate::export;
use crate::sandbox::Limits;

/// Variables whose values are never told to commands.
const SECRETS: &[&str] = &["OPENAI_API_KEY", "API_TOKENS", "DATABASE_URL", "PGPASSWORD"];

impl Config {
    /// How long an ended task is kept; `None`: for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| Duration::from_hours(24 * u64::from(self.retention_days)))
    }

    /// All tokens that clients may bear; refuses to leave a service open to the network.
    pub fn tokens(&self) -> Result<Vec<String>, ConfigError> {
        let split = |text: &str, by: &[char]| -> Vec<String> {
            text.split(by).map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned).collect()
        };
        let mut tokens = Vec::new();
        if let Some(text) = &self.api_tokens {
            tokens.extend(split(text, &[',']));
            if tokens.is_empty() {
                return Err(ConfigError::NoToken("API_TOKENS"));
            }
        }
        if let Some(path) = &self.api_tokens_file {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Tokens { path: path.clone(), source })?;
            let from_file = split(&text, &['\n', ',']);
            if from_file.is_empty() {
                return Err(ConfigError::NoToken("API_TOKENS_FILE"));
            }
            tokens.extend(from_file);
        }
        let exposed = self.listen.filter(|listen| !listen.ip().is_loopback() && !self.allow_anonymous);
        if let (true, Some(listen)) = (tokens.is_empty(), exposed) {
            return Err(ConfigError::Exposed(listen));
        }
        Ok(tokens)
    }

    /// What this process knows that must not get out, in any form: keys, tokens and passwords.
    pub fn secrets(&self) -> Result<Vec<String>, ConfigError> {
        let mut secrets: Vec<String> = self.openai_api_key.iter().map(|key| key.trim().to_owned()).collect();
        let file = self.api_tokens_file.as_ref().map(|path| {
            std::fs::read_to_string(path).map_err(|source| ConfigError::Tokens { path: path.clone(), source })
        });
        for list in self.api_tokens.iter().chain(&file.transpose()?) {
            let tokens = list.split([',', '\n']).map(str::trim).filter(|token| !token.is_empty());
            secrets.extend(tokens.map(str::to_owned));
        }
        let brain = match &self.mcp_server_url {
            BrainUrl::Http(url) | BrainUrl::WebSocket(url) | BrainUrl::Grpc(url) => Some(url),
            BrainUrl::OpenAi | BrainUrl::Script => None,
        };
        secrets.extend(brain.into_iter().chain([&self.openai_base_url]).flat_map(passwords));
        if let Database::Postgres(url) = self.database() {
            // What is no URL is not connected to either.
            secrets.extend(url.reveal().parse().iter().flat_map(passwords));
        }
        secrets.extend(variable("PGPASSWORD").and_then(|password| password.into_string().ok()));
        Ok(secrets)
    }

    /// Whether a bar that moves is out of place: it is somebody's log that has it in it.
    pub fn plain_progress(&self) -> bool {
        self.ci.is_some() || variable("NO_COLOR").is_some()
    }

    /// `EXPORT_DIR`, or its default.
    pub fn scheduled_dir(&self) -> PathBuf {
        self.export_dir.clone().unwrap_or_else(|| self.output_dir.join("export"))
    }

    /// `EXPORT_OPTIONS`, read as the command line of `codex-agent export`.
    pub fn scheduled_options(&self) -> Result<export::Options, ConfigError> {
        let words = shlex::split(self.export_options.as_deref().unwrap_or_default());
        let words = words.ok_or_else(|| ConfigError::Export("a quotation mark is not closed".to_owned()))?;
        export::Options::from_words(&words).map_err(|error| ConfigError::Export(format!("--{error}")))
    }

    /// `LISTEN`, or its default: this machine only, at `port`.
    pub fn listen_at(&self, port: u16) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The header the brain gets.
    pub fn bearer(&self) -> Result<Option<axum::http::HeaderValue>, ConfigError> {
        let Some(key) = &self.openai_api_key else { return Ok(None) };
        let mut value =
            axum::http::HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| ConfigError::Key)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// `DATABASE_URL`, or its default.
    pub fn database(&self) -> Database {
        let default = || Database::Sqlite(self.output_dir.join("codex-agent.db"));
        self.database_url.clone().unwrap_or_else(default)
    }

    /// `REPLAY_DIR`, or where this service keeps its records.
    pub fn replays(&self) -> PathBuf {
        self.replay_dir.clone().unwrap_or_else(|| self.output_dir.join("finetuning_data"))
    }

    /// The names in `ALLOWED_HOSTS`, in lower case.
    pub fn allowed_host_names(&self) -> Vec<String> {
        let names = self.allowed_hosts.iter().flat_map(|text| text.split(','));
        names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
    }

    /// `MAX_COMMANDS`, or its default.
    pub fn commands_at_a_time(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        self.max_commands.map_or_else(|| 2 * cores(), |count| count as usize)
    }

    /// The environment of a command: fixed names, none of which bears a secret, with the service's values, and what
    /// `SANDBOX_ENV` adds. Its `HOME`, `TMPDIR` and `PATH` are the
    /// sandbox's, unless that says otherwise.
    pub fn command_environment(&self) -> Result<Vec<(OsString, OsString)>, ConfigError> {
        const INHERITED: &[&str] = &["USER", "LOGNAME", "LANG", "LC_ALL", "TZ"];
        let inherited = INHERITED.iter().filter_map(|name| Some((OsString::from(name), variable(name)?)));
        let mut environment: Vec<(OsString, OsString)> = inherited.collect();
        environment.push(("TERM".into(), "dumb".into()));
        if let Some(ci) = &self.ci {
            environment.push(("CI".into(), ci.into()));
        }
        let added = self.sandbox_env.iter().flat_map(|list| list.split(',')).map(str::trim);
        for entry in added.filter(|entry| !entry.is_empty()) {
            let (name, value) = match entry.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (entry, variable(entry)),
            };
            if name.is_empty() || SECRETS.contains(&name) {
                return Err(ConfigError::Environment(name.to_owned()));
            }
            environment.retain(|(known, _)| known != name);
            environment.extend(value.map(|value| (name.into(), value)));
        }
        Ok(environment)
    }

    /// What a command may use.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu: self.cmd_max_cpu,
            memory: self.cmd_max_memory,
            processes: self.cmd_max_processes.into(),
            file_size: self.cmd_max_file_size,
            disk: self.cmd_max_disk,
            open_files: self.cmd_max_open_files.into(),
        }
    }

    /// The paths in a list such as `SANDBOX_READ`.
    pub fn paths(list: Option<&OsString>) -> Vec<PathBuf> {
        list.iter().flat_map(std::env::split_paths).filter(|path| !path.as_os_str().is_empty()).collect()
    }

    /// What no command may see, besides `CODE_DIR`'s other workspaces: each with its variable.
    pub fn private(&self) -> Vec<(&'static str, PathBuf)> {
        let mut private = vec![("OUTPUT_DIR", self.output_dir.clone())];
        if let Database::Sqlite(file) = self.database() {
            private.push(("DATABASE_URL", file));
        }
        // What was exported is of other tasks.
        private.extend(self.export_dir.iter().map(|dir| ("EXPORT_DIR", dir.clone())));
        private.extend(self.api_tokens_file.iter().map(|file| ("API_TOKENS_FILE", file.clone())));
        private
    }

    /// Where commands' temporary directories are made, if they cannot have a `/tmp` of their own.
    pub fn temporary() -> PathBuf {
        variable("TMPDIR").map_or_else(|| "/tmp".into(), PathBuf::from)
    }

    /// Where a test wants the process to die.
    #[cfg(feature = "kill-points")]
    pub fn kill_at() -> Option<String> {
        variable("CODEX_AGENT_KILL_AT")?.into_string().ok()
    }

    /// Where programs are looked for.
    pub fn command_path() -> OsString {
        variable("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
    }
}

/// The password in a URL, as it stands there and as it is meant.
fn passwords(url: &reqwest::Url) -> Vec<String> {
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let known = url.password().map(str::to_owned).into_iter();
    let asked = url.query_pairs().filter(|(name, _)| name == "password").map(|(_, password)| password.into_owned());
    known.chain(asked).flat_map(|password| [plain(&password), password]).collect()
}

#[expect(clippy::disallowed_methods, reason = "this is the room that reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
