//! Ways to what a guarded route leads to that take none of its requests: another host, a rewrite,
//! spellings that the route passes on and the backend may read as the guarded path, or a function.

use std::borrow::Cow;

use crate::base::path::{PathRules, path_key};
use crate::config::overlay::protection::compare::{hosts, paths_meet};
use crate::config::pattern::{HostPattern, Segment};
use crate::config::snapshot::{Action, Route};

/// How a route leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It changes the path or the host that backends see.
    Rewrite,
    /// It passes spellings on that backends may read otherwise.
    Spelling,
    /// It is for other hosts. Backends of several hosts tell them apart, others do not.
    Host,
    /// Events have no path: whatever leads to the function is the same.
    Function,
}

impl Reach {
    /// The beginning of a sentence.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Rewrite => "by its `rewrite` it reaches",
            Self::Spelling => "by the spellings that it passes on it reaches",
            Self::Host => "on other hosts it reaches",
            Self::Function => "through its function it reaches",
        }
    }
}

/// How requests of `route` may get what requests of `guarded` get, where both lead to the same
/// upstream or function. What the guarded route takes itself is no such way.
pub(super) fn reaches(route: &Route, guarded: &Route) -> Option<Reach> {
    // The function sees no path.
    if matches!(route.action, Action::Function(..)) {
        return Some(Reach::Function);
    }
    let (own, other) = (seen(route), seen(guarded));
    let meet = paths_meet(&own, &other);
    let rewrites =
        |route: &Route| route.rewrite.path.is_some() || route.rewrite.strip_prefix.is_some();
    if meet && (rewrites(route) || rewrites(guarded)) {
        return Some(Reach::Rewrite);
    }
    let open = own
        .iter()
        .any(|segment| !matches!(segment, Segment::Exact(_)));
    if open && route.paths != PathRules::default() && route.paths != guarded.paths {
        return Some(Reach::Spelling);
    }
    if !meet || covered(route, guarded) {
        return None;
    }
    Some(match route.rewrite.host {
        Some(_) => Reach::Rewrite,
        None => Reach::Host,
    })
}

/// Whether the gateway's own answer at `path` stands before a route.
pub(super) fn answers_at(path: &str, route: &Route) -> bool {
    let segments = path.split('/').skip(1);
    let segments: Vec<_> = segments
        .map(|text| Segment::Exact(text.to_owned()))
        .collect();
    paths_meet(&segments, route.path.segments())
}

/// The paths that backends see of a route's requests.
fn seen(route: &Route) -> Cow<'_, [Segment]> {
    let own = route.path.segments();
    if let Some(template) = &route.rewrite.path {
        return Cow::Owned(filled(template.segments(), own.last()));
    }
    let Some(prefix) = &route.rewrite.strip_prefix else {
        return Cow::Borrowed(own);
    };
    let mut left = own;
    for part in prefix.split('/').filter(|part| !part.is_empty()) {
        left = match left {
            [Segment::Exact(text), rest @ ..] if *text == path_key(part) => rest,
            // Of some requests it is taken off, of others not.
            _ => return Cow::Owned(vec![Segment::Rest(String::new())]),
        };
    }
    match left {
        [] => Cow::Owned(vec![Segment::Exact(String::new())]),
        left => Cow::Borrowed(left),
    }
}

/// The paths that a template makes of those of a pattern that ends with `last`.
fn filled(template: &[Segment], last: Option<&Segment>) -> Vec<Segment> {
    let mut seen = Vec::new();
    for segment in template {
        match segment {
            Segment::Exact(text) => seen.push(Segment::Exact(path_key(text).into_owned())),
            Segment::Parameter(name) | Segment::Rest(name) if matches!(last, Some(Segment::Rest(rest)) if rest == name) =>
            {
                // It takes any number of segments; what follows them is anywhere.
                seen.push(Segment::Rest(name.clone()));
                break;
            }
            one => seen.push(one.clone()),
        }
    }
    seen
}

/// Whether `guarded` is there for every host of `route`.
fn covered(route: &Route, guarded: &Route) -> bool {
    let covers = |wide: &HostPattern, host: &HostPattern| match (wide, host) {
        (HostPattern::Wildcard(suffix), HostPattern::Exact(name) | HostPattern::Wildcard(name)) => {
            let front = name.strip_suffix(suffix.as_str());
            wide == host || front.is_some_and(|front| front.ends_with('.'))
        }
        (HostPattern::Exact(_), _) => wide == host,
    };
    let among = |host: Option<&HostPattern>| match host {
        _ if guarded.hosts.is_empty() => true,
        Some(host) => guarded.hosts.iter().any(|wide| covers(wide, host)),
        None => false,
    };
    hosts(route).into_iter().all(among)
}

#[cfg(test)]
mod tests;
