//! Upstreams whose first level passes keys on, and the events of its begin and end.

use std::collections::BTreeMap;

use crate::admin::Gateway;
use crate::app::change_watch::broker::Change;
use crate::base::clock;
use crate::core::routing::{Upstream, level_name};
use crate::telemetry::events::{Fields, Kind};

/// What is known of each, by upstream.
pub(super) type Spilling = BTreeMap<String, String>;

pub(super) async fn spilling(gateway: &Gateway) -> Spilling {
    let upstreams: Vec<_> = gateway.live.table().upstreams().cloned().collect();
    let mut spilling = Spilling::new();
    for upstream in upstreams.iter().filter(|one| one.has_levels()) {
        if let Some(text) = state(upstream) {
            spilling.insert(upstream.name().to_string(), text);
        }
        // Each is a walk over its backends.
        tokio::task::yield_now().await;
    }
    spilling
}

fn state(upstream: &Upstream) -> Option<String> {
    let now = clock::now();
    let spills = upstream.spills(now);
    let first = upstream.level_states(now).into_iter().next()?;
    (spills > 0.0).then(|| {
        let name = level_name(first.preference, upstream.preferred_zone());
        let (well, others) = (first.well, first.members - first.draining);
        format!("{name}: {well} of {others} backends are well")
    })
}

/// How short the level is may change with every probe; that is no event.
pub(super) fn changes(before: &Spilling, now: &Spilling, changes: &mut Vec<Change>) {
    let fields = |upstream: &str, text: String| Fields {
        upstream: Some(upstream.into()),
        ..Fields::new(text)
    };
    for (upstream, text) in now {
        if !before.contains_key(upstream) {
            let text = format!("{text}; sessions go to backends of other zones or priorities");
            changes.push((Kind::SpillBegan, fields(upstream, text)));
        }
    }
    for upstream in before.keys() {
        if !now.contains_key(upstream) {
            let text = "the first choice takes all new sessions again";
            changes.push((Kind::SpillEnded, fields(upstream, text.to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spill_over_begins_and_ends_once() {
        let of = |text: &str| Spilling::from([("chat".to_owned(), text.to_owned())]);
        let kinds = |before: &Spilling, now: &Spilling| {
            let mut found = Vec::new();
            changes(before, now, &mut found);
            found.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        let none = Spilling::new();
        let (one, other) = (of("zone a: 1 of 3"), of("zone a: 0 of 3"));
        assert_eq!(kinds(&none, &one), [Kind::SpillBegan]);
        assert_eq!(kinds(&one, &other), []);
        assert_eq!(kinds(&other, &none), [Kind::SpillEnded]);
    }
}
