//! Whether a name says that its value is secret.

/// How far a name is believed. The less it says, the more the value has to look like a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Trust {
    /// `password`, `client_secret`, `api_key`: whatever it is, it goes.
    Strong,
    /// `token`, `credentials`, `authorization`: the word has other uses, too.
    Weak,
    /// `key`, `pass`, `auth`: only what looks random goes.
    Faint,
}

/// What the automaton looks for: one of these stands in every name that is known here.
pub(in super::super) const STEMS: &[&str] =
    &["pass", "pwd", "secret", "token", "key", "credential", "auth", "contrase", "_pw", "signature"];

/// A number that is a password has at least so many digits; a shorter one is a flag or a level.
const PASSWORD: usize = 4;

/// The rows of a table have numbers that are called keys: `account_key`, `store_key`. So long they hardly get.
const KEY: usize = 8;

/// A longer name is no name.
const LONGEST: usize = 64;

/// What is secret at the end of a word, whatever stands before it in the word.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "contraseña",
    "contrasena",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "privkey",
    "authkey",
    "servicekey",
    "accountkey",
    "dbkey",
    "databasekey",
    "clientkey",
    "encryptionkey",
    "signingkey",
    "masterkey",
    "dbpass",
    "databasepass",
    "keypass",
    "storepass",
    "sshpass",
    "pgpass",
];

/// What makes `key`, `pass` and `pw` secret when it is the word before.
const BEFORE: &[&str] = &[
    "api",
    "access",
    "secret",
    "private",
    "priv",
    "auth",
    "service",
    "account",
    "db",
    "database",
    "client",
    "encryption",
    "signing",
    "master",
    "shared",
    "deploy",
    "admin",
    "root",
    "store",
    "key",
    "smtp",
    "mysql",
    "cl",
    "cloudant",
    "sl",
    "softlayer",
    "cos",
];

/// What makes a token an ordinary piece of data: a page of a list, a word of a vocabulary.
const ORDINARY: &[&str] = &[
    "next",
    "page",
    "pagination",
    "continuation",
    "cursor",
    "public",
    "primary",
    "foreign",
    "max",
    "min",
    "num",
    "eos",
    "bos",
    "pad",
    "unk",
    "cls",
    "sep",
    "mask",
    "stop",
    "special",
    "forgot",
    "no",
    "has",
    "is",
    "show",
    "hide",
    "invalid",
    "wrong",
    "missing",
    "require",
    "requires",
    "enable",
    "allow",
    "idempotency",
    "cache",
    "sort",
    "partition",
];

/// What, behind the secret word, makes the whole a name for something about it.
const ABOUT: &[&str] = &[
    "age",
    "algorithm",
    "arn",
    "attempts",
    "budget",
    "class",
    "cost",
    "count",
    "counts",
    "dir",
    "directory",
    "enabled",
    "encoding",
    "endpoint",
    "env",
    "error",
    "expiration",
    "expires",
    "expiry",
    "fd",
    "field",
    "file",
    "filename",
    "format",
    "header",
    "hint",
    "id",
    "ids",
    "index",
    "input",
    "kind",
    "label",
    "len",
    "length",
    "limit",
    "limits",
    "link",
    "location",
    "manager",
    "max",
    "message",
    "min",
    "mode",
    "name",
    "names",
    "param",
    "path",
    "paths",
    "pattern",
    "placeholder",
    "policy",
    "position",
    "prefix",
    "price",
    "provider",
    "ref",
    "regex",
    "required",
    "reset",
    "rotation",
    "rule",
    "rules",
    "scope",
    "scopes",
    "size",
    "source",
    "status",
    "stdin",
    "store",
    "strength",
    "ttl",
    "type",
    "types",
    "uri",
    "url",
    "usage",
    "valid",
    "version",
    "word",
];

/// How far `name` is believed, if it is secret-like at all.
pub(in super::super) fn trust(name: &str) -> Option<Trust> {
    if name.len() > LONGEST || !name.is_ascii() && !name.contains('ñ') {
        return None;
    }
    let words = words(name);
    let (at, trust) =
        (0..words.len()).rev().find_map(|at| Some((at, of(&words[at], at.checked_sub(1).map(|at| &*words[at]))?)))?;
    let is_in = |list: &[&str], words: &[String]| words.iter().any(|word| list.contains(&word.as_str()));
    (!is_in(ORDINARY, &words[..at]) && !is_in(ABOUT, &words[at + 1..])).then_some(trust)
}

