//! Which header names a table gives a meaning, and which of them only the gateway may use. Names
//! that are alike ([`alike`](crate::base::header_name::alike)) are one name to many backends, so a
//! second spelling of a name that means something is removed before anything is decided.

use std::collections::{HashMap, HashSet};

use http::{HeaderMap, HeaderName};

use crate::base::header_name::{is_plain, plain, remove_where};
use crate::config::snapshot::{self, AffinitySource, AuthMethod, CredentialSource};
use crate::core::http::headers::is_known;

/// Of one table.
#[derive(Debug, Default)]
pub struct HeaderNames {
    /// Spellings in the configuration, by their plain form.
    spellings: HashMap<String, Vec<HeaderName>>,
    /// Names of headers that identify the principal to backends, in their plain form.
    identity: HashSet<String>,
}

impl HeaderNames {
    pub(super) fn of<'s>(
        routes: impl Iterator<Item = &'s snapshot::Route>,
        authenticators: impl Iterator<Item = &'s snapshot::Authenticator>,
    ) -> Self {
        let mut spelt = HashSet::new();
        let mut identity = HashSet::new();
        for route in routes {
            identity.extend(route.auth.claim_headers.iter().map(|(name, _)| name));
            spelt.extend(route.headers.iter().map(|(name, _)| name));
            spelt.extend(&route.request_headers.remove);
            spelt.extend(route.request_headers.set.iter().map(|(name, _)| name));
            spelt.extend(route.request_headers.add.iter().map(|(name, _)| name));
            spelt.extend(route.affinity.iter().filter_map(|source| match source {
                AffinitySource::Header(name) => Some(name),
                _ => None,
            }));
        }
        for authenticator in authenticators {
            spelt.extend(authenticator.from.iter().filter_map(|source| match source {
                CredentialSource::Header(name) => Some(name),
                _ => None,
            }));
            if let AuthMethod::Forward(forward) = &authenticator.method {
                spelt.extend(&forward.request_headers);
                identity.extend(&forward.response_headers);
            }
        }
        spelt.extend(&identity);
        let mut spellings: HashMap<String, Vec<HeaderName>> = HashMap::new();
        for name in spelt {
            let plain = plain(name.as_str()).into_owned();
            spellings.entry(plain).or_default().push(name.clone());
        }
        let identity = identity.into_iter();
        let identity = identity.map(|name| plain(name.as_str()).into_owned());
        // Clients send these on routes of their own: a service that answers with `authorization`
        // does not take it away from all others.
        let identity = identity.filter(|name| !is_known(name)).collect();
        Self {
            spellings,
            identity,
        }
    }

    /// Removes fields whose name is another spelling of a name with a meaning in this table, in the
    /// gateway or in HTTP.
    pub fn remove_respelt(&self, headers: &mut HeaderMap) {
        let is_respelt = |name: &&HeaderName| {
            let name = name.as_str();
            if is_plain(name) {
                return false;
            }
            let plain = plain(name);
            match self.spellings.get(&*plain) {
                Some(_) if is_known(&plain) => true,
                Some(spellings) => spellings.iter().all(|known| known != name),
                None => is_known(&plain),
            }
        };
        if headers.keys().all(|name| is_plain(name.as_str())) {
            return;
        }
        let respelt: Vec<_> = headers.keys().filter(is_respelt).cloned().collect();
        for name in respelt {
            headers.remove(name);
        }
    }

    /// Removes fields that backends may read as the principal, on every route.
    pub fn remove_identity(&self, headers: &mut HeaderMap) {
        if !self.identity.is_empty() {
            remove_where(headers, |name| self.identity.contains(&*plain(name)));
        }
    }

    /// Whether the configuration decides by this name, or changes it.
    pub fn contains(&self, name: &str) -> bool {
        self.spellings.contains_key(&*plain(name))
    }
}
