//! The routing table: routes and upstreams of one configuration, ready to be asked. Compiling takes
//! over from the table before it whatever did not change.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use serde::{Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

use crate::base::names::{AuthenticatorName, RouteName, UpstreamName};
use crate::config::snapshot::{self, Redirect, Snapshot};
use crate::core::auth::Authenticator;
use crate::core::routing::conditions::{mismatch, rank};
use crate::core::routing::matcher::Matcher;
use crate::core::routing::request::{Parameters, Request, path_fault};
use crate::core::routing::upstream::{Purpose, Upstream};

/// An immutable compiled configuration. Sessions hold what they need of it (a route, a backend's
/// vitals), never the table, so that it goes when the next one is swapped in.
#[derive(Debug)]
pub struct RoutingTable {
    /// Grows with each swap on this gateway.
    pub generation: u64,
    /// Equal on all gateways of one version that have equal routes and upstreams.
    pub digest: Digest,
    /// By name.
    routes: Vec<Arc<Route>>,
    upstreams: BTreeMap<UpstreamName, Arc<Upstream>>,
    authenticators: BTreeMap<AuthenticatorName, Arc<Authenticator>>,
    /// Names of the query's parameters that hold credentials.
    secret_parameters: Vec<String>,
    matcher: Matcher,
}

/// A route as the data plane uses it.
#[derive(Debug)]
pub struct Route {
    /// What the operator wrote; for what it does see `action`.
    pub config: snapshot::Route,
    /// Where it goes, with names resolved.
    pub action: Action,
    /// Who is asked who a request is from, in this order.
    pub authenticators: Vec<Arc<Authenticator>>,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// To a backend of this upstream.
    Forward(Arc<Upstream>),
    /// A static redirect.
    Redirect(Redirect),
}

/// The route that a request takes.
#[derive(Clone, Debug)]
pub struct Matched<'t, 'r> {
    /// To be cloned by whoever keeps it.
    pub route: &'t Arc<Route>,
    /// Values of its path parameters.
    pub parameters: Parameters<'t, 'r>,
}

impl RoutingTable {
    /// Compiles a table that is to be swapped in for `previous`. Upstreams and routes that did not
    /// change are the very same `Arc`s. Backends of a changed upstream keep their vitals where id
    /// and address are the same; those vitals take over the new probe and passive settings at
    /// once, so this is not for a mere trial.
    pub fn compile(
        snapshot: &Snapshot,
        previous: Option<&Self>,
        generation: u64,
        now: Instant,
    ) -> Self {
        Self::build(snapshot, previous, generation, now, Purpose::Swap)
    }

    /// The table that `compile` would make, only to be looked at: nothing that is in force notices.
    /// What probes and passive health settings would change is not in it.
    pub fn trial(snapshot: &Snapshot, in_force: &Self, now: Instant) -> Self {
        let generation = in_force.generation + 1;
        Self::build(snapshot, Some(in_force), generation, now, Purpose::Trial)
    }

    fn build(
        snapshot: &Snapshot,
        previous: Option<&Self>,
        generation: u64,
        now: Instant,
        purpose: Purpose,
    ) -> Self {
        let upstreams: BTreeMap<_, _> = snapshot
            .upstreams
            .iter()
            .map(|(name, config)| {
                let before = previous.and_then(|table| table.upstreams.get(name));
                (
                    name.clone(),
                    Upstream::compile(config, before, now, purpose),
                )
            })
            .collect();
        let authenticators: BTreeMap<_, _> = snapshot
            .authenticators
            .iter()
            .map(|(name, config)| {
                let before = previous.and_then(|table| table.authenticators.get(name));
                (name.clone(), Authenticator::compile(config, before))
            })
            .collect();
        let mut routes: Vec<_> = snapshot
            .routes
            .iter()
            .map(|config| {
                let route = Route::compile(config, &upstreams, &authenticators);
                let before = previous.and_then(|table| table.route(&config.name));
                match before {
                    Some(before) if **before == route => Arc::clone(before),
                    _ => Arc::new(route),
                }
            })
            .collect();
        routes.sort_by(|a, b| a.config.name.cmp(&b.config.name));

        let mut ranked: Vec<_> = routes.iter().collect();
        // Stable: routes of one rank stay in the order of their names.
        ranked.sort_by_cached_key(|route| std::cmp::Reverse(rank(&route.config)));
        let mut matcher = Matcher::default();
        for route in ranked {
            matcher.insert(route);
        }
        Self {
            generation,
            digest: Digest::of(&routes, &upstreams, &authenticators),
            routes,
            upstreams,
            secret_parameters: secret_parameters(&authenticators),
            authenticators,
            matcher,
        }
    }

