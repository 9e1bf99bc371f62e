//! Rights that end for many sessions at once, keys of an issuer that does not answer, and tokens
//! that expire.

use std::time::Duration;

use crate::admin::credentials::CredentialView;
use crate::admin::findings::finding::{Facts, Finding};
use crate::admin::findings::severity::Severity;
use crate::admin::rights_seen::RightsSeen;
use crate::admin::tokens::TokenView;
use crate::base::clock;

/// So many sessions, and so great a part of all, lose their right together before it is worth a
/// finding: tokens end all the time, and most are renewed.
const SESSIONS_MIN: u64 = 20;
const PART_MIN: f64 = 0.1;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let stale = facts.keys.iter().filter_map(stale_keys);
    let tokens = facts.tokens.iter().filter_map(token);
    stale
        .chain(tokens)
        .chain(facts.rights.and_then(expiring))
        .collect()
}

fn expiring(seen: &RightsSeen) -> Option<Finding> {
    let (all, expiring) = (seen.sessions(), seen.expiring());
    if expiring < SESSIONS_MIN || (expiring as f64) < PART_MIN * all as f64 {
        return None;
    }
    let detail = format!("{}, unless they are renewed", seen.text());
    let finding = Finding::new(Severity::Notice, "rights_expire", "sessions", detail);
    let remedy = "`sessile sessions --sort expires` shows whose; `sessile certs` counts them";
    Some(finding.of_sessions(expiring).remedy(remedy))
}

/// A token of the configuration that has expired, or will soon.
fn token(token: &TokenView) -> Option<Finding> {
    let severity = token.severity?;
    let detail = match severity {
        Severity::Critical => format!("it expired at {}: who presents it gets 401", token.expires),
        _ => {
            let left = Duration::try_from_secs_f64(token.days_left * 86_400.0);
            let left = clock::readable(left.unwrap_or_default());
            format!("it expires in {left}, at {}", token.expires)
        }
    };
    let finding = Finding::new(
        severity,
        "token_expires",
        format!("token {}", token.name),
        detail,
    );
    let remedy = "write a new one and its `expires` into the configuration, then `sessile run \
                  --take-over`; `sessile certs` shows all ends";
    Some(finding.remedy(remedy))
}

/// Keys of an issuer that does not answer.
fn stale_keys(keys: &CredentialView) -> Option<Finding> {
    if !keys.keys_stale {
        return None;
    }
    let routes = keys.routes.join(", ");
    let (severity, detail) = match keys.keys_age_seconds {
        None => (
            Severity::Critical,
            format!("its keys were never read, so clients are refused on its routes: {routes}"),
        ),
        Some(age) => {
            let age = clock::readable(Duration::try_from_secs_f64(age).unwrap_or_default());
            let detail = format!(
                "its keys are {age} old; clients with newer tokens are refused on: {routes}"
            );
            (Severity::Warning, detail)
        }
    };
    let subject = format!("authenticator {}", keys.authenticator);
    let finding = Finding::new(severity, "keys_stale", subject, detail);
    Some(finding.remedy("look after the issuer; the log has its last answer"))
}
