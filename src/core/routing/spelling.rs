//! Guards against lookalike paths. A path may match an open route while the backend reads it as one
//! of a guarded route: some backends ignore case, or a trailing slash or dot. Such a request is
//! refused, unless the route declares that its backend distinguishes these paths.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use crate::base::path::{CanonicalPath, PathFault, fold, path_key};
use crate::config::pattern::Segment;
use crate::config::snapshot::{self, AuthMethod};
use crate::core::auth::Authenticator;
use crate::core::routing::conditions::mismatch;
use crate::core::routing::matcher::Matcher;
use crate::core::routing::request::Request;
use crate::core::routing::table::{Matched, Route, RoutingTable, digest_of};

/// The routes of a table by paths in which lookalikes are one.
#[derive(Debug)]
pub(super) struct Lookalikes {
    matcher: Matcher,
    /// Whether folding changes no path of a route. A request whose path does not change either then
    /// needs no second lookup.
    stable: bool,
}

impl Lookalikes {
    /// `None` where all routes are guarded alike, so that nothing can be got around.
    pub(super) fn of(ranked: &[&Arc<Route>]) -> Option<Self> {
        let first = ranked.first()?.guard;
        if ranked.iter().all(|route| route.guard == first) {
            return None;
        }
        let mut found = Self {
            matcher: Matcher::default(),
            stable: true,
        };
        for route in ranked {
            let path = &route.config.path;
            let folded = path.folded();
            found.stable &= folded.is_empty() || unnamed(path.segments()).eq(unnamed(&folded));
            found.matcher.insert(&folded, route);
        }
        Some(found)
    }
}

fn unnamed(segments: &[Segment]) -> impl Iterator<Item = Option<&str>> {
    segments.iter().map(|segment| match segment {
        Segment::Exact(text) => Some(text.as_str()),
        Segment::Parameter(_) | Segment::Rest(_) => None,
    })
}

/// A digest of everything that guards a route.
pub(super) fn guard_of(
    route: &snapshot::Route,
    authenticators: &[Arc<Authenticator>],
) -> Option<u128> {
    let anonymous = |one: &Arc<Authenticator>| matches!(one.config.method, AuthMethod::Anonymous);
    let open = authenticators.first().is_none_or(anonymous) && route.addresses.is_empty();
    let auth = &route.auth;
    (!open).then(|| digest_of(&(&auth.authenticate, &auth.authorize, &route.addresses)))
}

impl RoutingTable {
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
        if !rules.lookalikes && self.is_lookalike(request, found.route) {
            return Err(PathFault::Lookalike);
        }
        Ok(Matched::new(found.route, path.forwarded(rules)))
    }

    /// Whether a backend may read a request that takes `route` as one for a route that is guarded
    /// differently. Servers answer HEAD as GET, so it is looked up as one.
    fn is_lookalike(&self, request: &Request<'_>, route: &Arc<Route>) -> bool {
        let Some(lookalikes) = &self.lookalikes else {
            return false;
        };
        let key = path_key(request.path);
        let folded = fold(&key);
        let is_head = request.method == Method::HEAD;
        if lookalikes.stable && matches!(folded, Cow::Borrowed(_)) && !is_head {
            return false;
        }
        let read = Request {
            method: if is_head {
                &Method::GET
            } else {
                request.method
            },
            ..*request
        };
        let accept = |route: &Route| mismatch(&route.config, &read).is_none();
        let Some(other) = lookalikes.matcher.find(request.host, &folded, accept) else {
            return false;
        };
        if other.guard.is_none() || other.guard == route.guard {
            return false;
        }
        // The operator configured both paths, so they are distinct.
        let both = other.config.path.folded() == route.config.path.folded();
        !(both && mismatch(&other.config, request).is_none())
    }
}
