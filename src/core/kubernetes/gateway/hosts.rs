//! Host names of listeners and routes, and what they have in common.

use std::collections::BTreeSet;

use crate::config::pattern::HostPattern;

/// The hosts of a route at the listeners that it is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Any host, beside these.
    pub(super) any: bool,
    pub(super) names: BTreeSet<HostPattern>,
}

impl Hosts {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        !self.any && self.names.is_empty()
    }

    /// Adds what a listener and a route have in common; answers whether that is anything. `None` is
    /// any host, and so is an empty list.
    pub(super) fn add(&mut self, listener: Option<&HostPattern>, route: &[HostPattern]) -> bool {
        let Some(listener) = listener else {
            self.any |= route.is_empty();
            self.names.extend(route.iter().cloned());
            return true;
        };
        if route.is_empty() {
            self.names.insert(listener.clone());
            return true;
        }
        let mut any = false;
        for common in route.iter().filter_map(|one| common(listener, one)) {
            any = true;
            self.names.insert(common);
        }
        any
    }
}

/// What matches both.
fn common(one: &HostPattern, other: &HostPattern) -> Option<HostPattern> {
    use HostPattern::{Exact, Wildcard};
    let below = |name: &str, suffix: &str| {
        let front = name.strip_suffix(suffix);
        front.is_some_and(|front| front.ends_with('.'))
    };
    match (one, other) {
        (one, other) if one == other => Some(one.clone()),
        (Exact(name) | Wildcard(name), Wildcard(suffix)) if below(name, suffix) => {
            Some(one.clone())
        }
        (Wildcard(suffix), Exact(name) | Wildcard(name)) if below(name, suffix) => {
            Some(other.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_the_hosts_that_its_listener_has_too() {
        let check = |listener: Option<&str>, route: &[&str], any: bool, expected: &[&str]| {
            let host = |text: &str| text.parse::<HostPattern>().expect("a host");
            let route: Vec<_> = route.iter().map(|text| host(text)).collect();
            let mut hosts = Hosts::default();
            let found = hosts.add(listener.map(host).as_ref(), &route);
            let shown: Vec<_> = hosts.names.iter().map(ToString::to_string).collect();
            assert_eq!(
                (hosts.any, shown.as_slice()),
                (any, expected.map_to_string().as_slice())
            );
            assert_eq!(found, any || !expected.is_empty());
        };
        check(None, &[], true, &[]);
        check(None, &["a.example"], false, &["a.example"]);
        check(Some("a.example"), &[], false, &["a.example"]);
        check(
            Some("a.example"),
            &["a.example", "b.example"],
            false,
            &["a.example"],
        );
        check(
            Some("*.example"),
            &["a.example", "a.other"],
            false,
            &["a.example"],
        );
        check(Some("a.example"), &["*.example"], false, &["a.example"]);
        check(Some("*.example"), &["*.b.example"], false, &["*.b.example"]);
        check(Some("*.b.example"), &["*.example"], false, &["*.b.example"]);
        check(Some("*.example"), &["example", "badexample"], false, &[]);
    }

    trait Texts {
        fn map_to_string(&self) -> Vec<String>;
    }

    impl Texts for &[&str] {
        fn map_to_string(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }
}
