//! The backend that a request would get: the walk along the balancer's order, and the affinity
//! key behind it.

use std::net::IpAddr;
use std::time::Instant;

use crate::admin::Gateway;
use crate::admin::resolve::credentials::Credentials;
use crate::admin::resolve::levels;
use crate::admin::resolve::view::{AffinityView, Choice, Step};
use crate::admin::upstreams::policy_word;
use crate::base::clock;
use crate::config::snapshot::{AffinitySource, Policy};
use crate::core::balance::Passed;
use crate::core::routing::affinity::Key;
use crate::core::routing::{Route, Upstream};
use crate::core::session::stick::{Sticks, StickyKey};
use crate::live::Generation;

/// The state that the explanation is based on.
#[derive(Clone, Copy)]
pub(super) struct Moment<'s> {
    pub(super) sticks: Option<&'s Sticks>,
    pub(super) credentials: Credentials<'s>,
    pub(super) now: Instant,
    /// The affinity key of a session that is asked about.
    pub(super) key: Option<KnownKey<'s>>,
}

impl<'s> Moment<'s> {
    /// What is in force now; `key` is the affinity key of a session that is asked about.
    pub(super) fn now(
        gateway: &'s Gateway,
        generation: &'s Generation,
        key: Option<KnownKey<'s>>,
    ) -> Self {
        Self {
            sticks: Some(gateway.live.sticks()),
            credentials: Credentials {
                keys: &generation.keys,
                revocations: &generation.revocations,
            },
            now: clock::now(),
            key,
        }
    }
}

/// An affinity key whose source the request does not show any more, such as a cookie.
#[derive(Clone, Copy)]
pub(super) struct KnownKey<'s> {
    pub(super) bytes: &'s [u8],
    pub(super) source: &'s str,
}

impl KnownKey<'_> {
    /// Whether a route with these sources still takes such keys.
    pub(super) fn is_of(&self, sources: &[AffinitySource]) -> bool {
        let mut sources = sources.iter();
        sources.any(|source| source.to_string() == self.source)
    }

    /// Without the key, which the caller shows as far as it may be shown.
    pub(super) fn hidden(self) -> AffinityView {
        AffinityView {
            key: String::new(),
            source: self.source.to_owned(),
            issued: false,
        }
    }
}

/// The backend of the key's live session, if the key is sticky and has one.
pub(super) fn stuck(
    upstream: &Upstream,
    key: &[u8],
    (session, without): (bool, &[String]),
    moment: Moment<'_>,
) -> Option<Choice> {
    let backends = moment
        .sticks?
        .backends(StickyKey::new(upstream.name(), key));
    let left_out = |id: &str| without.iter().any(|one| one == id);
    let backends = backends.iter().filter(|id| !left_out(id));
    let indexes = backends.filter_map(|id| upstream.index_of(id));
    let mut may = indexes.filter(|index| upstream.may_take(*index, &[], moment.now, session));
    let index = may.next()?;
    let reason = "sticks to its live session";
    Some(fixed(upstream, index, moment.now, reason))
}

/// A member that was chosen without the policy.
pub(super) fn fixed(upstream: &Upstream, index: usize, now: Instant, reason: &str) -> Choice {
    let member = &upstream.members[index];
    Choice {
        upstream: upstream.name().to_string(),
        policy: policy_word(upstream.config.policy).to_owned(),
        panicking: upstream.panicking(now),
        backend: Some(member.id.to_string()),
        levels: levels::fixed(upstream, index, now),
        walk: vec![Step {
            backend: member.id.to_string(),
            address: member.address.to_string(),
            zone: member.zone.as_deref().map(str::to_owned),
            priority: member.priority,
            verdict: "taken".to_owned(),
            reason: reason.to_owned(),
        }],
    }
}

/// The gateway itself, on a route without a backend.
pub(super) fn at_gateway(upstream: &Upstream, reason: &str) -> Choice {
    let gateway = "gateway";
    Choice {
        upstream: upstream.name().to_string(),
        policy: gateway.to_owned(),
        panicking: false,
        backend: Some(gateway.to_owned()),
        levels: Vec::new(),
        walk: vec![Step {
            backend: gateway.to_owned(),
            address: String::new(),
            zone: None,
            priority: 0,
            verdict: "taken".to_owned(),
            reason: reason.to_owned(),
        }],
    }
}

/// The choice among the members that are not in `without`.
pub(super) fn choose(
    upstream: &Upstream,
    key: Option<&[u8]>,
    without: &[String],
    now: Instant,
) -> Choice {
    if upstream.is_broker() {
        let reason = "is at the place of a backend: messages of clients go to the broker";
        return at_gateway(upstream, reason);
    }
    let left_out = without
        .iter()
        .filter_map(|id| upstream.index_of(&id.as_str().into()));
    let left_out: Vec<_> = left_out.collect();
    let walk = upstream.explain(key, &left_out, now, fastrand::u64(..));
    let step = |index: usize, verdict: Result<(), Passed>| {
        let member = &upstream.members[index];
        let (verdict, reason) = match verdict {
            Ok(()) => ("taken", "takes the request".to_owned()),
            Err(Passed::Tried) => ("left_out", "is left out of this question".to_owned()),
            Err(passed) => (passed.as_str(), passed.to_string()),
        };
        Step {
            backend: member.id.to_string(),
            address: member.address.to_string(),
            zone: member.zone.as_deref().map(str::to_owned),
            priority: member.priority,
            verdict: verdict.to_owned(),
            reason,
        }
    };
    let taken = walk
        .candidates
        .iter()
        .find(|candidate| candidate.verdict.is_ok());
    Choice {
        upstream: upstream.name().to_string(),
        policy: policy_word(upstream.config.policy).to_owned(),
        panicking: walk.panicking,
        backend: taken.map(|candidate| upstream.members[candidate.index].id.to_string()),
        levels: levels::walked(upstream, &walk, now),
        walk: walk
            .candidates
            .iter()
            .map(|candidate| step(candidate.index, candidate.verdict))
            .collect(),
    }
}

/// A remark on how the policy uses the key.
pub(super) fn note(route: &Route, policy: Policy, key: Option<&Key<'_>>) -> Option<String> {
    let hashes = matches!(
        policy,
        Policy::ConsistentHash | Policy::Rendezvous | Policy::Maglev
    );
    let note = match key {
        _ if !hashes => {
            let policy = policy_word(policy);
            format!("{policy} does not look at a key: the next request may go elsewhere")
        }
        Some(key) if key.issue.is_some() => {
            "the request has no affinity cookie: a new one is made, and with it the place; the \
             next request without it may go elsewhere"
                .to_owned()
        }
        Some(_) => return None,
        None if route.config.affinity.is_empty() => {
            "the route has no affinity: each request is placed at random".to_owned()
        }
        None => {
            "the request has no source of the route's affinity: it is placed at random".to_owned()
        }
    };
    Some(note)
}

pub(super) fn affinity_view(key: &Key<'_>, client: IpAddr) -> AffinityView {
    AffinityView {
        key: match key.source {
            AffinitySource::ClientAddress => client.to_string(),
            _ => String::from_utf8_lossy(&key.bytes).into_owned(),
        },
        source: key.source.to_string(),
        issued: key.issue.is_some(),
    }
}
