//! How the text of a variable becomes its value. The errors complete the line that names the variable.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;

use super::{BrainUrl, Database, DatabaseUrl};

pub(super) fn count(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err(format!("must be a whole number from 1 to {}", u32::MAX)),
    }
}

pub(super) fn days(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(days @ 0..=36_500) => Ok(days),
        _ => Err("must be a whole number of days from 0 to 36500".to_owned()),
    }
}

pub(super) fn retries(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(count @ 0..=100) => Ok(count),
        _ => Err("must be a whole number from 0 to 100".to_owned()),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| "must be an IP address and a port, as in 127.0.0.1:8080".to_owned())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim().parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds from 1 to 86400".to_owned()),
    }
}

pub(super) fn bytes(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(bytes @ 1..=0x4000_0000) => Ok(bytes),
        _ => Err("must be a whole number of bytes from 1 to 1073741824".to_owned()),
    }
}

pub(super) fn many_bytes(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        // Room for what is added to and multiplied with it.
        Ok(bytes @ 4096..=0x0fff_ffff_ffff_ffff) => Ok(bytes),
        _ => Err("must be a whole number of bytes, at least 4096".to_owned()),
    }
}

pub(super) fn brain_url(text: &str) -> Result<BrainUrl, String> {
    let url = Url::parse(text.trim())
        .map_err(|error| format!("is not a URL ({error}); use http(s)://, ws(s)://, grpc(s)://, openai: or script:"))?;
    let (has_host, inside) = (url.host_str().is_some_and(|host| !host.is_empty()), url.path().is_empty());
    match url.scheme() {
        "http" | "https" if has_host => Ok(BrainUrl::Http(url)),
        "ws" | "wss" if has_host => Ok(BrainUrl::WebSocket(url)),
        "grpc" | "grpcs" if has_host && matches!(url.path(), "" | "/") => Ok(BrainUrl::Grpc(url)),
        "grpc" | "grpcs" if has_host => Err("has a path, and gRPC knows none".to_owned()),
        "openai" if inside => Ok(BrainUrl::OpenAi),
        "script" if inside => Ok(BrainUrl::Script),
        "http" | "https" | "ws" | "wss" | "grpc" | "grpcs" => Err("has no host".to_owned()),
        "openai" | "script" => Err(format!("nothing may stand behind {}:", url.scheme())),
        other => {
            Err(format!("{other}: is no way to a brain; use http(s)://, ws(s)://, grpc(s)://, openai: or script:"))
        }
    }
}

pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other}: is not spoken here; it must be http:// or https://")),
    }
}

pub(super) fn rounds(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(rounds @ 0..=10) => Ok(rounds),
        _ => Err("must be a whole number from 0 to 10".to_owned()),
    }
}

pub(super) fn seed(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| "must be a whole number".to_owned())
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(temperature) if (0.0..=2.0).contains(&temperature) => Ok(temperature),
        _ => Err("must be a number from 0 to 2".to_owned()),
    }
}

pub(super) fn database(text: &str) -> Result<Database, String> {
    let text = text.trim();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        // What is wrong with it in detail is said when it is opened, without the password.
        return match text.split_once("://") {
            Some((_, "")) => Err("has nothing behind postgres://".to_owned()),
            _ => Ok(Database::Postgres(DatabaseUrl(text.to_owned()))),
        };
    }
    match text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
        Some("") => Err("has no path behind sqlite://".to_owned()),
        Some(path) => Ok(Database::Sqlite(path.into())),
        None => Err("must be sqlite://PATH or postgres://USER@HOST/NAME".to_owned()),
    }
}
