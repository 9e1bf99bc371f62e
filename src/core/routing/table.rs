//! The routing table: routes and upstreams of one configuration, compiled for lookups. Compiling
//! reuses unchanged parts of the previous table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::base::names::{AuthenticatorName, FunctionName, RouteName, UpstreamName};
use crate::base::path::{CanonicalPath, PathFault, path_key};
use crate::config::origin::OriginRule;
use crate::config::snapshot::{self, Function, Redirect, Snapshot, StaticFiles};
use crate::core::auth::Authenticator;
use crate::core::routing::conditions::rank;
use crate::core::routing::digest::{Digest, digest_of};
use crate::core::routing::header_names::HeaderNames;
use crate::core::routing::lookalikes::Lookalikes;
use crate::core::routing::matcher::Matcher;
use crate::core::routing::request::Request;
use crate::core::routing::residents::{Removed, Residents};
use crate::core::routing::route::{Matched, Route};
use crate::core::routing::upstream::{Purpose, Upstream};

/// An immutable compiled configuration. Sessions hold only the parts that they need (a route, a
/// backend's state), never the table, so that it is freed after the next swap.
#[derive(Debug)]
pub struct RoutingTable {
    /// Grows with each swap on this gateway.
    pub generation: u64,
    /// Equal on all gateways of one version that have equal routes and upstreams.
    pub digest: Digest,
    /// By name.
    routes: Vec<Arc<Route>>,
    upstreams: BTreeMap<UpstreamName, Arc<Upstream>>,
    /// What stands for an upstream on routes that serve files or have a function.
    local: BTreeMap<UpstreamName, Arc<Upstream>>,
    functions: BTreeMap<FunctionName, Arc<Function>>,
    authenticators: BTreeMap<AuthenticatorName, Arc<Authenticator>>,
    /// Paths at which the gateway itself answers.
    endpoints: HashMap<String, Endpoint>,
    /// Names of the query's parameters that hold credentials.
    secret_parameters: Vec<String>,
    /// Header names that mean something.
    header_names: HeaderNames,
    /// Shared by all tables of a gateway.
    pub(super) residents: Arc<Residents>,
    /// Shared by all tables that have just these routes.
    pub(super) matcher: Arc<Matcher>,
    /// Likewise; only where routes are guarded differently.
    pub(super) lookalikes: Option<Arc<Lookalikes>>,
}

/// What a route does, with names resolved.
#[derive(Clone, Copy, Debug)]
pub enum Action<'t> {
    /// To a backend of this upstream.
    Forward(&'t Arc<Upstream>),
    /// A static redirect.
    Redirect(&'t Redirect),
    /// Files of a directory, and what stands for an upstream.
    Static(&'t Arc<StaticFiles>, &'t Arc<Upstream>),
    /// To this function, and what stands for an upstream.
    Function(&'t FunctionName, &'t Arc<Upstream>),
}

/// A path at which the gateway itself answers.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Gives tickets of this authenticator to whom these let in.
    Mint(Arc<Authenticator>, Vec<Arc<Authenticator>>),
    /// Extends sessions of this route.
    Renew(Arc<Route>),
}

impl Endpoint {
    /// Which pages may ask; `None`: those of the same origin.
    pub fn origins(&self) -> Option<&OriginRule> {
        match self {
            Self::Mint(tickets, _) => tickets.config.mint().map(|mint| &mint.origins),
            Self::Renew(route) => Some(&route.config.origins),
        }
    }

    /// Who is asked who a request is from.
    pub fn asked(&self) -> &[Arc<Authenticator>] {
        match self {
            Self::Mint(_, asked) => asked,
            Self::Renew(route) => &route.authenticators,
        }
    }
}

