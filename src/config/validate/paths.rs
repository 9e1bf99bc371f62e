//! Paths of routes: patterns that match no request, patterns in other notations, and guarded paths
//! that another spelling could get around.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::path::{CanonicalPath, PathRules};
use crate::config::model;
use crate::config::pattern::{HostPattern, PathPattern, Segment, probably_meant};
use crate::config::snapshot::Route;
use crate::config::validate::scope::Scope;

/// The pattern of a route, which some request matches.
pub(super) fn pattern(at: &Scope<'_>, model: &model::Route) -> Option<PathPattern> {
    let rules = rules(model.paths.as_ref());
    let at = at.key("path");
    let path = at.parse::<PathPattern>(&model.path)?;
    let needs = path.needs();
    let missing = [
        ("encoded_slash", needs.encoded_slash && !rules.encoded_slash),
        ("semicolon", needs.semicolon && !rules.semicolon),
    ];
    if let Some((key, _)) = missing.iter().find(|(_, missing)| *missing) {
        at.fault_with(
            format!("`{path}` matches no request, since the route does not pass such paths on"),
            format!("add `paths = {{ {key} = \"pass\" }}` if its backend takes them for data"),
        );
        return None;
    }
    if let Some(meant) = probably_meant(&model.path) {
        at.warn_with(
            format!("`{}` is compared character by character", model.path),
            format!("did you mean `{meant}`?"),
        );
    }
    Some(path)
}

/// What a route passes on.
pub(super) fn rules(model: Option<&model::Paths>) -> PathRules {
    let model = model.copied().unwrap_or_default();
    let passes = |spelling| spelling == model::Spelling::Pass;
    PathRules {
        encoded_slash: passes(model.encoded_slash),
        semicolon: passes(model.semicolon),
        empty_segments: model.empty_segments == model::EmptySegments::Pass,
        lookalikes: passes(model.lookalikes),
    }
}

/// A path that is written out, without parameters, in the form of requests.
pub(super) fn own(text: &str) -> Option<String> {
    let path = CanonicalPath::read(text).ok()?;
    let plain = path.needs() == PathRules::default() && !text.contains(['{', '}']);
    plain.then(|| path.as_str().to_owned())
}

/// Open routes with a rest parameter, by host and by the number of segments before it.
#[derive(Default)]
struct OpenPrefixes<'r> {
    prefixes: HashMap<Vec<Segment>, usize>,
    open: HashMap<(Option<HostPattern>, usize), &'r Route>,
}

/// Warns if an open route with a rest parameter covers the paths of a guarded route: a path that
/// the backend reads as guarded may match the open route. A route with a `paths` table is excluded:
/// its operator has considered it.
pub(super) fn warn_of_open_prefixes(at: &Scope<'_>, model: &model::Model, routes: &[Arc<Route>]) {
    let open = |route: &Route| route.auth.authenticate.is_empty() && route.addresses.is_empty();
    let mut prefixes = OpenPrefixes::default();
    for (route, written) in routes.iter().zip(&model.routes) {
        if let [before @ .., Segment::Rest(_)] = route.path.segments()
            && open(route)
            && written.paths.is_none()
        {
            prefixes.add(route, before);
        }
    }
    if prefixes.open.is_empty() {
        return;
    }
    for (index, route) in routes.iter().enumerate().filter(|(_, one)| !open(one)) {
        let Some(rest) = prefixes.of(route) else {
            continue;
        };
        at.index(index).key("path").warn_with(
            format!(
                "route `{}` is guarded, and `{}`, which takes the paths beside `{}`, is not",
                route.name, rest.name, route.path
            ),
            format!(
                "spellings that many servers take for a guarded path are refused (see \
                 docs/routing.md); give `{}` a `paths` table to say how its backend reads the \
                 others, and let the backend ask too",
                rest.name
            ),
        );
    }
}

impl<'r> OpenPrefixes<'r> {
    fn add(&mut self, route: &'r Route, before: &[Segment]) {
        let fresh = self.prefixes.len();
        let prefix = before.iter().map(nameless).collect();
        let prefix = *self.prefixes.entry(prefix).or_insert(fresh);
        for host in hosts(route) {
            self.open.entry((host.cloned(), prefix)).or_insert(route);
        }
    }

    /// The open route that covers the paths around a guarded one.
    fn of(&self, route: &Route) -> Option<&'r Route> {
        let segments: Vec<_> = route.path.segments().iter().map(nameless).collect();
        let prefixes = (0..segments.len()).filter_map(|end| self.prefixes.get(&segments[..end]));
        let prefixes: Vec<_> = prefixes.copied().collect();
        let mut candidates = vec![None];
        for host in hosts(route).into_iter().flatten() {
            candidates.push(Some(host.clone()));
            let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host;
            let dots = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
            candidates.extend(dots.map(|suffix| Some(HostPattern::Wildcard(suffix.to_owned()))));
        }
        candidates.into_iter().find_map(|host| {
            let mut key = (host, 0);
            prefixes.iter().find_map(|prefix| {
                key.1 = *prefix;
                self.open.get(&key).copied()
            })
        })
    }
}

/// `None` is any.
fn hosts(route: &Route) -> Vec<Option<&HostPattern>> {
    if route.hosts.is_empty() {
        return vec![None];
    }
    route.hosts.iter().map(Some).collect()
}

/// What a parameter is called does not matter to what it matches.
fn nameless(segment: &Segment) -> Segment {
    match segment {
        Segment::Exact(text) => Segment::Exact(text.clone()),
        Segment::Parameter(_) => Segment::Parameter(String::new()),
        Segment::Rest(_) => Segment::Rest(String::new()),
    }
}
