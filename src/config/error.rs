//! What is wrong with settings that are each well-formed.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings that do not go together; the text names the variables.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A default over its own maximum.
    #[error("{0} must not be more than {1}")]
    Order(&'static str, &'static str),
    /// The token file cannot be read.
    #[error("API_TOKENS_FILE: {path}: {source}")]
    Tokens {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A token source without a token would leave the service open.
    #[error("{0}: has no token in it")]
    NoToken(&'static str),
    /// Open to the network without a token.
    #[error(
        "LISTEN: {0} is reachable from other machines and no API_TOKENS are set; set them, or ALLOW_ANONYMOUS=true"
    )]
    Exposed(SocketAddr),
    /// What would be told to commands and must not, or has no name.
    #[error("SANDBOX_ENV: {0:?} cannot be told to commands")]
    Environment(String),
    /// The key cannot stand in a header.
    #[error("OPENAI_API_KEY: has a character that cannot stand in a header")]
    Key,
    /// A flag in `EXPORT_OPTIONS`.
    #[error("EXPORT_OPTIONS: {0}")]
    Export(String),
}
