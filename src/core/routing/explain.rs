//! Explains which route a request takes: evaluates the conditions of every route in turn.
//! Deliberately slow and simple: it must agree with the matcher without using the trie.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::config::pattern::{HostPattern, PathPattern, Segment};
use crate::config::snapshot;
use crate::core::routing::conditions::{Mismatch, mismatch, rank};
use crate::core::routing::request::{HostName, Request};
use crate::core::routing::route::Route;
use crate::core::routing::table::RoutingTable;

/// A route and what a request is to it.
#[derive(Clone, Debug)]
pub struct Considered<'t> {
    /// One of the table's.
    pub route: &'t Arc<Route>,
    /// Taken, or why not.
    pub verdict: Verdict<'t>,
}

/// What became of a route. Serialised as text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// The request takes it.
    Matched,
    /// It matches too, but a more specific one does already.
    Outranked,
    /// It does not match.
    NotBecause(Mismatch<'t>),
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched => f.write_str("matched"),
            Self::Outranked => f.write_str("would match, but a more specific route does"),
            Self::NotBecause(mismatch) => mismatch.fmt(f),
        }
    }
}

impl Serialize for Verdict<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl RoutingTable {
    /// Every route, the most specific first, with its verdict on `request`; the one that `find`
    /// finds is `Matched`. If a route has several hosts, the matching one counts, or else the most
    /// specific one.
    pub fn explain(&self, request: &Request<'_>) -> Vec<Considered<'_>> {
        let name = HostName::new(request.host);
        let mut routes: Vec<_> = self
            .routes()
            .iter()
            .map(|route| (host_rank(&route.config.hosts, name), route))
            .collect();
        // Stable: what is equal stays in the order of names.
        routes.sort_by(|((one_host, _), one), ((other_host, _), other)| {
            let (one, other) = (&one.config, &other.config);
            one_host
                .cmp(other_host)
                .then_with(|| path_order(&one.path, &other.path))
                .then_with(|| rank(other).cmp(&rank(one)))
        });
        let mut taken = false;
        let verdicts = routes.into_iter().map(|((_, host_matches), route)| {
            let verdict = match first_mismatch(&route.config, host_matches, request) {
                Some(mismatch) => Verdict::NotBecause(mismatch),
                None if std::mem::replace(&mut taken, true) => Verdict::Outranked,
                None => Verdict::Matched,
            };
            Considered { route, verdict }
        });
        verdicts.collect()
    }
}

fn first_mismatch<'t>(
    route: &'t snapshot::Route,
    host_matches: bool,
    request: &Request<'_>,
) -> Option<Mismatch<'t>> {
    if !host_matches {
        Some(Mismatch::Host(&route.hosts))
    } else if route.path.captures(request.path).is_none() {
        Some(Mismatch::Path(&route.path))
    } else {
        mismatch(route, request)
    }
}

/// Less is more specific: exact, then wildcards by length, then any.
type HostRank = (u8, Reverse<usize>);

/// The rank of the host that counts, and whether it matches.
fn host_rank(hosts: &[HostPattern], name: Option<HostName<'_>>) -> (HostRank, bool) {
    let rank = |host: &HostPattern| match host {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Wildcard(suffix) => (1, Reverse(suffix.len())),
    };
    if hosts.is_empty() {
        return ((2, Reverse(0)), true);
    }
    let matching = hosts.iter().filter(|host| host_matches(host, name));
    match matching.map(rank).min() {
        Some(rank) => (rank, true),
        None => (hosts.iter().map(rank).min().unwrap_or_default(), false),
    }
}

fn host_matches(host: &HostPattern, name: Option<HostName<'_>>) -> bool {
    let Some(name) = name.map(HostName::as_str) else {
        return false;
    };
    match host {
        HostPattern::Exact(text) => name == text,
        HostPattern::Wildcard(suffix) => name
            .strip_suffix(suffix.as_str())
            .is_some_and(|labels| labels.ends_with('.')),
    }
}

/// Less is more specific; equal if they match the same paths. Among texts that exclude each other
/// the alphabet decides, so that it is an order.
fn path_order(one: &PathPattern, other: &PathPattern) -> Ordering {
    fn key(segment: &Segment) -> (u8, &str) {
        match segment {
            Segment::Exact(text) => (0, text),
            Segment::Parameter(_) => (1, ""),
            Segment::Rest(_) => (2, ""),
        }
    }
    let [one, other] = [one, other].map(|pattern| pattern.segments().iter().map(key));
    one.cmp(other)
}
