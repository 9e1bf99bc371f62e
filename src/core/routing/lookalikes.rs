//! Requests that a backend may read as requests for another route. Some backends ignore case, or a
//! trailing slash or dot, so a path that matches an open route here may reach a guarded one there.
//! Such a request is refused unless its route states that its backend distinguishes these paths.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use crate::base::path::{fold, path_key};
use crate::config::pattern::Segment;
use crate::core::routing::matcher::Matcher;
use crate::core::routing::request::Request;
use crate::core::routing::route::Route;

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

    /// Whether a backend may read a request that takes `route` as one for a route that is guarded
    /// differently. Servers answer HEAD as GET, so it is looked up as one.
    pub(super) fn may_be_another(&self, request: &Request<'_>, route: &Arc<Route>) -> bool {
        let key = path_key(request.path);
        let folded = fold(&key);
        let is_head = request.method == Method::HEAD;
        if self.stable && matches!(folded, Cow::Borrowed(_)) && !is_head {
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
        let accept = |route: &Route| route.accepts(&read);
        let Some(other) = self.matcher.find(request.host, &folded, accept) else {
            return false;
        };
        if other.guard.is_none() || other.guard == route.guard {
            return false;
        }
        // The operator configured both paths, so they are distinct.
        let both = other.config.path.folded() == route.config.path.folded();
        !(both && other.accepts(request))
    }
}

fn unnamed(segments: &[Segment]) -> impl Iterator<Item = Option<&str>> {
    segments.iter().map(|segment| match segment {
        Segment::Exact(text) => Some(text.as_str()),
        Segment::Parameter(_) | Segment::Rest(_) => None,
    })
}
