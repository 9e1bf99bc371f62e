//! The permits that requests and sessions hold of limited resources. A permit is given back when it
//! is dropped.

use crate::core::limits::{Holder, LoadPermit, Permit};
use crate::core::state::{KeyKind, StateKey};
use crate::io::state::Share;
use crate::live::Live;

/// The permits of a request. Ordinary requests need none.
#[derive(Debug, Default)]
pub(crate) struct RequestPermits {
    /// Until the handshake is over.
    pub(crate) _handshake: Option<LoadPermit>,
    /// As long as the session lives.
    pub(crate) session: SessionPermits,
}

/// The permits of a session. Small, since every session has one: mostly there is only the node's.
#[derive(Debug, Default)]
pub(crate) struct SessionPermits {
    /// Of the node.
    load: Option<LoadPermit>,
    /// Of its route, its client's network, its principal.
    #[allow(
        clippy::box_collection,
        reason = "mostly there is none, which so takes 8 bytes of a session and not 24"
    )]
    held: Option<Box<Vec<Held>>>,
}

/// One permit, and its share of the fleet's count where the limit is the fleet's.
#[derive(Debug)]
pub(crate) struct Held {
    permit: Permit,
    _share: Option<Share>,
}

impl Held {
    /// A permit of this node, and a share.
    pub(crate) fn new(permit: Permit, share: Option<Share>) -> Self {
        Self {
            permit,
            _share: share,
        }
    }
}

/// What a holder's sessions, or something of it at this rate, are called in the store.
pub(crate) fn state_key(kind: KeyKind, holder: &Holder, rate: &str) -> StateKey {
    let network;
    let (what, place, who) = match holder {
        Holder::Route(route) => ("route", route.as_str(), ""),
        Holder::Network(route, net) => {
            network = net.to_string();
            ("network", route.as_str(), network.as_str())
        }
        Holder::Principal(route, who) => ("principal", route.as_str(), &**who),
        Holder::Peer(listener, net) => {
            network = net.to_string();
            ("peer", listener.as_str(), network.as_str())
        }
    };
    let parts = [what, place, who, rate].map(str::as_bytes);
    StateKey::new(kind, &parts)
}

impl SessionPermits {
    /// The node's permit and further ones.
    pub(crate) fn of(load: LoadPermit, held: Vec<Held>) -> Self {
        Self {
            load: Some(load),
            held: (!held.is_empty()).then(|| Box::new(held)),
        }
    }

    /// Adds permits.
    pub(crate) fn add(&mut self, permit: impl IntoIterator<Item = Held>) {
        for permit in permit {
            self.held.get_or_insert_default().push(permit);
        }
    }

    /// Takes over the permits of `other`.
    pub(crate) fn join(&mut self, other: Self) {
        self.load = self.load.take().or(other.load);
        self.add(other.held.into_iter().flat_map(|held| *held));
    }

    /// What the session is counted for, beside the node.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let held = self.held.iter().flat_map(|held| held.iter());
        held.map(|held| held.permit.holder().clone()).collect()
    }

    /// The permits of a session that another process admitted. They are granted whatever the limits
    /// are now.
    pub(crate) fn inherit(live: &Live, holders: Vec<Holder>) -> Self {
        let table = live.table();
        let take = |holder: Holder| {
            let fleet = match &holder {
                Holder::Route(route) | Holder::Network(route, _) | Holder::Principal(route, _) => {
                    table.route(route).is_some_and(|route| route.config.fleet)
                }
                Holder::Peer(..) => false,
            };
            let key = state_key(KeyKind::Sessions, &holder, "");
            let state = live.state().filter(|_| fleet);
            let share = state.map(|state| state.session_regardless(key));
            let permit = live.quotas.counts.take(holder, usize::MAX).ok()?;
            Some(Held::new(permit, share))
        };
        let mut permits = Self {
            load: Some(live.load.session_regardless()),
            held: None,
        };
        permits.add(holders.into_iter().filter_map(take));
        permits
    }
}