    /// The route that `request` takes: the most specific that matches wholly. Does not allocate
    /// for paths of up to four parameters and query values that need no decoding.
    pub fn find<'t, 'r>(&'t self, request: &Request<'r>) -> Option<Matched<'t, 'r>> {
        if path_fault(request.path).is_some() {
            return None;
        }
        let accept = |route: &Route| mismatch(&route.config, request).is_none();
        let (route, values) = self.matcher.find(request.host, request.path, accept)?;
        let names = route.config.path.parameters();
        Some(Matched {
            route,
            parameters: names.zip(values).collect(),
        })
    }

    /// All routes, by name.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of that name.
    pub fn route(&self, name: &RouteName) -> Option<&Arc<Route>> {
        let by_name = |route: &Arc<Route>| route.config.name.cmp(name);
        let place = self.routes.binary_search_by(by_name).ok()?;
        Some(&self.routes[place])
    }

    /// All upstreams, by name.
    pub fn upstreams(&self) -> impl ExactSizeIterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// All authenticators, by name.
    pub fn authenticators(&self) -> impl ExactSizeIterator<Item = &Arc<Authenticator>> {
        self.authenticators.values()
    }

    /// The authenticator of that name.
    pub fn authenticator(&self, name: &str) -> Option<&Arc<Authenticator>> {
        self.authenticators.get(name)
    }

    /// Names of the query's parameters that hold credentials, whatever route a request takes (I11).
    pub fn secret_parameters(&self) -> &[String] {
        &self.secret_parameters
    }

    /// Whether both have the very same authenticators: secrets are in no digest.
    pub fn same_authenticators(&self, other: &Self) -> bool {
        let same =
            |(one, other): (&Arc<Authenticator>, &Arc<Authenticator>)| Arc::ptr_eq(one, other);
        self.authenticators.len() == other.authenticators.len()
            && self.authenticators().zip(other.authenticators()).all(same)
    }

    /// The upstream of that name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }
}

impl Route {
    fn compile(
        config: &snapshot::Route,
        upstreams: &BTreeMap<UpstreamName, Arc<Upstream>>,
        authenticators: &BTreeMap<AuthenticatorName, Arc<Authenticator>>,
    ) -> Self {
        let asked = config.auth.authenticate.iter();
        let asked = asked.map(|name| {
            let one = authenticators.get(name);
            Arc::clone(one.expect("a snapshot's names resolve"))
        });
        let action = match &config.action {
            snapshot::Action::Forward(name) => {
                let upstream = upstreams.get(name);
                let upstream = upstream.expect("a snapshot's names resolve");
                Action::Forward(Arc::clone(upstream))
            }
            snapshot::Action::Redirect(redirect) => Action::Redirect(redirect.clone()),
        };
        Self {
            config: config.clone(),
            action,
            authenticators: asked.collect(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &RouteName {
        &self.config.name
    }
}

/// Routes are equal if they do the same with the very same things.
impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other)| Arc::ptr_eq(one, other);
        self.config == other.config
            && self.action == other.action
            && self
                .authenticators
                .iter()
                .zip(&other.authenticators)
                .all(same)
    }
}

fn secret_parameters(
    authenticators: &BTreeMap<AuthenticatorName, Arc<Authenticator>>,
) -> Vec<String> {
    let names = authenticators
        .values()
        .flat_map(|one| one.config.query_names());
    let mut names: Vec<_> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Upstreams are equal if they are the same one: an equal one that was compiled anew has other
/// vitals.
impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward(one), Self::Forward(other)) => Arc::ptr_eq(one, other),
            (Self::Redirect(one), Self::Redirect(other)) => one == other,
            _ => false,
        }
    }
}

/// XXH3-128 of a table's routes, upstreams and authenticators, each sorted by name. No `Secret` is
/// in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// `Debug` is the rendering: it names every field, so that none can be forgotten, quotes all
    /// text, and shows no secret. The collections in it are sorted or in the operator's order.
    fn of(
        routes: &[Arc<Route>],
        upstreams: &BTreeMap<UpstreamName, Arc<Upstream>>,
        authenticators: &BTreeMap<AuthenticatorName, Arc<Authenticator>>,
    ) -> Self {
        let mut hasher = Hasher(Box::new(Xxh3::new()));
        for upstream in upstreams.values() {
            writeln!(hasher, "{:?}", upstream.config).expect("hashing does not fail");
        }
        for one in authenticators.values() {
            writeln!(hasher, "{:?}", one.config).expect("hashing does not fail");
        }
        for route in routes {
            writeln!(hasher, "{:?}", route.config).expect("hashing does not fail");
        }
        Self(hasher.0.digest128())
    }
}

/// Takes text. The state is large, hence the box.
struct Hasher(Box<Xxh3>);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