impl RoutingTable {
    /// Compiles a table that is to be swapped in for `previous`. Upstreams and routes that did not
    /// change are the very same `Arc`s. Backends of a changed upstream keep their state where id
    /// and address are the same; that state takes over the new probe and passive settings at
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
        let residents = previous.map_or_else(Arc::default, |table| Arc::clone(&table.residents));
        let upstreams: BTreeMap<_, _> = snapshot
            .upstreams
            .iter()
            .map(|(name, config)| {
                let before = previous.and_then(|table| table.upstreams.get(name));
                (
                    name.clone(),
                    Upstream::compile(
                        (config, snapshot.zone.as_ref()),
                        before,
                        &residents,
                        now,
                        purpose,
                    ),
                )
            })
            .collect();
        let local = local(snapshot).map(|config| {
            let before = previous.and_then(|table| table.local.get(&config.name));
            let compiled = Upstream::compile((config, None), before, &residents, now, purpose);
            (config.name.clone(), compiled)
        });
        let local = local.collect();
        if purpose == Purpose::Swap {
            residents.prune();
        }
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
                let before = previous.and_then(|table| table.route(&config.name));
                Route::compile(config, &authenticators, before)
            })
            .collect();
        routes.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        let (matcher, lookalikes) = matching(&routes, previous);
        let upstream_digests = upstreams.values().map(|upstream| upstream.digest());
        let function_digests = snapshot.functions.values().map(|one| digest_of(&**one));
        let targets: Vec<_> = upstream_digests.chain(function_digests).collect();
        Self {
            generation,
            digest: Digest::of([
                &mut targets.into_iter(),
                &mut authenticators.values().map(|one| digest_of(&one.config)),
                &mut routes.iter().map(|route| route.digest),
            ]),
            endpoints: endpoints(&routes, &authenticators),
            routes,
            upstreams,
            local,
            functions: snapshot.functions.clone(),
            residents,
            secret_parameters: secret_parameters(&authenticators),
            header_names: HeaderNames::of(
                snapshot.routes.iter().map(Arc::as_ref),
                snapshot.authenticators.values(),
            ),
            authenticators,
            matcher,
            lookalikes,
        }
    }

    /// The most specific route that matches `request`, regardless of spellings; `choose` decides
    /// which route the request takes. Does not allocate for paths of up to four parameters without
    /// percent-encoding and query values that need no decoding.
    pub fn find<'t, 'r>(&'t self, request: &Request<'r>) -> Option<Matched<'t, 'r>> {
        let accept = |route: &Route| route.accepts(request);
        let key = path_key(request.path);
        let route = self.matcher.find(request.host, &key, accept)?;
        Matched::new(route, request.path)
    }

    /// The route that `request` takes. `path` is what its own path was taken from; the parameters
    /// are as the backend gets them.
    ///
    /// # Errors
    /// When the route does not pass this spelling on, or a backend could read it as a path that is
    /// guarded differently.
    pub fn choose<'t, 'r>(
        &'t self,
        request: &Request<'r>,
        path: &'r CanonicalPath,
    ) -> Result<Option<Matched<'t, 'r>>, PathFault> {
        let Some(found) = self.find(request) else {
            return Ok(None);
        };
        let rules = found.route.config.paths;
        path.allowed(rules)?;
        let lookalikes = self.lookalikes.as_ref().filter(|_| !rules.lookalikes);
        if lookalikes.is_some_and(|all| all.may_be_another(request, found.route)) {
            return Err(PathFault::Lookalike);
        }
        Ok(Matched::new(found.route, path.forwarded(rules)))
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

    /// What a route of this table does.
    ///
    /// # Panics
    /// When the route is not of this table.
    pub fn action<'t>(&'t self, route: &'t Route) -> Action<'t> {
        match &route.config.action {
            snapshot::Action::Forward(name) => {
                let upstream = self.upstreams.get(name);
                Action::Forward(upstream.expect("a snapshot's names resolve"))
            }
            snapshot::Action::Redirect(redirect) => Action::Redirect(redirect),
            snapshot::Action::Static(files, upstream) => {
                Action::Static(files, self.local(upstream))
            }
            snapshot::Action::Function(name, upstream) => {
                Action::Function(name, self.local(upstream))
            }
        }
    }

    /// What stands for an upstream on a route of this table.
    fn local(&self, config: &snapshot::Upstream) -> &Arc<Upstream> {
        let upstream = self.local.get(&config.name);
        upstream.expect("there is one for each route that has it")
    }

    /// The function of that name.
    pub fn function(&self, name: &FunctionName) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// What the gateway itself answers at this path, if it does.
    pub fn endpoint(&self, path: &str) -> Option<&Endpoint> {
        self.endpoints.get(path)
    }

    /// All authenticators, by name.
    pub fn authenticators(&self) -> impl ExactSizeIterator<Item = &Arc<Authenticator>> {
        self.authenticators.values()
    }

    /// The authenticator of that name.
    pub fn authenticator(&self, name: &str) -> Option<&Arc<Authenticator>> {
        self.authenticators.get(name)
    }

    /// Names of the query's parameters that hold credentials, on any route (I11).
    pub fn secret_parameters(&self) -> &[String] {
        &self.secret_parameters
    }

    /// Header names with a meaning on any route.
    pub fn header_names(&self) -> &HeaderNames {
        &self.header_names
    }

    /// Whether this table, compiled to replace `previous`, is equal to it. Values were compared,
    /// including secrets, which are in no digest.
    pub fn same_as(&self, previous: &Self) -> bool {
        same(self.routes.iter(), previous.routes.iter())
            && same(self.upstreams(), previous.upstreams())
            && same(self.authenticators(), previous.authenticators())
            && self.functions == previous.functions
    }

    /// Backends that sessions live on and that are not members of this table, by upstream and id.
    pub fn removed(&self) -> Vec<Removed> {
        let mut removed = self.residents.occupied();
        removed.retain(|one| {
            let upstream = self.upstream(&one.upstream);
            upstream.is_none_or(|upstream| upstream.member(&one.id).is_none())
        });
        removed
    }

    /// The removed backend of that id, if sessions live on it.
    pub fn removed_backend(&self, upstream: &str, id: &str) -> Option<Removed> {
        let mut removed = self.removed().into_iter();
        removed.find(|one| one.upstream.as_str() == upstream && one.id.as_str() == id)
    }

    /// Which backends sessions live on.
    pub fn residents(&self) -> &Residents {
        &self.residents
    }

    /// The upstream of that name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }
}

