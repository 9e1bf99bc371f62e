//! A document as a source holds it.

use std::sync::Arc;

/// A key below the source's prefix, such as `routes/chat`.
pub type Key = Arc<str>;

/// The value of a key, and when and how it got there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The value.
    pub text: Arc<str>,
    /// The revision of the last change.
    pub revision: i64,
    /// Its lease; 0 is none.
    pub lease: i64,
}

/// Upstream and id, if this is the key of a backend.
pub fn backend_of(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("backends/")?.split_once('/')
}

/// Whether this is a backend that its source lets go by itself.
pub(super) fn leased(key: &str, held: &Held) -> bool {
    held.lease != 0 && backend_of(key).is_some()
}

/// Whether a backend is marked as draining.
pub(super) fn leaving(held: &Held) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(&held.text).ok();
    value.is_some_and(|value| value["state"] == "draining")
}
