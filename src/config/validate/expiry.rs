//! A route's `expiry`: warnings before expiry, and renewal.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::model::{self, AuthenticatorType, Size, Time};
use crate::config::snapshot::{ExpiryWarning, Renewal};
use crate::config::validate::scope::Scope;

const LEEWAY: Time = Time::seconds(5);
const LEEWAY_MAX: Duration = Duration::from_secs(60 * 60);
const WARN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const PREFIX_MAX: usize = 128;
const BYTES: Size = Size(8 << 10);
const BYTES_MAX: u64 = 64 << 10;
const TEXT_MAX: usize = 4096;

/// Checked.
pub(super) struct Expiry {
    pub(super) leeway: Duration,
    pub(super) warning: Option<ExpiryWarning>,
    pub(super) renewal: Option<Renewal>,
}

/// For a route with these credentials (some, if it is `guarded`), in a configuration with these
/// authenticators.
pub(super) fn expiry(
    at: &Scope<'_>,
    model: &model::Expiry,
    (asked, guarded): (&[String], bool),
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<Expiry> {
    let leeway = at
        .key("leeway")
        .time_or_zero(model.leeway.unwrap_or(LEEWAY), LEEWAY_MAX);
    let (warning, renewal) = (warning(at, model), renewal(at, model));
    for (key, given) in [
        ("warn", model.warn.is_some()),
        ("renewal", model.renewal.is_some()),
    ] {
        if given && asked.is_empty() && !guarded {
            at.key(key).fault_with(
                "the route authenticates no client, so no right expires",
                "add `authenticate = [\"NAME\"]` to the route",
            );
            return None;
        }
    }
    if model.renewal.is_some() {
        takes_texts(at, asked, known)?;
    }
    Some(Expiry {
        leeway: leeway?,
        warning: warning?,
        renewal: renewal?,
    })
}

fn warning(at: &Scope<'_>, model: &model::Expiry) -> Option<Option<ExpiryWarning>> {
    let (before, message) = match (model.warn, &model.warning) {
        (None, None) => return Some(None),
        (Some(before), Some(message)) => (before, message),
        (Some(_), None) => {
            at.missing(
                "warning",
                r#"warning = '{"type":"expiring","seconds":{seconds}}'"#,
            );
            return None;
        }
        (None, Some(_)) => {
            at.missing("warn", "warn = \"30s\"");
            return None;
        }
    };
    let before = at.key("warn").time(before, WARN_MAX);
    let message = said(&at.key("warning"), message);
    Some(Some(ExpiryWarning {
        before: before?,
        message: message?.into(),
    }))
}

fn renewal(at: &Scope<'_>, model: &model::Expiry) -> Option<Option<Renewal>> {
    let Some(prefix) = &model.renewal else {
        let more = [
            ("renewal_bytes", model.renewal_bytes.is_some()),
            ("renewed", model.renewed.is_some()),
            ("refused", model.refused.is_some()),
        ];
        let alone = more.into_iter().find(|(_, given)| *given);
        if let Some((key, _)) = alone {
            at.key(key).fault_with(
                "without `renewal` no message can renew a session",
                "add `renewal = \"renew \"`",
            );
            return None;
        }
        return Some(None);
    };
    let place = at.key("renewal");
    let length = place.within(prefix.len(), 1..=PREFIX_MAX);
    let Size(bytes) = model.renewal_bytes.unwrap_or(BYTES);
    let least = prefix.len() as u64 + 1;
    let bytes = at.key("renewal_bytes").within(bytes, least..=BYTES_MAX);
    let text = |key: &str, text: &Option<String>| match text {
        Some(text) => said(&at.key(key), text).map(Some),
        None => Some(None),
    };
    let (renewed, refused) = (
        text("renewed", &model.renewed),
        text("refused", &model.refused),
    );
    length?;
    Some(Some(Renewal {
        prefix: prefix.clone(),
        bytes_max: usize::try_from(bytes?).ok()?,
        renewed: renewed?,
        refused: refused?,
    }))
}

fn said(at: &Scope<'_>, text: &str) -> Option<String> {
    at.within(text.len(), 1..=TEXT_MAX)?;
    Some(text.to_owned())
}

/// Only of some credentials the text is all that there is.
fn takes_texts(
    at: &Scope<'_>,
    asked: &[String],
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<()> {
    use AuthenticatorType::{ApiKey, Jwt, SignedUrl};
    let kinds = asked.iter().filter_map(|name| known.get(name));
    let mut kinds = kinds.map(|one| one.kind).peekable();
    // Unknown names and missing types are reported elsewhere.
    let fits = |kind| matches!(kind, None | Some(Jwt | ApiKey | SignedUrl));
    if kinds.peek().is_some() && !kinds.any(fits) {
        at.key("renewal").fault_with(
            "none of the route's authenticators takes a credential by a message",
            "`jwt`, `api_key` and `signed_url` do",
        );
        return None;
    }
    Some(())
}
