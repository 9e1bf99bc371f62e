//! Finds the routes of a host and path without looking at the others: host names by hash, paths by
//! a trie of segments. In which order it offers them is written down in `core::routing`.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::pattern::{HostPattern, Segment};
use crate::core::routing::request::HostName;
use crate::core::routing::table::Route;

/// Values of path parameters in the order of the path; names belong to the route.
pub(super) type Values<'r> = SmallVec<[&'r str; 4]>;

/// All routes of a table, by host and path.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    exact: HashMap<Box<[u8]>, Node>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<[u8]>, Node>,
    any: Node,
}

impl Matcher {
    /// Adds a route under each of its hosts. Of routes with the same host and path, the one added
    /// first is asked first.
    pub(super) fn insert(&mut self, route: &Arc<Route>) {
        let segments = route.config.path.segments();
        if route.config.hosts.is_empty() {
            self.any.insert(segments, route);
        }
        for host in &route.config.hosts {
            let (map, name) = match host {
                HostPattern::Exact(name) => (&mut self.exact, name),
                HostPattern::Wildcard(name) => (&mut self.wildcard, name),
            };
            let node = map.entry(name.as_bytes().into()).or_default();
            node.insert(segments, route);
        }
    }

    /// Offers the routes of `host` and `path` to `accept`, most specific first, until it says yes
    /// to one. The path begins with `/`.
    pub(super) fn find<'t, 'r>(
        &'t self,
        host: &str,
        path: &'r str,
        mut accept: impl FnMut(&Route) -> bool,
    ) -> Option<(&'t Arc<Route>, Values<'r>)> {
        let name = HostName::new(host);
        let exact = name
            .iter()
            .filter_map(|name| self.exact.get(name.as_bytes()));
        let suffixes = name.iter().flat_map(HostName::suffixes);
        let wildcard = suffixes.filter_map(|suffix| self.wildcard.get(suffix));
        let mut nodes = exact.chain(wildcard).chain([&self.any]);

        let mut values = Values::new();
        let left = path.strip_prefix('/');
        let route = nodes.find_map(|node| node.find(left, &mut values, &mut accept))?;
        Some((route, values))
    }
}

/// A place in the trie: where the segments so far lead.
#[derive(Debug, Default)]
struct Node {
    exact: HashMap<Box<str>, Self>,
    parameter: Option<Box<Self>>,
    /// Routes whose path ends here.
    ends: Vec<Arc<Route>>,
    /// Routes that take all that is left from here.
    rest: Vec<Arc<Route>>,
}

impl Node {
    fn insert(&mut self, segments: &[Segment], route: &Arc<Route>) {
        let routes = match segments {
            [] => &mut self.ends,
            [Segment::Rest(_), ..] => &mut self.rest,
            [Segment::Exact(text), left @ ..] => {
                let child = self.exact.entry(text.as_str().into()).or_default();
                return child.insert(left, route);
            }
            [Segment::Parameter(_), left @ ..] => {
                return self.parameter.get_or_insert_default().insert(left, route);
            }
        };
        // A route that names a host twice is there already.
        if !routes.iter().any(|known| Arc::ptr_eq(known, route)) {
            routes.push(Arc::clone(route));
        }
    }

    /// `left` is what follows the last slash, `None` when the path has ended. The depth is that of
    /// the routes' paths, not of the request's. `values` are left as they were unless a route is
    /// found.
    fn find<'t, 'r>(
        &'t self,
        left: Option<&'r str>,
        values: &mut Values<'r>,
        accept: &mut impl FnMut(&Route) -> bool,
    ) -> Option<&'t Arc<Route>> {
        if let Some(text) = left {
            let (segment, left) = split(text);
            let child = self.exact.get(segment);
            if let Some(found) = child.and_then(|child| child.find(left, values, accept)) {
                return Some(found);
            }
            if let Some(child) = self.parameter.as_ref().filter(|_| !segment.is_empty()) {
                values.push(segment);
                if let Some(found) = child.find(left, values, accept) {
                    return Some(found);
                }
                values.pop();
            }
        } else if let Some(found) = self.ends.iter().find(|route| accept(route)) {
            return Some(found);
        }
        let found = self.rest.iter().find(|route| accept(route))?;
        values.push(left.unwrap_or(""));
        Some(found)
    }
}

/// The first segment of `text`, and what follows its slash if one follows.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((segment, left)) => (segment, Some(left)),
        None => (text, None),
    }
}
