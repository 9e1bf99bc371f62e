//! Tokens of the configuration that have an end: those of the admin API and of publishers.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::findings::severity::Severity;
use crate::admin::token_ends::TokenEnd;
use crate::admin::{Gateway, Page};
use crate::base::clock;

/// Days before the end from which on it is a finding.
const WARNING_DAYS: f64 = 14.0;
const DAY: f64 = 86_400.0;

/// A token that has an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its key in the configuration, such as `admin.read_token` or `publish.tokens.app`.
    pub name: String,
    /// From then on it is refused; RFC 3339.
    pub expires: String,
    /// Until then; negative once it has expired.
    pub days_left: f64,
    /// Set where `sessile doctor` reports it.
    pub severity: Option<Severity>,
}

impl TokenView {
    pub(super) fn of(token: &TokenEnd, now: SystemTime) -> Self {
        let days_left = match token.expires.duration_since(now) {
            Ok(left) => left.as_secs_f64() / DAY,
            Err(over) => -over.duration().as_secs_f64() / DAY,
        };
        let days_left = (days_left * 100.0).round() / 100.0;
        let severity = match days_left {
            days if token.expires <= now || days <= 0.0 => Some(Severity::Critical),
            days if days <= WARNING_DAYS => Some(Severity::Warning),
            _ => None,
        };
        Self {
            name: token.name.to_string(),
            expires: clock::rfc3339(token.expires),
            days_left,
            severity,
        }
    }
}

/// All of them, the first to end first.
pub(super) fn views(gateway: &Gateway) -> Vec<TokenView> {
    let now = clock::wall();
    let mut ends: Vec<_> = gateway.tokens.iter().collect();
    ends.sort_by_key(|token| token.expires);
    ends.into_iter()
        .map(|token| TokenView::of(token, now))
        .collect()
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Page<TokenView>> {
    Json(Page {
        items: views(&gateway),
        next: None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_is_reported_from_two_weeks_before_its_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * 86_400);
        let check = |hours: i64, severity: Option<Severity>, days_left: f64| {
            let away = Duration::from_secs(hours.unsigned_abs() * 3600);
            let expires = if hours < 0 { now - away } else { now + away };
            let token = TokenEnd {
                name: "admin.token".into(),
                expires,
            };
            let view = TokenView::of(&token, now);
            assert_eq!((view.severity, view.days_left), (severity, days_left));
        };
        check(15 * 24, None, 15.0);
        check(14 * 24 + 12, None, 14.5);
        check(14 * 24, Some(Severity::Warning), 14.0);
        check(12, Some(Severity::Warning), 0.5);
        check(0, Some(Severity::Critical), 0.0);
        check(-36, Some(Severity::Critical), -1.5);
    }
}
