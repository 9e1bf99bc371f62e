//! Compares two routes: whether one is guarded less, and whether one can take requests of the
//! other.

use crate::config::pattern::{HostPattern, Segment};
use crate::config::snapshot::Route;

/// Whether a route is guarded.
pub(super) fn is_guarded(route: &Route) -> bool {
    !route.auth.authenticate.is_empty()
        || !route.auth.authorize.is_empty()
        || route.addresses != Default::default()
        || route.origins != Default::default()
}

/// The requirements of `guarded` that `route` lacks.
pub(super) fn asks_less(route: &Route, guarded: &Route) -> Vec<String> {
    let mut found = Vec::new();
    let (own, asked) = (&route.auth.authenticate, &guarded.auth.authenticate);
    if !asked.is_empty() {
        if own.is_empty() {
            found.push("it asks for no credential".to_owned());
        }
        let more = own.iter().find(|name| !asked.contains(name));
        found.extend(more.map(|name| format!("it also accepts authenticator `{name}`")));
    }
    let mut conditions = guarded.auth.authorize.iter();
    if conditions.any(|one| !route.auth.authorize.contains(one)) {
        found.push("it leaves out a condition of `authorize`".to_owned());
    }
    if guarded.addresses != Default::default() && guarded.addresses != route.addresses {
        found.push("its `allow` and `deny` are others".to_owned());
    }
    let (origins, asked) = (&route.origins, &guarded.origins);
    // Without a list only pages of the same host, where browsers bring the credential.
    let listed = guarded.auth.authenticate.is_empty() && asked.allowed.is_none();
    if (origins.allowed != asked.allowed && !listed) || (asked.required && !origins.required) {
        found.push("its `origins` are others".to_owned());
    }
    let mut passed_on = guarded.auth.claim_headers.iter();
    if passed_on.any(|one| !route.auth.claim_headers.contains(one)) {
        found.push("it leaves out a header of `claim_headers`".to_owned());
    }
    if route.auth.expiry_leeway > guarded.auth.expiry_leeway
        && !guarded.auth.authenticate.is_empty()
    {
        found.push("its sessions outlive their credentials for longer".to_owned());
    }
    found
}

/// Whether there may be a request that matches both, and that `route` takes. Conditions on headers,
/// query and subprotocols count as fulfilled.
pub(super) fn may_take(route: &Route, guarded: &Route) -> bool {
    let (own, other) = (&route.methods, &guarded.methods);
    let disjoint =
        !own.is_empty() && !other.is_empty() && !own.iter().any(|one| other.contains(one));
    if disjoint || !paths_meet(route.path.segments(), guarded.path.segments()) {
        return false;
    }
    let path_first = !is_less_specific(route.path.segments(), guarded.path.segments());
    let (own, others) = (hosts(route), hosts(guarded));
    own.iter().any(|own| {
        others.iter().any(|other| match meet(*own, *other) {
            Some(Precedence::First) => true,
            Some(Precedence::Equal) => path_first,
            Some(Precedence::Second) | None => false,
        })
    })
}

/// `None` is any.
pub(super) fn hosts(route: &Route) -> Vec<Option<&HostPattern>> {
    match route.hosts.is_empty() {
        true => vec![None],
        false => route.hosts.iter().map(Some).collect(),
    }
}

/// Which of two overlapping hosts is more specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precedence {
    First,
    Equal,
    Second,
}

