//! The list of gateways for clients, made anew every two seconds and then only read: a request of a
//! client costs no more than its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::base::clock;
use crate::config::public_url::PublicUrl;
use crate::config::snapshot::Discovery;
use crate::control::fleet::{Fleet, NodeView};
use crate::live::{Live, Phase};

/// Between two lists, and for how long clients may keep one.
const EVERY: Duration = Duration::from_secs(2);
/// Gateways that are listed.
const LISTED_MAX: usize = 64;

/// What clients get.
#[derive(Serialize)]
struct GatewayList {
    /// The least loaded first.
    gateways: Vec<Listed>,
}

/// A gateway that takes clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Listed {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// The part of `node.sessions_max` that is taken, 0 to 1; without such a limit it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<f64>,
}

/// Keeps the list fresh. Never returns.
pub async fn keep(live: Arc<Live>, fleet: Option<Arc<Fleet>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let others = fleet.as_ref().map(|fleet| fleet.view(clock::now()));
        let others = others.unwrap_or_default();
        let gateways = {
            let generation = live.generation();
            let settings = &generation.edge.discovery;
            listed(own(&live, settings), &others, settings)
        };
        let list = GatewayList { gateways };
        let text = serde_json::to_vec(&list).expect("plain data serialises");
        live.set_gateway_list(Bytes::from(text));
    }
}

/// This gateway, if it takes clients and has a URL.
fn own(live: &Live, settings: &Discovery) -> Option<Listed> {
    let url = settings
        .url
        .as_ref()
        .filter(|_| live.phase() == Phase::Ready)?;
    let generation = live.generation();
    let edge = &generation.edge;
    Some(Listed {
        url: url.to_string(),
        zone: edge.zone.as_deref().map(str::to_owned),
        load: load(live.workers().sessions(), edge.load.sessions_max),
    })
}

/// The part of a node that is taken, in hundredths; `None` without a limit.
pub fn load(sessions: usize, sessions_max: usize) -> Option<f64> {
    let part = sessions as f64 / sessions_max as f64;
    (sessions_max > 0).then(|| (part * 100.0).round().min(100.0) / 100.0)
}

/// This gateway and those of the fleet that take clients at a host that is allowed. Their entries
/// were written by others: what is no URL, zone or part is left out.
fn listed(own: Option<Listed>, others: &[NodeView], settings: &Discovery) -> Vec<Listed> {
    let others = others
        .iter()
        .filter(|node| !node.this && node.phase == "ready");
    let others = others.filter_map(|node| {
        let url = node.url.as_deref()?.parse::<PublicUrl>().ok()?;
        let zone = node.zone.as_ref().filter(|zone| {
            (1..=63).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_graphic())
        });
        url.is_of(&settings.hosts).then(|| Listed {
            url: url.to_string(),
            zone: zone.cloned(),
            load: node.load.filter(|load| (0.0..=1.0).contains(load)),
        })
    });
    let mut all: Vec<_> = own.into_iter().chain(others).take(LISTED_MAX).collect();
    // Those whose load is not known come last.
    let key = |one: &Listed| one.load.unwrap_or(2.0);
    all.sort_by(|one, other| {
        key(one)
            .total_cmp(&key(other))
            .then(one.url.cmp(&other.url))
    });
    all.dedup_by(|one, other| one.url == other.url);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str, load: Option<f64>) -> NodeView {
        NodeView {
            url: Some(url.to_owned()),
            load,
            phase: "ready".to_owned(),
            zone: Some("a".to_owned()),
            admin: "10.0.0.7:9900".to_owned(),
            ..NodeView::default()
        }
    }

    fn settings() -> Discovery {
        Discovery {
            url: Some(Arc::new("wss://one.edge.test".parse().expect("a URL"))),
            hosts: vec!["*.edge.test".parse().expect("a pattern")],
        }
    }

    fn urls(others: &[NodeView]) -> Vec<String> {
        let own = Listed {
            url: "wss://one.edge.test".to_owned(),
            zone: None,
            load: Some(0.5),
        };
        let all = listed(Some(own), others, &settings());
        all.into_iter().map(|one| one.url).collect()
    }

    #[test]
    fn the_least_loaded_is_first_and_only_allowed_hosts_are_listed() {
        let stopping = NodeView {
            phase: "stopping".to_owned(),
            ..node("wss://four.edge.test", Some(0.0))
        };
        let own_entry = NodeView {
            this: true,
            ..node("wss://five.edge.test", Some(0.0))
        };
        let others = [
            node("wss://two.edge.test", Some(0.1)),
            node("wss://three.edge.test", None),
            node("wss://evil.test", Some(0.0)),
            node("javascript:alert(1)", Some(0.0)),
            stopping,
            own_entry,
        ];
        let expected = [
            "wss://two.edge.test",
            "wss://one.edge.test",
            "wss://three.edge.test",
        ];
        assert_eq!(urls(&others), expected);
    }

    #[test]
    fn i8_i11_the_list_is_bounded_and_shows_nothing_else() {
        let many: Vec<_> = (0..500)
            .map(|n| node(&format!("wss://n{n}.edge.test"), Some(0.9)))
            .collect();
        assert_eq!(urls(&many).len(), LISTED_MAX);
        let strange = NodeView {
            zone: Some("<script>".repeat(20)),
            load: Some(f64::NAN),
            ..node("wss://two.edge.test", None)
        };
        let all = listed(None, &[strange], &settings());
        let text = serde_json::to_string(&all).expect("plain data");
        assert_eq!(text, r#"[{"url":"wss://two.edge.test"}]"#);
    }

    #[test]
    fn a_load_is_a_part_of_the_limit() {
        assert_eq!(load(5, 0), None);
        assert_eq!(load(333, 1_000), Some(0.33));
        assert_eq!(load(2_000, 1_000), Some(1.0));
    }
}
