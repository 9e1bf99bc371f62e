//! What a reload read and what serves are two things where a setting takes effect at the next start
//! only. Answers show what serves.

use serde_json::Value;

/// Keys of `[node]` that take effect at once, unlike the rest of it.
const AT_ONCE: [&str; 4] = [
    "sessions_max",
    "handshakes_max",
    "memory_max",
    "address_prefix",
];
/// Keys of a listener that take effect at once.
const OF_LISTENERS: [&str; 2] = ["allow", "deny"];

/// The configuration that serves: `new`, with the values of `before` for the `pending` keys.
/// Both are masked dumps.
pub(super) fn serving(before: &Value, new: &Value, pending: &[String]) -> Value {
    let mut serving = new.clone();
    for key in pending {
        let pointer = format!("/{}", key.replace('.', "/"));
        let Some(kept) = before.pointer(&pointer) else {
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
            "node": { "name": "a", "workers": 2, "sessions_max": 1 },
            "listeners": [{ "name": "edge", "listen": ["0.0.0.0:8080"], "allow": [] }],
            "sources": { "file": { "watch": true }, "etcd": { "prefix": "/one" } },
            "routes": [1],
        });
        let new = json!({
            "node": { "name": "b", "workers": 4, "sessions_max": 9 },
            "listeners": [
                { "name": "edge", "listen": ["0.0.0.0:8088"], "allow": ["10.0.0.0/8"] },
                { "name": "more", "listen": ["0.0.0.0:9"], "allow": [] },
            ],
            "sources": { "file": { "watch": false }, "etcd": { "prefix": "/two" } },
            "routes": [2],
        });
        let pending = ["node", "listeners", "sources.etcd"].map(str::to_owned);
        let expected = json!({
            "node": { "name": "a", "workers": 2, "sessions_max": 9 },
            "listeners": [{ "name": "edge", "listen": ["0.0.0.0:8080"], "allow": ["10.0.0.0/8"] }],
            "sources": { "file": { "watch": false }, "etcd": { "prefix": "/one" } },
            "routes": [2],
        });
        let shown = serving(&before, &new, &pending);
        for key in ["name", "workers", "sessions_max"] {
            assert_eq!(shown["node"][key], expected["node"][key]);
        }
        for key in ["listeners", "sources", "routes"] {
            assert_eq!(shown[key], expected[key]);
        }
        assert_eq!(serving(&before, &new, &[]), new);
    }
}
