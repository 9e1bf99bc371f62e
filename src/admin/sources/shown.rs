//! What the views of all sources have in common.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::clock;
use crate::control::sources::FollowStatus;
use crate::core::membership::Key;

/// Names that are shown of each kind of trouble.
pub(super) const SHOWN_MAX: usize = 100;

/// Some keys of documents.
pub(super) fn keys(keys: &BTreeSet<Key>) -> Vec<String> {
    let some = keys.iter().take(SHOWN_MAX);
    some.map(ToString::to_string).collect()
}

/// Since a source's last sign of life.
pub(super) fn age(status: &FollowStatus) -> Option<f64> {
    let since = clock::now().saturating_duration_since(status.progress?);
    Some(seconds(since))
}

pub(super) fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}