/// What stands for an upstream on routes that serve files or have a function.
fn local(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<snapshot::Upstream>> {
    let mut seen = HashSet::new();
    let routes = snapshot.routes.iter();
    let all = routes.filter_map(|route| match &route.action {
        snapshot::Action::Static(_, upstream) | snapshot::Action::Function(_, upstream) => {
            Some(upstream)
        }
        snapshot::Action::Forward(_) | snapshot::Action::Redirect(_) => None,
    });
    all.filter(move |upstream| seen.insert(&upstream.name))
}

/// How paths find `routes`: as in `previous` if the routes are the same.
fn matching(
    routes: &[Arc<Route>],
    previous: Option<&RoutingTable>,
) -> (Arc<Matcher>, Option<Arc<Lookalikes>>) {
    if let Some(table) = previous.filter(|table| same(table.routes.iter(), routes.iter())) {
        return (Arc::clone(&table.matcher), table.lookalikes.clone());
    }
    let ranked = ranked(routes);
    let mut matcher = Matcher::default();
    for route in &ranked {
        matcher.insert(route.config.path.segments(), route);
    }
    (Arc::new(matcher), Lookalikes::of(&ranked).map(Arc::new))
}

/// Whether they are the very same ones.
fn same<'t, T: 't>(
    one: impl ExactSizeIterator<Item = &'t Arc<T>>,
    other: impl ExactSizeIterator<Item = &'t Arc<T>>,
) -> bool {
    one.len() == other.len() && one.zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// In the order in which routes with the same host and path are tried.
fn ranked(routes: &[Arc<Route>]) -> Vec<&Arc<Route>> {
    let mut ranked: Vec<_> = routes.iter().collect();
    // Stable: routes of one rank stay in the order of their names.
    ranked.sort_by_cached_key(|route| std::cmp::Reverse(rank(&route.config)));
    ranked
}

fn endpoints(
    routes: &[Arc<Route>],
    authenticators: &BTreeMap<AuthenticatorName, Arc<Authenticator>>,
) -> HashMap<String, Endpoint> {
    let renewals = routes.iter().filter_map(|route| {
        let path = route.config.auth.renew.clone()?;
        Some((path, Endpoint::Renew(Arc::clone(route))))
    });
    let mints = authenticators.values().filter_map(|one| {
        let mint = one.config.mint()?;
        // An authenticator that is gone takes the endpoint away: without it, others would decide.
        let asked = mint
            .authenticate
            .iter()
            .map(|name| authenticators.get(name).cloned());
        let asked = asked.collect::<Option<_>>()?;
        Some((mint.path.clone(), Endpoint::Mint(Arc::clone(one), asked)))
    });
    renewals.chain(mints).collect()
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
