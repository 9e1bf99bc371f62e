//! What lists have beside their items, of several gateways as of one: sums, and for `/v1/top` the
//! hottest keys and the load of each upstream.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::sessions::RateView;
use crate::admin::sessions::load::{HotKey, UpstreamLoad, merged_keys, merged_loads};
use crate::core::routing::RoutingTable;

/// What a list has beside its items; what it does not have is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::admin) struct Totals {
    /// In a sorted list of sessions: how many match, listed or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// In `/v1/top`: all sessions that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// In a list sorted by a rate: of all sessions that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// In `/v1/refusals`: all that match, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// In `/v1/top`: the affinity keys with most sessions, of those that the gateways list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<HotKey>,
    /// In `/v1/top`: each upstream with sessions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamLoad>,
}

impl Totals {
    /// Reads the totals of one gateway's list. Unknown fields are ignored.
    pub(super) fn read(list: &Value) -> Self {
        fn part<T: for<'de> Deserialize<'de> + Default>(list: &Value, name: &str) -> T {
            list.get(name)
                .and_then(|value| T::deserialize(value).ok())
                .unwrap_or_default()
        }
        Self {
            matched: part(list, "matched"),
            sessions: part(list, "sessions"),
            rate: part(list, "rate"),
            counts: part(list, "counts"),
            keys: part(list, "keys"),
            upstreams: part(list, "upstreams"),
        }
    }

    /// Adds those of another gateway.
    pub(super) fn add(&mut self, other: Self) {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        self.matched = sum(self.matched, other.matched);
        self.sessions = sum(self.sessions, other.sessions);
        self.rate = match (self.rate, other.rate) {
            (Some(one), Some(other)) => Some(RateView {
                messages_per_second: one.messages_per_second + other.messages_per_second,
                bytes_per_second: one.bytes_per_second + other.bytes_per_second,
            }),
            (one, other) => one.or(other),
        };
        for (reason, count) in other.counts {
            let all = self.counts.entry(reason).or_default();
            *all = all.saturating_add(count);
        }
        self.keys.extend(other.keys);
        self.upstreams.extend(other.upstreams);
    }

    /// The keys and loads of all gateways as those of one. `table` has the weights of backends.
    pub(super) fn merge(&mut self, table: &RoutingTable) {
        let upstreams = std::mem::take(&mut self.upstreams);
        self.keys = merged_keys(std::mem::take(&mut self.keys), &upstreams);
        self.upstreams = merged_loads(&upstreams, table);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::tests::support::{built_in, fixture};

    fn key(name: &str, backend: &str, sessions: u64, on_backend: u64) -> Value {
        json!({
            "key": { "key": name, "source": "query:k", "hidden": false }, "upstream": "chat",
            "sessions": sessions, "backend": backend, "on_backend": on_backend, "share": 1.0,
        })
    }

    fn top(keys: &[Value], sessions: [u64; 2]) -> Totals {
        let all = sessions[0] + sessions[1];
        Totals::read(&json!({
            "sessions": all, "next": null, "keys": keys,
            "rate": { "messages_per_second": 1.5, "bytes_per_second": 10.0 },
            "upstreams": [{
                "name": "chat", "sessions": all, "skew": null, "skewed": false,
                "backends": [
                    { "id": "10.0.0.1:9000", "sessions": sessions[0], "share": 0.0 },
                    { "id": "10.0.0.2:9000", "sessions": sessions[1], "share": 0.0 },
                ],
            }],
        }))
    }

    #[tokio::test]
    async fn keys_and_loads_of_several_gateways_are_those_of_one() {
        let table = fixture(built_in(), Vec::new()).gateway.live.table();
        let mut all = Totals::default();
        // Each gateway alone would name another key, or another backend.
        let one = [
            key("ann", "10.0.0.1:9000", 6, 6),
            key("bob", "10.0.0.2:9000", 7, 7),
        ];
        all.add(top(&one, [10, 90]));
        all.add(top(&[key("ann", "10.0.0.2:9000", 9, 8)], [20, 80]));
        all.merge(&table);
        assert_eq!(
            (all.sessions, all.rate.map(|rate| rate.bytes_per_second)),
            (Some(200), Some(20.0))
        );
        let hot: Vec<_> = all
            .keys
            .iter()
            .map(|one| (&*one.key.key, one.sessions))
            .collect();
        assert_eq!(hot, [("ann", 15), ("bob", 7)]);
        let ann = &all.keys[0];
        let place = (&*ann.backend, ann.on_backend, ann.share);
        assert_eq!(place, ("10.0.0.2:9000", 8, 0.047), "8 of its 170");
        let [load] = &*all.upstreams else {
            panic!("one upstream: {:?}", all.upstreams);
        };
        let backends: Vec<_> = load
            .backends
            .iter()
            .map(|one| (&*one.id, one.sessions))
            .collect();
        assert_eq!(backends, [("10.0.0.2:9000", 170), ("10.0.0.1:9000", 30)]);
        // One of the two is draining by its configuration, so there is nothing to compare.
        assert_eq!((load.sessions, load.skew), (200, None));
    }

    #[test]
    fn sums_of_what_only_some_lists_have() {
        let mut all = Totals::default();
        all.add(Totals::read(
            &json!({ "matched": 3, "counts": { "no_route": 2 } }),
        ));
        all.add(Totals::read(
            &json!({ "matched": 4, "counts": { "no_route": 1, "x": "y" } }),
        ));
        assert_eq!(all.matched, Some(7));
        assert_eq!(
            all.counts.get("no_route"),
            Some(&2),
            "what is not understood is left out"
        );
        assert_eq!(all.sessions, None);
        let most = json!({ "sessions": u64::MAX });
        all.add(Totals::read(&most));
        all.add(Totals::read(&most));
        assert_eq!(all.sessions, Some(u64::MAX));
    }
}
