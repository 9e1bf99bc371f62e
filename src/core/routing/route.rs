//! A route as the data plane uses it, and the match of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::names::{AuthenticatorName, FunctionName, RouteName};
use crate::config::snapshot::{self, AuthMethod};
use crate::core::auth::Authenticator;
use crate::core::routing::conditions::{is_unconditional, mismatch};
use crate::core::routing::digest::{digest_of, same_config};
use crate::core::routing::request::{Parameters, Request};

/// A route as the data plane uses it. It outlives changes of the upstream that it names.
#[derive(Debug)]
pub struct Route {
    /// What the operator wrote.
    pub config: Arc<snapshot::Route>,
    /// The authenticators, in this order.
    pub authenticators: Vec<Arc<Authenticator>>,
    /// A digest of everything that guards the route; `None` if it is open.
    pub(super) guard: Option<u128>,
    pub(super) digest: u128,
    /// Host and path decide alone.
    unconditional: bool,
}

impl Route {
    /// Whether it has no backend, and messages of its clients go to the broker.
    pub fn is_at_broker(&self) -> bool {
        let broker = snapshot::BROKER_UPSTREAM;
        matches!(&self.config.action, snapshot::Action::Forward(name) if name.as_str() == broker)
    }

    /// The files that it serves, if it serves files.
    pub fn files(&self) -> Option<&Arc<snapshot::StaticFiles>> {
        match &self.config.action {
            snapshot::Action::Static(files, _) => Some(files),
            _ => None,
        }
    }

    /// The function in the place of a backend, if it has one.
    pub fn function(&self) -> Option<&FunctionName> {
        match &self.config.action {
            snapshot::Action::Function(name, _) => Some(name),
            _ => None,
        }
    }

    /// Whether only sessions have a meaning: their other end is in this process.
    pub fn takes_sessions_only(&self) -> bool {
        self.is_at_broker() || self.function().is_some()
    }

    pub(super) fn compile(
        config: &Arc<snapshot::Route>,
        authenticators: &BTreeMap<AuthenticatorName, Arc<Authenticator>>,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let asked = config.auth.authenticate.iter();
        let asked = asked.map(|name| {
            let one = authenticators.get(name);
            Arc::clone(one.expect("a snapshot's names resolve"))
        });
        let authenticators: Vec<_> = asked.collect();
        let same = |route: &&Arc<Self>| {
            let same = |(one, other)| Arc::ptr_eq(one, other);
            same_config(&route.config, config)
                && route.authenticators.iter().zip(&authenticators).all(same)
        };
        match before.filter(same) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Self {
                config: Arc::clone(config),
                guard: guard_of(config, &authenticators),
                unconditional: is_unconditional(config),
                authenticators,
                digest: digest_of(&**config),
            }),
        }
    }

    /// Whether a request that has its host and its path meets its conditions.
    pub(super) fn accepts(&self, request: &Request<'_>) -> bool {
        let checked = || mismatch(&self.config, request).is_none();
        debug_assert!(!self.unconditional || checked(), "all conditions count");
        self.unconditional || checked()
    }

    /// Its name.
    pub fn name(&self) -> &RouteName {
        &self.config.name
    }
}

/// The route that a request takes.
#[derive(Clone, Debug)]
pub struct Matched<'t, 'r> {
    /// Clone it to keep it.
    pub route: &'t Arc<Route>,
    /// Values of its path parameters.
    pub parameters: Parameters<'t, 'r>,
}

impl<'t, 'r> Matched<'t, 'r> {
    /// `None` if the path is not one that the route matches.
    pub(super) fn new(route: &'t Arc<Route>, path: &'r str) -> Option<Self> {
        let values = route.config.path.captures(path)?;
        let parameters = route.config.path.parameters().zip(values).collect();
        Some(Self { route, parameters })
    }
}

/// A digest of everything that guards a route.
fn guard_of(route: &snapshot::Route, authenticators: &[Arc<Authenticator>]) -> Option<u128> {
    let anonymous = |one: &Arc<Authenticator>| matches!(one.config.method, AuthMethod::Anonymous);
    let open = authenticators.first().is_none_or(anonymous) && route.addresses.is_empty();
    let auth = &route.auth;
    (!open).then(|| digest_of(&(&auth.authenticate, &auth.authorize, &route.addresses)))
}
