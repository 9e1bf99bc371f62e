//! The parts of a request that matching uses. Host and path are already in canonical form
//! (`base::host`, `base::path`).

use http::{HeaderMap, Method};
use smallvec::SmallVec;

use crate::base::host::without_port;

/// The parts of a request that choose a route, borrowed from where the server holds them.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// As it came.
    pub method: &'r Method,
    /// Canonical, with or without a port; empty if the client named none.
    pub host: &'r str,
    /// Canonical.
    pub path: &'r str,
    /// What follows the `?`, not decoded.
    pub query: Option<&'r str>,
    /// As they came.
    pub headers: &'r HeaderMap,
    /// Whether it is a valid upgrade to WebSocket; only then are subprotocols an offer.
    pub websocket: bool,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// Whether all servers read a method alike: some make capitals of its letters.
pub fn has_one_reading(method: &Method) -> bool {
    !method
        .as_str()
        .bytes()
        .any(|byte| byte.is_ascii_lowercase())
}

/// Values of a route's path parameters in the canonical path, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'t, 'r>(SmallVec<[(&'t str, &'r str); 4]>);

impl<'t, 'r> Parameters<'t, 'r> {
    /// The value of the parameter `name`, not decoded.
    pub fn get(&self, name: &str) -> Option<&'r str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// Names and values, in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&'t str, &'r str)> {
        self.0.iter().copied()
    }
}

impl<'t, 'r> FromIterator<(&'t str, &'r str)> for Parameters<'t, 'r> {
    fn from_iter<I: IntoIterator<Item = (&'t str, &'r str)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// A request's host as patterns are written: canonical, without a port.
#[derive(Clone, Copy)]
pub(super) struct HostName<'r>(&'r str);

impl<'r> HostName<'r> {
    /// `None` if the client named none.
    pub(super) fn new(host: &'r str) -> Option<Self> {
        let name = without_port(host);
        (!name.is_empty()).then_some(Self(name))
    }

    pub(super) fn as_str(self) -> &'r str {
        self.0
    }

    /// The suffix after each dot, longest first.
    pub(super) fn suffixes(self) -> impl Iterator<Item = &'r str> {
        let name = self.0;
        memchr::memchr_iter(b'.', name.as_bytes()).map(move |dot| &name[dot + 1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_come_longest_first() {
        let name = HostName::new("a.b.c").expect("a name");
        let suffixes: Vec<_> = name.suffixes().collect();
        assert_eq!(suffixes, ["b.c", "c"]);
    }
}
