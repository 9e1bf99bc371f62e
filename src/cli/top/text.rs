//! The texts of `sessile top`, on a screen and in plain tables.

use serde::Deserialize;

use crate::admin::sessions::load::{HotKey, UpstreamLoad};
use crate::admin::sessions::{RateView, Session};
use crate::cli::listed::{Located, NodeAnswer};
use crate::cli::print::{counted, size};

/// Who sends most, on one gateway or on several.
#[derive(Debug, Deserialize)]
pub(super) struct Top {
    /// All sessions that match.
    pub(super) sessions: u64,
    /// Of all of them.
    pub(super) rate: RateView,
    /// Those that send and receive most.
    pub(super) items: Vec<Located<Session>>,
    /// The keys with most sessions.
    #[serde(default)]
    pub(super) keys: Vec<HotKey>,
    #[serde(default)]
    pub(super) upstreams: Vec<UpstreamLoad>,
    /// The gateways that were asked; empty for one.
    #[serde(default)]
    pub(super) nodes: Vec<NodeAnswer>,
}

/// The columns.
const HEAD: [&str; 7] = [
    "MSG/S",
    "BYTES/S",
    "PRINCIPAL",
    "ROUTE",
    "BACKEND",
    "KEY",
    "ID",
];

impl Top {
    /// Whether it is of several gateways.
    pub(super) fn is_of_fleet(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The columns, with one of gateways where there are several.
    pub(super) fn head(&self) -> Vec<&'static str> {
        let gateway = self.is_of_fleet().then_some("GATEWAY");
        gateway.into_iter().chain(HEAD).collect()
    }

    /// A row for each session.
    pub(super) fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let fleet = self.is_of_fleet();
        self.items.iter().map(move |item| {
            let node = item.node.clone().unwrap_or_else(|| "-".to_owned());
            let node = fleet.then_some(node);
            node.into_iter().chain(row(&item.item)).collect()
        })
    }
}

pub(super) fn summary(top: &Top) -> String {
    let answered = top.nodes.iter().filter(|node| node.fault.is_none()).count();
    let on = match answered {
        0 => String::new(),
        some => format!(" on {}", counted(some as u64, "gateway")),
    };
    format!(
        "{} sessions{on}, {:.0} messages/s, {}/s",
        top.sessions,
        top.rate.messages_per_second,
        size(top.rate.bytes_per_second as u64)
    )
}

/// What is worth a line: gateways that do not answer, hot keys, and load that is skewed.
pub(super) fn findings(top: &Top) -> Vec<String> {
    let skewed = top.upstreams.iter().filter(|upstream| upstream.skewed);
    let skewed = skewed.filter_map(|upstream| {
        let first = upstream.backends.first()?;
        Some(format!(
            "SKEW {}: {} has {} of {} sessions, {:.1} times its share",
            upstream.name, first.id, first.sessions, upstream.sessions, upstream.skew?
        ))
    });
    let hot = top.keys.iter().filter(|key| key.share >= 0.1);
    let hot = hot.take(3).map(|key| {
        format!(
            "key {}: {} sessions, {:.0} % of {}/{}",
            key.key.key,
            key.sessions,
            key.share * 100.0,
            key.upstream,
            key.backend
        )
    });
    let silent = top
        .nodes
        .iter()
        .filter_map(|NodeAnswer { node, fault, .. }| {
            let fault = fault.as_ref()?;
            Some(format!("{node} does not answer: {fault}"))
        });
    silent.chain(skewed).chain(hot).collect()
}

fn row(session: &Session) -> Vec<String> {
    let rate = session.rate.as_ref();
    let (messages, bytes) = rate.map_or((0.0, 0.0), |rate| {
        (rate.messages_per_second, rate.bytes_per_second)
    });
    let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
    vec![
        format!("{messages:.1}"),
        size(bytes as u64),
        or_none(session.principal.as_deref()),
        session.route.clone(),
        session.backend.clone(),
        or_none(session.key.as_ref().map(|key| &*key.key)),
        session.id.clone(),
    ]
}
