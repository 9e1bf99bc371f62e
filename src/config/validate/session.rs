//! Settings of a route for live sessions: reconnecting and keepalive.

use std::time::Duration;

use crate::config::model::{self, KeepaliveTo, OnBackendLoss, Size};
use crate::config::snapshot::{Keepalive, Reconnect};
use crate::config::validate::scope::Scope;

/// Bounds of what one session may hold while it has no backend.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
const BUFFER_BYTES: std::ops::RangeInclusive<Size> = Size(1 << 10)..=Size(64 << 20);
const ATTEMPTS_MAX: u32 = 1_000;
/// Between two pings of one session.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// `on_backend_loss` and `reconnect`; the inner `None` is "close".
pub(super) fn reconnect(at: &Scope<'_>, model: &model::Route) -> Option<Option<Reconnect>> {
    let keys = at.key("reconnect");
    let timeout = keys
        .key("timeout")
        .time(model.reconnect.timeout, TIMEOUT_MAX);
    let bytes = keys
        .key("buffer_bytes")
        .within(model.reconnect.buffer_bytes, BUFFER_BYTES);
    let attempts = keys
        .key("attempts")
        .within(model.reconnect.attempts, 1..=ATTEMPTS_MAX);
    let reconnect = Reconnect {
        timeout: timeout?,
        buffer_bytes: usize::try_from(bytes?.0).expect("64 MiB fit"),
        attempts: attempts?,
    };
    Some((model.on_backend_loss == OnBackendLoss::Reconnect).then_some(reconnect))
}

/// `keepalive`; the inner `None` is none.
pub(super) fn keepalive(
    at: &Scope<'_>,
    model: Option<&model::Keepalive>,
) -> Option<Option<Keepalive>> {
    let Some(model) = model else {
        return Some(None);
    };
    let interval = at
        .key("interval")
        .interval(model.interval, INTERVAL_MIN, TIMEOUT_MAX);
    let timeout = at.key("timeout").time(model.timeout, TIMEOUT_MAX);
    Some(Some(Keepalive {
        interval: interval?,
        timeout: timeout?,
        to_client: model.to != KeepaliveTo::Backend,
        to_backend: model.to != KeepaliveTo::Client,
    }))
}
