//! What a reload read and what serves are two things where a setting takes effect at the next start
//! only. Answers show what serves, and what the next start would change.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::telemetry::events::difference;

/// Keys of `[node]` that take effect at once, unlike the rest of it.
const AT_ONCE: [&str; 6] = [
    "cache_memory",
    "zone",
    "sessions_max",
    "handshakes_max",
    "memory_max",
    "address_prefix",
];
/// Keys of a listener that take effect at once.
const OF_LISTENERS: [&str; 3] = ["allow", "deny", "trusted_proxies"];

/// A setting that takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingChange {
    /// Its key, such as `node.workers`.
    pub key: String,
    /// The value in use, as JSON; null if there is none, or if a secret differs.
    pub now: Option<String>,
    /// The value after a restart, as JSON; null if there is none, or if a secret differs.
    pub next: Option<String>,
}

/// As in `node.workers: 2 -> 3`.
impl fmt::Display for PendingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match (&self.now, &self.next) {
            (Some(now), Some(next)) => write!(f, "{key}: {now} -> {next}"),
            (Some(now), None) => write!(f, "{key}: {now} -> none"),
            (None, Some(next)) => write!(f, "{key}: none -> {next}"),
            (None, None) => write!(f, "{key}: a secret"),
        }
    }
}

/// What would wait for a restart if `new` took effect in place of `before`.
pub(super) fn waiting(before: &Value, new: &Value, pending: &[String]) -> Vec<PendingChange> {
    changes(&serving(before, new, pending), new, pending)
}

/// What a restart would change: `serving` is what [`serving`] made of `new`. Both are masked, so a
/// key of `pending` without a visible difference has another secret.
pub(super) fn changes(serving: &Value, new: &Value, pending: &[String]) -> Vec<PendingChange> {
    let lines = difference("", Some(serving), Some(new)).map(|found| found.lines);
    let mut changes: Vec<PendingChange> = Vec::new();
    for line in lines.iter().flatten() {
        let (sign, rest) = line.split_at(1);
        let (key, value) = rest.trim_start().split_once(" = ").unwrap_or((rest, ""));
        let known = changes.last_mut().filter(|last| last.key == key);
        match (known, sign) {
            (Some(last), _) => last.next = Some(value.to_owned()),
            (None, sign) => {
                let of = |wanted: &str| (sign == wanted).then(|| value.to_owned());
                changes.push(PendingChange {
                    key: key.to_owned(),
                    now: of("-"),
                    next: of("+"),
                });
            }
        }
    }
    for key in pending {
        let shown = |one: &PendingChange| {
            let rest = one.key.strip_prefix(key.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if !changes.iter().any(shown) {
            changes.push(PendingChange {
                key: key.clone(),
                now: None,
                next: None,
            });
        }
    }
    changes
}

/// The configuration that serves: `new`, with the values of `before` for the `pending` keys.
/// Both are masked dumps.
pub(super) fn serving(before: &Value, new: &Value, pending: &[String]) -> Value {
    let mut serving = new.clone();
    for key in pending {
        let pointer = format!("/{}", key.replace('.', "/"));
        let Some(kept) = before.pointer(&pointer) else {
            // There was none before, so none serves.
            remove(&mut serving, &pointer);
            continue;
        };
        let mut kept = kept.clone();
        match key.as_str() {
            "node" => copy(&new["node"], &mut kept, &AT_ONCE),
            "listeners" => listeners(&new["listeners"], &mut kept),
            _ => {}
        }
        if let Some(place) = serving.pointer_mut(&pointer) {
            *place = kept;
        }
    }
    serving
}

fn remove(from: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(Value::Object(table)) = from.pointer_mut(parent)
    {
        table.remove(key);
    }
}

fn listeners(new: &Value, kept: &mut Value) {
    let new = new.as_array().map(Vec::as_slice).unwrap_or_default();
    for listener in kept.as_array_mut().into_iter().flatten() {
        let same = new.iter().find(|one| one["name"] == listener["name"]);
        if let Some(same) = same {
            copy(same, listener, &OF_LISTENERS);
        }
    }
}

fn copy(from: &Value, to: &mut Value, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.get(*key) {
            to[key] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_shown_as_it_serves() {
        let before = json!({
            "node": { "name": "a", "workers": 2, "sessions_max": 1, "zone": "a" },
            "listeners": [{ "name": "edge", "listen": ["0.0.0.0:8080"], "allow": [] }],
            "sources": { "file": { "watch": true }, "etcd": { "prefix": "/one" } },
            "routes": [1],
        });
        let new = json!({
            "node": { "name": "b", "workers": 4, "sessions_max": 9, "zone": null },
            "listeners": [
                { "name": "edge", "listen": ["0.0.0.0:8088"], "allow": ["10.0.0.0/8"] },
                { "name": "more", "listen": ["0.0.0.0:9"], "allow": [] },
            ],
            "sources": { "file": { "watch": false }, "etcd": { "prefix": "/two" } },
            "routes": [2],
        });
        let pending = ["node", "listeners", "sources.etcd"].map(str::to_owned);
        let expected = json!({
            "node": { "name": "a", "workers": 2, "sessions_max": 9, "zone": null },
            "listeners": [{ "name": "edge", "listen": ["0.0.0.0:8080"], "allow": ["10.0.0.0/8"] }],
            "sources": { "file": { "watch": false }, "etcd": { "prefix": "/one" } },
            "routes": [2],
        });
        let shown = serving(&before, &new, &pending);
        for key in ["name", "workers", "sessions_max", "zone"] {
            assert_eq!(shown["node"][key], expected["node"][key]);
        }
        for key in ["listeners", "sources", "routes"] {
            assert_eq!(shown[key], expected[key]);
        }
        assert_eq!(serving(&before, &new, &[]), new);
    }

    #[test]
    fn what_a_restart_would_change_is_named_with_both_values() {
        let before = json!({
            "node": { "workers": 2, "state_dir": "/a" }, "admin": { "token": "***" },
            "listeners": [{ "name": "edge", "listen": ["0.0.0.0:8080"] }], "routes": [1],
        });
        let new = json!({
            "node": { "workers": 3 }, "admin": { "token": "***" },
            "listeners": [
                { "name": "edge", "listen": ["0.0.0.0:8080"] },
                { "name": "more", "listen": [] },
            ],
            "routes": [2], "broker": { "type": "memory" },
        });
        let pending = ["node", "listeners", "admin", "broker"].map(str::to_owned);
        let serving = serving(&before, &new, &pending);
        let found = changes(&serving, &new, &pending);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "broker.type: none -> \"memory\"",
            "listeners[more].listen: none -> []",
            "listeners[more].name: none -> \"more\"",
            "node.state_dir: \"/a\" -> none",
            "node.workers: 2 -> 3",
            "admin: a secret",
        ];
        assert_eq!(found, expected);
        assert_eq!(changes(&new, &new, &[]), []);
    }
}
