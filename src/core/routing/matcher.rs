//! Finds the routes of a host and path without looking at the others: host names by hash, paths by
//! a trie of segments. In which order it offers them is written down in `core::routing`.
//!
//! Paths of routes are written by strangers too, so nothing here recurses: the nodes lie in one
//! list, and a walk keeps its own stack, which is as deep as a pattern may be.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::path::split_segment;
use crate::config::pattern::{HostPattern, Segment};
use crate::core::routing::request::HostName;
use crate::core::routing::route::Route;

/// All routes of a table, by host and path.
#[derive(Debug)]
pub(super) struct Matcher {
    nodes: Vec<Node>,
    exact: HashMap<Box<str>, NodeId>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, NodeId>,
}

/// A place in `Matcher::nodes`.
type NodeId = u32;

/// Where the routes for any host begin.
const ANY: NodeId = 0;

/// A place in the trie: where the segments so far lead.
#[derive(Debug, Default)]
struct Node {
    exact: HashMap<Box<str>, NodeId>,
    parameter: Option<NodeId>,
    /// Routes whose path ends here.
    ends: Vec<Arc<Route>>,
    /// Routes that take all that is left from here.
    rest: Vec<Arc<Route>>,
}

/// What of a node is looked at next.
#[derive(Clone, Copy)]
enum Step {
    /// Its end, or the child of the very segment.
    Exact,
    /// The child of any segment.
    Parameter,
    /// Its own rest.
    Rest,
}

impl Default for Matcher {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }
}

impl Matcher {
    /// Adds a route under each of its hosts, with these segments for its path. Routes with the same
    /// host and path are tried in the order in which they were added.
    pub(super) fn insert(&mut self, segments: &[Segment], route: &Arc<Route>) {
        if route.config.hosts.is_empty() {
            self.insert_at(ANY, segments, route);
        }
        for host in &route.config.hosts {
            let fresh = self.nodes.len() as NodeId;
            let (map, name) = match host {
                HostPattern::Exact(name) => (&mut self.exact, name),
                HostPattern::Wildcard(name) => (&mut self.wildcard, name),
            };
            let root = *map.entry(name.as_str().into()).or_insert(fresh);
            if root == fresh {
                self.nodes.push(Node::default());
            }
            self.insert_at(root, segments, route);
        }
    }

    fn insert_at(&mut self, root: NodeId, segments: &[Segment], route: &Arc<Route>) {
        let mut at = root;
        for segment in segments {
            let fresh = self.nodes.len() as NodeId;
            let node = &mut self.nodes[at as usize];
            at = match segment {
                Segment::Exact(text) => *node.exact.entry(text.as_str().into()).or_insert(fresh),
                Segment::Parameter(_) => *node.parameter.get_or_insert(fresh),
                Segment::Rest(_) => break,
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at as usize];
        let routes = match segments.last() {
            Some(Segment::Rest(_)) => &mut node.rest,
            _ => &mut node.ends,
        };
        // A route that names a host twice is there already, as the last one.
        if !routes.last().is_some_and(|known| Arc::ptr_eq(known, route)) {
            routes.push(Arc::clone(route));
        }
    }

    /// Offers the routes of `host` and of the path with this key to `accept`, most specific first,
    /// until it takes one. The key begins with `/`, or is empty for a path that has ended.
    pub(super) fn find(
        &self,
        host: &str,
        key: &str,
        mut accept: impl FnMut(&Route) -> bool,
    ) -> Option<&Arc<Route>> {
        let name = HostName::new(host);
        let exact = name.and_then(|name| self.exact.get(name.as_str()));
        let suffixes = name.into_iter().flat_map(HostName::suffixes);
        let wildcard = suffixes.filter_map(|suffix| self.wildcard.get(suffix));
        let mut roots = exact.into_iter().chain(wildcard).chain([&ANY]);
        let left = key.strip_prefix('/');
        roots.find_map(|root| self.walk(*root, left, &mut accept))
    }

    /// `left` is what follows the last slash, `None` when the path has ended. Each node is visited
    /// once: the segments before it lead nowhere else.
    fn walk(
        &self,
        root: NodeId,
        left: Option<&str>,
        accept: &mut impl FnMut(&Route) -> bool,
    ) -> Option<&Arc<Route>> {
        let mut stack: SmallVec<[(NodeId, Option<&str>, Step); 16]> = SmallVec::new();
        stack.push((root, left, Step::Exact));
        while let Some((at, left, step)) = stack.pop() {
            let node = &self.nodes[at as usize];
            let routes = match (step, left) {
                (Step::Exact, Some(text)) => {
                    let (segment, next) = split_segment(text);
                    stack.push((at, left, Step::Parameter));
                    if let Some(child) = node.exact.get(segment) {
                        stack.push((*child, next, Step::Exact));
                    }
                    continue;
                }
                (Step::Parameter, Some(text)) => {
                    let (segment, next) = split_segment(text);
                    stack.push((at, left, Step::Rest));
                    if let Some(child) = node.parameter.filter(|_| !segment.is_empty()) {
                        stack.push((child, next, Step::Exact));
                    }
                    continue;
                }
                (Step::Exact | Step::Parameter, None) => {
                    stack.push((at, left, Step::Rest));
                    &node.ends
                }
                (Step::Rest, _) => &node.rest,
            };
            if let Some(found) = routes.iter().find(|route| accept(route)) {
                return Some(found);
            }
        }
        None
    }
}
