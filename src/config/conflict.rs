//! Indistinguishable routes: every request that matches one matches the other, and only the name
//! would decide. That is a fault of the configuration.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use crate::base::work;
use crate::config::pattern::{HostPattern, Segment};
use crate::config::snapshot::{Route, Scheme};

/// Pairs of routes that have a host in common (or are both for any), paths that match the same, and
/// equal conditions; smaller index first. Each route is paired with the first of its kind only.
pub fn conflicts<R: Borrow<Route>>(routes: &[R]) -> Vec<(usize, usize)> {
    let mut distinct = Distinct::default();
    let mut pairs = BTreeSet::new();
    for (index, route) in routes.iter().enumerate() {
        let clashes = distinct.insert(route.borrow(), index);
        pairs.extend(clashes.into_iter().map(|known| (known, index)));
    }
    pairs.into_iter().collect()
}

/// Distinguishable routes, each with a number.
#[derive(Default)]
pub struct Distinct<'r> {
    /// A number for each set of conditions, so that a route of many hosts does not hash its own
    /// once for each.
    conditions: HashMap<Conditions, usize>,
    first: HashMap<(Option<&'r HostPattern>, usize), usize>,
}

impl<'r> Distinct<'r> {
    /// Adds a route, and returns the numbers of the indistinguishable ones. A taken host stays with
    /// its first route.
    pub fn insert(&mut self, route: &'r Route, number: usize) -> Vec<usize> {
        let fresh = self.conditions.len();
        let conditions = self.conditions.entry(Conditions::of(route));
        let conditions = *conditions.or_insert(fresh);
        let first = hosts(route)
            .into_iter()
            .map(|host| *self.first.entry((host, conditions)).or_insert(number));
        let mut clashes: Vec<_> = first.filter(|known| *known != number).collect();
        clashes.sort_unstable();
        clashes.dedup();
        clashes
    }

    /// The number of a route that is indistinguishable from this one.
    pub fn clash(&self, route: &'r Route) -> Option<usize> {
        let conditions = *self.conditions.get(&Conditions::of(route))?;
        let mut hosts = hosts(route).into_iter();
        hosts.find_map(|host| self.first.get(&(host, conditions)).copied())
    }
}

/// `None` is any.
fn hosts(route: &Route) -> Vec<Option<&HostPattern>> {
    if route.hosts.is_empty() {
        return vec![None];
    }
    route.hosts.iter().map(Some).collect()
}

/// The conditions of a route besides the host, in canonical form.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Conditions {
    path: Vec<Segment>,
    scheme: Option<Scheme>,
    methods: BTreeSet<String>,
    headers: BTreeSet<String>,
    query: BTreeSet<String>,
    subprotocols: BTreeSet<String>,
}

impl Conditions {
    fn of(route: &Route) -> Self {
        work::steps(1 + route.path.segments().len() + route.headers.len() + route.query.len());
        // The name of a parameter does not change which paths match.
        let nameless = |segment: &Segment| match segment {
            Segment::Exact(text) => Segment::Exact(text.clone()),
            Segment::Parameter(_) => Segment::Parameter(String::new()),
            Segment::Rest(_) => Segment::Rest(String::new()),
        };
        Self {
            path: route.path.segments().iter().map(nameless).collect(),
            scheme: route.scheme,
            methods: set(&route.methods),
            headers: set(&route.headers),
            query: set(&route.query),
            subprotocols: set(&route.subprotocols),
        }
    }
}

/// Not all of these can be sorted or hashed, but all can be written unambiguously.
fn set<T: Debug>(items: &[T]) -> BTreeSet<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use http::Method;

    use super::*;
    use crate::base::path::PathRules;
    use crate::config::limits::{AddressRules, Priority, Quotas};
    use crate::config::origin::OriginRule;
    use crate::config::snapshot::{
        Action, HeaderEdits, OnRemoval, Redirect, Rewrite, RouteLimits, RouteTimeouts, TextMatch,
    };

    /// A route for any host that redirects; tests change what they are about.
    pub(crate) fn route(name: &str, path: &str) -> Route {
        Route {
            name: name.into(),
            hosts: Vec::new(),
            path: path.parse().expect("a path"),
            paths: PathRules::default(),
            scheme: None,
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            subprotocols: Vec::new(),
            precedence: 0,
            action: Action::Redirect(Redirect {
                scheme: Some("https".to_owned()),
                host: None,
                path: None,
                status: 308,
            }),
            cache: None,
            rewrite: Rewrite::default(),
            request_headers: HeaderEdits::default(),
            origins: OriginRule::default(),
            addresses: AddressRules::default(),
            quotas: Quotas::default(),
            priority: Priority::Normal,
            auth: crate::config::snapshot::RouteAuth::default(),
            affinity: Vec::new(),
            stick: false,
            stick_for: Duration::ZERO,
            fleet: true,
            messages: crate::config::snapshot::RouteMessages::default(),
            tap_payload: false,
            limits: RouteLimits {
                message_bytes: 1 << 20,
                frame_bytes: 1 << 20,
            },
            timeouts: RouteTimeouts {
                attempt: None,
                handshake: Duration::from_secs(10),
                idle: None,
                lifetime: None,
                close: Duration::from_secs(5),
                response: Duration::from_secs(60),
                progress: Duration::from_secs(30),
            },
            backend_lost_code: 1011,
            reconnect: None,
            keepalive: None,
            on_removal: OnRemoval::Keep,
        }
    }

    #[test]
    fn routes_that_only_differ_in_name_or_wording_conflict() {
        let on = |hosts: &[&str], path: &str| Route {
            hosts: hosts
                .iter()
                .map(|host| host.parse().expect("a host"))
                .collect(),
            ..route("r", path)
        };
        let asking = |wanted: &str| Route {
            query: vec![("k".to_owned(), TextMatch::Exact(wanted.into()))],
            ..route("r", "/")
        };
        let methods = |methods: &[Method]| Route {
            methods: methods.to_vec(),
            ..route("r", "/")
        };
        let check = |one: Route, other: Route, conflict: bool| {
            let found = conflicts(&[one.clone(), route("between", "/b"), other.clone()]);
            let expected: &[_] = if conflict { &[(0, 2)] } else { &[] };
            assert_eq!(found, expected, "{one:?} {other:?}");
        };
        check(on(&[], "/a/{x}"), on(&[], "/a/{y}"), true);
        check(
            on(&["a", "c"], "/{*x}"),
            on(&["b", "c", "a"], "/{*y}"),
            true,
        );
        check(asking("1"), asking("1"), true);
        check(
            methods(&[Method::GET, Method::PUT]),
            methods(&[Method::PUT, Method::GET]),
            true,
        );
        check(on(&[], "/a/{x}"), on(&[], "/a/{*x}"), false);
        check(on(&[], "/a"), on(&[], "/a/"), false);
        check(on(&["a"], "/"), on(&["*.a"], "/"), false);
        check(on(&["a"], "/"), on(&[], "/"), false);
        check(asking("1"), asking("2"), false);
        check(
            methods(&[Method::GET]),
            methods(&[Method::GET, Method::PUT]),
            false,
        );
        check(methods(&[Method::GET]), methods(&[]), false);
        let by = |scheme| Route {
            scheme,
            ..route("r", "/")
        };
        let (http, https) = (Some(Scheme::Http), Some(Scheme::Https));
        check(by(http), by(http), true);
        check(by(http), by(https), false);
        check(by(http), by(None), false);
    }
}
