//! Query parameters, read strictly: what is unknown, given twice or out of bounds is named.

use std::ops::RangeInclusive;

use axum::http::Uri;

use super::problem::Problem;

/// The parameters of one request.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Splits the query; only the `known` names are taken, each once.
    pub(super) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        Self::with_repeated(uri, known, &[])
    }

    /// The same where some of them may be `repeated`.
    pub(super) fn with_repeated(uri: &Uri, known: &[&str], repeated: &[&str]) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(pairs)| pairs)
            .map_err(|error| Problem::parameter("?", error.body_text()))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::parameter(format!("?{name}"), format!("is not known here; known: {known}")));
            }
            if !repeated.contains(&name.as_str()) && pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(format!("?{name}"), "is given more than once"));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All that was given by this name, in order.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str, bounds: RangeInclusive<u32>) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // Digits alone: `+5` and ` 5` are somebody's mistake.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && bounds.contains(number));
        number.map(Some).ok_or_else(|| {
            let detail = format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
            Problem::parameter(format!("?{name}"), detail)
        })
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::parameter(format!("?{name}"), "must be true or false")),
        }
    }
}
