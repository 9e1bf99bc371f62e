//! The texts of `sessile top`, on a screen and in plain tables.

use crate::admin::sessions::Session;
use crate::admin::sessions::top::Top;
use crate::cli::print::size;

/// The columns.
pub(super) const HEAD: [&str; 7] = [
    "MSG/S",
    "BYTES/S",
    "PRINCIPAL",
    "ROUTE",
    "BACKEND",
    "KEY",
    "ID",
];

pub(super) fn summary(top: &Top) -> String {
    format!(
        "{} sessions, {:.0} messages/s, {}/s",
        top.sessions,
        top.rate.messages_per_second,
        size(top.rate.bytes_per_second as u64)
    )
}

/// What is worth a line: hot keys, and load that is skewed.
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
    skewed.chain(hot).collect()
}

pub(super) fn row(session: &Session) -> Vec<String> {
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
