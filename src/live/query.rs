//! Which sessions a command is about.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::base::addr::unmapped;
use crate::base::session_id::SessionId;
use crate::core::session::record::Facts;

/// Which sessions; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only this one.
    pub id: Option<SessionId>,
    /// Only those after this one.
    pub after: Option<SessionId>,
    /// By route.
    pub route: Option<String>,
    /// By upstream.
    pub upstream: Option<String>,
    /// By backend id.
    pub backend: Option<String>,
    /// By principal.
    pub principal: Option<String>,
    /// By anything else; most queries have none of it.
    pub more: Option<Box<MoreFilters>>,
}

/// The filters that only lists for people use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreFilters {
    /// By the client's address.
    pub client: Option<IpNet>,
    /// By listener.
    pub listener: Option<String>,
    /// By the requested host.
    pub host: Option<String>,
    /// By subprotocol.
    pub subprotocol: Option<String>,
    /// By the authenticator that identified the principal.
    pub authenticator: Option<String>,
    /// By request id.
    pub request_id: Option<String>,
    /// By affinity key.
    pub key: Option<KeyFilter>,
    /// At least this old.
    pub age_min: Option<Duration>,
    /// Silent in both directions for at least this long.
    pub idle_min: Option<Duration>,
    /// At least this many messages, both ways.
    pub messages_min: Option<u64>,
    /// At least this many bytes, both ways.
    pub bytes_min: Option<u64>,
    /// Only those that lost messages.
    pub lost: bool,
}

/// An affinity key, as a person wrote it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// What may be meant: text, hexadecimal digits or an address.
    pub any: Vec<Vec<u8>>,
    /// Its fingerprint, where the key itself is not shown.
    pub fingerprint: Option<u32>,
}

/// Without the key, which may be a credential (I11).
impl fmt::Debug for KeyFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFilter").finish_non_exhaustive()
    }
}

impl KeyFilter {
    fn takes(&self, key: &[u8]) -> bool {
        let alike = |wanted| fingerprint(key) == wanted;
        self.any.iter().any(|one| one == key) || self.fingerprint.is_some_and(alike)
    }
}

/// What changes while a session lives, as far as filters look at it.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Since the 101.
    pub age: Duration,
    /// Since the last byte in either direction.
    pub idle: Duration,
    /// Of both directions.
    pub messages: u64,
    /// Of both directions.
    pub bytes: u64,
    /// Messages of the client that were lost with a backend, and published ones that were dropped.
    pub lost: u64,
}

/// As the log shows it. A key may be a credential and is not shown (I11).
impl fmt::Display for SessionQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("all");
        }
        let text = |name: &str, value: Option<&String>| value.map(|it| format!("{name}={it}"));
        let mut parts = vec![
            self.id.map(|id| format!("id={id}")),
            text("route", self.route.as_ref()),
            text("upstream", self.upstream.as_ref()),
            text("backend", self.backend.as_ref()),
            text("principal", self.principal.as_ref()),
        ];
        if let Some(more) = &self.more {
            parts.extend([
                more.client.map(|network| format!("client={network}")),
                text("listener", more.listener.as_ref()),
                text("host", more.host.as_ref()),
                text("subprotocol", more.subprotocol.as_ref()),
                text("authenticator", more.authenticator.as_ref()),
                text("request_id", more.request_id.as_ref()),
                more.key.as_ref().map(|_| "key=…".to_owned()),
                more.age_min
                    .map(|time| format!("min_age={}s", time.as_secs())),
                more.idle_min
                    .map(|time| format!("min_idle={}s", time.as_secs())),
                more.messages_min
                    .map(|count| format!("min_messages={count}")),
                more.bytes_min.map(|count| format!("min_bytes={count}")),
                more.lost.then(|| "lost=true".to_owned()),
            ]);
        }
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

impl SessionQuery {
    /// Only this session.
    pub fn one(id: SessionId) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    /// Whether it has no filter at all.
    pub fn is_everything(&self) -> bool {
        let Self {
            id,
            after,
            route,
            upstream,
            backend,
            principal,
            more,
        } = self;
        let texts = [route, upstream, backend, principal];
        let more = more
            .as_deref()
            .is_none_or(|more| *more == MoreFilters::default());
        id.is_none() && after.is_none() && texts.iter().all(|text| text.is_none()) && more
    }

    /// Whether a session is meant: by its facts, its affinity key, and what is `measured` of it if
    /// that matters.
    pub fn takes(
        &self,
        facts: &Facts,
        key: Option<&[u8]>,
        measured: impl FnOnce() -> Measured,
    ) -> bool {
        let more = self.more.as_deref();
        self.takes_facts(facts)
            && more.is_none_or(|more| {
                more.takes_facts(facts) && more.takes_key(key) && more.takes_measured(measured)
            })
    }

    fn takes_facts(&self, facts: &Facts) -> bool {
        self.id.is_none_or(|id| id == facts.id)
            && self.after.is_none_or(|after| facts.id > after)
            && same(self.route.as_ref(), &facts.route)
            && same(self.upstream.as_ref(), &facts.upstream)
            && same(self.backend.as_ref(), &facts.backend)
            && is(self.principal.as_ref(), facts.principal.as_deref())
    }
}

impl MoreFilters {
    fn takes_facts(&self, facts: &Facts) -> bool {
        let right = facts.right.as_deref();
        same(self.listener.as_ref(), &facts.listener)
            && same(self.host.as_ref(), facts.request.host())
            && (self.request_id.as_ref()).is_none_or(|wanted| facts.request_id() == **wanted)
            && is(self.subprotocol.as_ref(), facts.request.subprotocol())
            && is(
                self.authenticator.as_ref(),
                right.map(|right| &*right.authenticator),
            )
            && self.client.is_none_or(|network| {
                address(facts.request.client()).is_some_and(|client| network.contains(&client))
            })
    }

    fn takes_key(&self, key: Option<&[u8]>) -> bool {
        let wanted = self.key.as_ref();
        wanted.is_none_or(|wanted| key.is_some_and(|key| wanted.takes(key)))
    }

    fn takes_measured(&self, measured: impl FnOnce() -> Measured) -> bool {
        let measures = self.age_min.is_some()
            || self.idle_min.is_some()
            || self.messages_min.is_some()
            || self.bytes_min.is_some()
            || self.lost;
        if !measures {
            return true;
        }
        let is = measured();
        self.age_min.is_none_or(|least| is.age >= least)
            && self.idle_min.is_none_or(|least| is.idle >= least)
            && self.messages_min.is_none_or(|least| is.messages >= least)
            && self.bytes_min.is_none_or(|least| is.bytes >= least)
            && (!self.lost || is.lost > 0)
    }
}

/// What is shown of a key in its place, where it may be a credential: enough to compare two, not
/// enough to use one.
pub fn fingerprint(key: &[u8]) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(key) >> 32) as u32
}

fn same(wanted: Option<&String>, is: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == is)
}

fn is(wanted: Option<&String>, value: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| value == Some(wanted))
}

/// The address in the text that records show; `None` for a unix socket.
fn address(client: &str) -> Option<IpAddr> {
    let socket = client.parse::<SocketAddr>().map(|socket| socket.ip());
    socket.or_else(|_| client.parse()).ok().map(unmapped)
}

#[cfg(test)]
mod tests;
