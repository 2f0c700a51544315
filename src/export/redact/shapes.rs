//! Tokens that are known by their first characters, as a table.

use super::rules::Kind;
use super::runs::{Class, Runs, begins};
use super::span::Span;

/// What the characters behind the prefix must have, where the prefix alone could be a part of any word.
#[derive(Debug, Clone, Copy)]
enum Need {
    Nothing,
    /// At least three digits.
    Digits,
    /// A digit, a capital and a small letter.
    Mixed,
}

/// One shape: a prefix, then at least `least` characters of `class`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    kind: Kind,
    pub(super) prefix: &'static str,
    class: Class,
    least: usize,
    need: Need,
    /// Whether a letter or digit before the prefix makes it another word.
    apart: bool,
    /// Whether the prefix is no secret and stays.
    keeps: bool,
}

const fn sure(kind: Kind, prefix: &'static str, class: Class, least: usize) -> Shape {
    Shape { kind, prefix, class, least, need: Need::Nothing, apart: false, keeps: false }
}

const fn apart(kind: Kind, prefix: &'static str, class: Class, least: usize, need: Need) -> Shape {
    Shape { kind, prefix, class, least, need, apart: true, keeps: false }
}

const fn after(kind: Kind, prefix: &'static str, class: Class, least: usize) -> Shape {
    Shape { kind, prefix, class, least, need: Need::Nothing, apart: false, keeps: true }
}