/// How many digits a number has at least that is the secret that `name` says. A count, an age or a limit is also called after
/// the word, hence it has to stand at the end and in the singular.
pub(in super::super) fn digits(name: &str) -> Option<usize> {
    if trust(name)? != Trust::Strong {
        return None;
    }
    let words = words(name);
    let (last, before) = words.split_last()?;
    let singular = !last.ends_with('s') || last.ends_with("ss");
    if !singular || of(last, before.last().map(String::as_str))? != Trust::Strong {
        return None;
    }
    Some(if last.ends_with("key") { KEY } else { PASSWORD })
}

/// What one word says, given the word before.
fn of(word: &str, before: Option<&str>) -> Option<Trust> {
    let one = word.strip_suffix('s').filter(|one| !one.ends_with('s')).unwrap_or(word);
    if SECRET.iter().any(|secret| one.ends_with(secret)) {
        return Some(Trust::Strong);
    }
    match one {
        "key" | "pas" | "pass" | "pw" if before.is_some_and(|before| BEFORE.contains(&before)) => Some(Trust::Strong),
        "key" | "pass" | "pw" | "auth" | "signature" => Some(Trust::Faint),
        "credential" | "authorization" => Some(Trust::Weak),
        // Tokens in the plural are counted, or are words.
        _ if word.ends_with("token") => Some(Trust::Weak),
        _ => None,
    }
}

/// The words of `secret_key`, `secret-key`, `secretKey`, `SECRETKey2`, in small letters.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut letters = name.chars().peekable();
    let mut last = ' ';
    while let Some(letter) = letters.next() {
        let next_is_small = letters.peek().is_some_and(char::is_ascii_lowercase);
        let starts =
            letter.is_ascii_uppercase() && (last.is_ascii_lowercase() || last.is_ascii_uppercase() && next_is_small);
        if !letter.is_alphabetic() || starts {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphabetic() {
            word.extend(letter.to_lowercase());
        }
        last = letter;
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_believed_by_their_last_telling_word() {
        for name in [
            "password",
            "PASSWORD",
            "DB_PASSWORD",
            "dbPassword",
            "PGPASSWORD",
            "password1",
            "new_password",
            "secretKey",
            "client_secret",
            "api_key",
            "api-key",
            "apikey",
            "APIKey",
            "X-Api-Key",
            "AWS_SECRET_ACCESS_KEY",
            "AccountKey",
            "SharedAccessKey",
            "private_key",
            "passwd",
            "mysql_pwd",
            "passwords",
            "db_pass",
            "password_hash",
            "contraseña",
        ] {
            assert_eq!(trust(name), Some(Trust::Strong), "{name}");
        }
        for name in ["token", "access_token", "authToken", "_authToken", "GITHUB_TOKEN", "credentials", "Authorization"]
        {
            assert_eq!(trust(name), Some(Trust::Weak), "{name}");
        }
        for name in ["key", "ssh_key", "pass", "auth", "upload_key"] {
            assert_eq!(trust(name), Some(Trust::Faint), "{name}");
        }
    }

    #[test]
    fn numbers_are_secret_only_at_the_end_of_a_name_and_in_the_singular() {
        for name in ["password", "DB_PASSWORD", "--db-pass", "clientSecret", "password1"] {
            assert_eq!(digits(name), Some(PASSWORD), "{name}");
        }
        for name in ["api_key", "ACCOUNT_KEY"] {
            assert_eq!(digits(name), Some(KEY), "{name}");
        }
        for name in ["token", "key", "passwords", "password_changed_at", "secrets", "password_hash", "max_tokens", ""] {
            assert_eq!(digits(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_other_things_are_not() {
        for name in [
            "tokens",
            "max_tokens",
            "prompt_tokens",
            "token_type",
            "token_count",
            "tokenizer",
            "secretary",
            "monkey",
            "keyboard",
            "password_file",
            "secretName",
            "api_key_id",
            "AccessKeyId",
            "nextPageToken",
            "public_key",
            "passenger",
            "author",
            "bypass",
            "password_min_length",
            "--password-stdin",
            "--passphrase-fd",
            "is_secret",
            "",
            "-",
        ] {
            assert_eq!(trust(name), None, "{name}");
        }
        assert_eq!(trust(&"password".repeat(20)), None);
    }
}