fn meet(one: Option<&HostPattern>, other: Option<&HostPattern>) -> Option<Precedence> {
    use HostPattern::{Exact, Wildcard};
    use Precedence::{Equal, First, Second};
    let below = |name: &str, suffix: &str| {
        let front = name.strip_suffix(suffix);
        front.is_some_and(|front| front.ends_with('.'))
    };
    match (one, other) {
        (None, None) => Some(Equal),
        (Some(_), None) => Some(First),
        (None, Some(_)) => Some(Second),
        (Some(Exact(one)), Some(Exact(other))) => (one == other).then_some(Equal),
        (Some(Exact(one)), Some(Wildcard(other))) => below(one, other).then_some(First),
        (Some(Wildcard(one)), Some(Exact(other))) => below(other, one).then_some(Second),
        (Some(Wildcard(one)), Some(Wildcard(other))) if one == other => Some(Equal),
        (Some(Wildcard(one)), Some(Wildcard(other))) if below(one, other) => Some(First),
        (Some(Wildcard(one)), Some(Wildcard(other))) if below(other, one) => Some(Second),
        (Some(Wildcard(_)), Some(Wildcard(_))) => None,
    }
}

/// Whether a path matches both.
pub(super) fn paths_meet(one: &[Segment], other: &[Segment]) -> bool {
    let (mut one, mut other) = (one.iter(), other.iter());
    loop {
        match (one.next(), other.next()) {
            // A rest may be nothing at all, the slash before it included.
            (Some(Segment::Rest(_)), _) | (_, Some(Segment::Rest(_))) | (None, None) => {
                return true;
            }
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(Segment::Exact(one)), Some(Segment::Exact(other))) if one != other => {
                return false;
            }
            (Some(Segment::Exact(text)), Some(Segment::Parameter(_)))
            | (Some(Segment::Parameter(_)), Some(Segment::Exact(text)))
                if text.is_empty() =>
            {
                return false;
            }
            _ => {}
        }
    }
}

/// Whether paths that match both go to the other one: at the first segment where they differ in
/// kind, `one` is the wider.
fn is_less_specific(one: &[Segment], other: &[Segment]) -> bool {
    let kind = |segment: Option<&Segment>| match segment {
        Some(Segment::Exact(_)) => 0,
        Some(Segment::Parameter(_)) => 1,
        // Paths that meet end together, or one of them has a rest here.
        None => 2,
        Some(Segment::Rest(_)) => 3,
    };
    let places = one.len().max(other.len());
    let kinds = (0..places).map(|place| (kind(one.get(place)), kind(other.get(place))));
    let mut differing = kinds.filter(|(one, other)| one != other);
    differing.next().is_some_and(|(one, other)| one > other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::conflict::tests::route;

    #[test]
    fn the_route_that_takes_common_requests_is_found() {
        let check = |(host, path): (&str, &str), (other_host, other): (&str, &str), takes: bool| {
            let on = |host: &str, path: &str| Route {
                hosts: host.parse().into_iter().collect(),
                ..route("r", path)
            };
            let found = may_take(&on(host, path), &on(other_host, other));
            assert_eq!(found, takes, "{host} {path} before {other_host} {other}");
        };
        check(("", "/admin/x"), ("", "/admin/{*rest}"), true);
        check(("", "/admin/{x}"), ("", "/admin/{*rest}"), true);
        check(("", "/{*rest}"), ("", "/admin/{*rest}"), false);
        check(("", "/{a}/x"), ("", "/admin/{*rest}"), false);
        check(("", "/admin"), ("", "/admin/{*rest}"), true);
        check(("", "/admins/x"), ("", "/admin/{*rest}"), false);
        check(("", "/admin/{*rest}"), ("", "/admin/{*more}"), true);
        check(("", "/admin/"), ("", "/admin/{x}"), false);
        check(("a.test", "/{*rest}"), ("", "/admin/{*rest}"), true);
        check(("", "/admin/x"), ("a.test", "/admin/{*rest}"), false);
        check(("a.test", "/{*rest}"), ("b.test", "/{*rest}"), false);
        check(("a.test", "/{*rest}"), ("*.test", "/{*rest}"), true);
        check(("*.test", "/{*rest}"), ("a.test", "/{*rest}"), false);
        check(("*.a.test", "/{*rest}"), ("*.test", "/x"), true);
        check(("*.test", "/x"), ("*.a.test", "/{*rest}"), false);
        check(("*.test", "/x"), ("nottest", "/x"), false);
    }
}