/// The shapes. Lengths are a little below those in use today, so that a token that was cut is found, too.
pub(super) const SHAPES: &[Shape] = &[
    sure(Kind::Aws, "AKIA", Class::Upper, 16),
    sure(Kind::Aws, "ASIA", Class::Upper, 16),
    sure(Kind::Aws, "ABIA", Class::Upper, 16),
    sure(Kind::Aws, "ACCA", Class::Upper, 16),
    sure(Kind::Aws, "A3T", Class::Upper, 17),
    sure(Kind::GitHub, "ghp_", Class::Word, 20),
    sure(Kind::GitHub, "gho_", Class::Word, 20),
    sure(Kind::GitHub, "ghu_", Class::Word, 20),
    sure(Kind::GitHub, "ghs_", Class::Word, 20),
    sure(Kind::GitHub, "ghr_", Class::Word, 20),
    sure(Kind::GitHub, "github_pat_", Class::Word, 20),
    sure(Kind::GitLab, "glpat-", Class::Dotted, 16),
    sure(Kind::GitLab, "gldt-", Class::Url, 16),
    sure(Kind::GitLab, "glft-", Class::Url, 16),
    sure(Kind::GitLab, "glsoat-", Class::Url, 16),
    sure(Kind::GitLab, "glrt-", Class::Dotted, 16),
    sure(Kind::GitLab, "glcbt-", Class::Url, 16),
    sure(Kind::GitLab, "glimt-", Class::Url, 16),
    sure(Kind::GitLab, "glptt-", Class::Url, 16),
    sure(Kind::GitLab, "glagent-", Class::Url, 16),
    sure(Kind::GitLab, "gloas-", Class::Url, 16),
    sure(Kind::GitLab, "GR1348941", Class::Url, 16),
    apart(Kind::Slack, "xoxa-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxb-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxe-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxe.xox", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxo-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxp-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxr-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xoxs-", Class::Url, 8, Need::Digits),
    apart(Kind::Slack, "xapp-", Class::Url, 16, Need::Digits),
    after(Kind::Slack, "hooks.slack.com/services/", Class::Path, 8),
    after(Kind::Slack, "hooks.slack.com/workflows/", Class::Path, 8),
    after(Kind::Slack, "hooks.slack.com/triggers/", Class::Path, 8),
    sure(Kind::Stripe, "sk_live_", Class::Alnum, 16),
    sure(Kind::Stripe, "rk_live_", Class::Alnum, 16),
    sure(Kind::Stripe, "sk_test_", Class::Alnum, 16),
    sure(Kind::Stripe, "rk_test_", Class::Alnum, 16),
    apart(Kind::Stripe, "whsec_", Class::Percent, 20, Need::Digits),
    apart(Kind::Anthropic, "sk-ant-", Class::Url, 16, Need::Digits),
    apart(Kind::OpenAi, "sk-", Class::Url, 20, Need::Digits),
    sure(Kind::Google, "AIza", Class::Url, 30),
    sure(Kind::Google, "GOCSPX-", Class::Url, 20),
    apart(Kind::Google, "ya29.", Class::Dotted, 20, Need::Nothing),
    apart(Kind::Npm, "npm_", Class::Alnum, 30, Need::Nothing),
    sure(Kind::PyPi, "pypi-AgE", Class::Url, 20),
    apart(Kind::HuggingFace, "hf_", Class::Alnum, 30, Need::Nothing),
    apart(Kind::HuggingFace, "api_org_", Class::Alnum, 30, Need::Nothing),
    apart(Kind::SendGrid, "SG.", Class::Dotted, 50, Need::Digits),
    sure(Kind::Twilio, "AC", Class::Lower, 32),
    sure(Kind::Twilio, "SK", Class::Lower, 32),
    after(Kind::Discord, "discord.com/api/webhooks/", Class::Path, 20),
    after(Kind::Discord, "discordapp.com/api/webhooks/", Class::Path, 20),
    after(Kind::Azure, "?sig=", Class::Percent, 20),
    after(Kind::Azure, "&sig=", Class::Percent, 20),
    apart(Kind::Platform, "AKC", Class::Alnum, 10, Need::Digits),
    apart(Kind::Platform, "AP", Class::Alnum, 9, Need::Mixed),
    sure(Kind::Platform, "dop_v1_", Class::Alnum, 30),
    sure(Kind::Platform, "doo_v1_", Class::Alnum, 30),
    sure(Kind::Platform, "dckr_pat_", Class::Url, 20),
    sure(Kind::Platform, "dckr_oat_", Class::Url, 20),
    sure(Kind::Platform, "lin_api_", Class::Alnum, 30),
    apart(Kind::Platform, "ntn_", Class::Alnum, 30, Need::Nothing),
    sure(Kind::Platform, "shpat_", Class::Alnum, 20),
    sure(Kind::Platform, "shpss_", Class::Alnum, 20),
    sure(Kind::Platform, "shpca_", Class::Alnum, 20),
    sure(Kind::Platform, "shppa_", Class::Alnum, 20),
    sure(Kind::Platform, "sq0csp-", Class::Url, 20),
    sure(Kind::Platform, "sq0atp-", Class::Url, 20),
];

impl Shape {
    /// The token whose prefix stands at `at`, in some case of letters.
    pub(super) fn read(&self, bytes: &[u8], at: usize, runs: &mut Runs<'_>) -> Option<Span> {
        let body = at + self.prefix.len();
        if &bytes[at..body] != self.prefix.as_bytes() || self.apart && !begins(bytes, at) {
            return None;
        }
        let end = runs.end(self.class, body);
        if end - body < self.least || !self.need.met(&bytes[body..end.min(body + LOOKED_AT)]) {
            return None;
        }
        if self.prefix == "AP" && !bytes[body].is_ascii_digit() && !(b'A'..=b'F').contains(&bytes[body]) {
            return None; // Artifactory's are AP and a hexadecimal digit
        }
        Some(Span::new(if self.keeps { body } else { at }, end, self.kind))
    }
}

/// So many characters of a token are looked at for what it needs: the longest in use have fewer, and a run of megabytes
/// must not be counted again for each prefix in it.
const LOOKED_AT: usize = 256;

impl Need {
    fn met(self, body: &[u8]) -> bool {
        let has = |is: fn(&u8) -> bool| body.iter().any(is);
        match self {
            Self::Nothing => true,
            Self::Digits => body.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3,
            Self::Mixed => has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase),
        }
    }
}
