//! The rules by name, as data: the data card prints this list.

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The name, as it stands in `[REDACTED:name]` and in the counts.
    pub name: &'static str,
    /// What it takes out, for people.
    pub what: &'static str,
}

/// Which rule found a span. Where spans meet, the rule that stands first here gives the name: it knows more exactly what it
/// has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Own,
    Pem,
    Aws,
    GitHub,
    GitLab,
    Slack,
    Stripe,
    Anthropic,
    OpenAi,
    Google,
    Npm,
    PyPi,
    HuggingFace,
    SendGrid,
    Twilio,
    Discord,
    Telegram,
    Azure,
    Mailchimp,
    Platform,
    Jwt,
    Url,
    Header,
    Named,
}

impl Kind {
    /// The rule's name.
    pub(super) fn name(self) -> &'static str {
        RULES[self as usize].name
    }
}

const fn rule(name: &'static str, what: &'static str) -> Rule {
    Rule { name, what }
}

/// Every rule, in the order of [`Kind`]. No name contains a word that a rule here, or a scanner elsewhere, looks for
/// (`key`, `token`, `secret`): what was redacted must not be found again.
pub const RULES: &[Rule] = &[
    rule("own", "secrets of the exporting process itself: plain, escaped, percent-encoded or in base64"),
    rule("pem", "private keys in PEM and PuTTY files, also when only one end of the block is there"),
    rule("aws", "AWS access key ids, and the secret access key beside one"),
    rule("github", "GitHub tokens (ghp_, gho_, ghu_, ghs_, ghr_, github_pat_)"),
    rule("gitlab", "GitLab tokens (glpat- and its relatives)"),
    rule("slack", "Slack tokens (xox…-, xapp-) and webhook addresses"),
    rule("stripe", "Stripe keys (sk_live_, rk_live_, sk_test_, rk_test_, whsec_)"),
    rule("anthropic", "Anthropic keys (sk-ant-)"),
    rule("openai", "OpenAI keys and others of that shape (sk-)"),
    rule("google", "Google API keys (AIza), client secrets (GOCSPX-) and access tokens (ya29.)"),
    rule("npm", "npm tokens (npm_)"),
    rule("pypi", "PyPI tokens (pypi-)"),
    rule("huggingface", "Hugging Face tokens (hf_)"),
    rule("sendgrid", "SendGrid keys (SG.)"),
    rule("twilio", "Twilio account and key ids (AC, SK with 32 characters)"),
    rule("discord", "Discord bot tokens and webhook addresses"),
    rule("telegram", "Telegram bot tokens"),
    rule("azure", "Azure storage keys and the signature of a shared access address (sig=)"),
    rule("mailchimp", "Mailchimp keys"),
    rule(
        "platform",
        "tokens of Artifactory, DigitalOcean, Docker Hub, Linear, Notion, Shopify and Square by their prefix",
    ),
    rule("jwt", "JSON Web Tokens"),
    rule("url", "the password in scheme://user:password@host"),
    rule("header", "credentials after Bearer or Basic"),
    rule("named", "values whose name says that they are secret, as in password = …, \"api_key\": \"…\", --token …"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_kind_and_a_plain_name() {
        assert_eq!(RULES.len(), Kind::Named as usize + 1);
        for (kind, name) in [(Kind::Own, "own"), (Kind::Stripe, "stripe"), (Kind::Jwt, "jwt"), (Kind::Named, "named")] {
            assert_eq!(kind.name(), name);
        }
        for rule in RULES {
            assert!(rule.name.bytes().all(|byte| byte.is_ascii_lowercase()), "{rule:?}");
            assert!(!rule.what.is_empty() && !rule.what.ends_with('.'), "{rule:?}");
        }
    }
}
