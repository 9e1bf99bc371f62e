//! The stage "guard": whether this request may go on at all, by where it comes from and how much
//! there is already, before anybody asks who it is from. It costs the gateway next to nothing, and
//! comes first for that.

use http::request::Parts;

use crate::base::clock;
use crate::config::limits::Flow;
use crate::core::http::origin;
use crate::core::limits::{Holder, LoadPermit, Meter, Pace, Permit, SharedMeter, network_of};
use crate::core::wire::handshake::Kind;
use crate::io::relay::Throttle;
use crate::live::Live;
use crate::proxy::pipeline::{Exchange, Plan};
use crate::proxy::refusal::{Quota, Refusal};

/// What a request takes up of what is limited. Ordinary requests take up nothing.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    /// Until the handshake is over.
    _handshake: Option<LoadPermit>,
    /// As long as the session lives.
    pub(crate) session: SessionPermits,
}

/// What a session takes up of what is limited, given back when it is dropped.
/// Small, since every session has one: mostly there is nothing but the node's.
#[derive(Debug, Default)]
pub(crate) struct SessionPermits {
    /// Of the node.
    load: Option<LoadPermit>,
    /// Of its route, its client's network, its principal.
    #[allow(
        clippy::box_collection,
        reason = "mostly there is none, which so takes 8 bytes of a session and not 24"
    )]
    held: Option<Box<Vec<Permit>>>,
}

impl SessionPermits {
    pub(crate) fn add(&mut self, permit: impl IntoIterator<Item = Permit>) {
        for permit in permit {
            self.held.get_or_insert_default().push(permit);
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.load = self.load.take().or(other.load);
        self.add(other.held.into_iter().flat_map(|held| *held));
    }

    /// For whom something is counted, beside the node.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let held = self.held.iter().flat_map(|held| held.iter());
        held.map(|held| held.holder().clone()).collect()
    }

    /// Those of a session that another process let in: it is there, whatever the limits are.
    pub(crate) fn inherit(live: &Live, holders: Vec<Holder>) -> Self {
        let take = |holder| live.quotas.counts.take(holder, usize::MAX).ok();
        let mut permits = Self {
            load: Some(live.load.session_regardless()),
            held: None,
        };
        permits.add(holders.into_iter().filter_map(take));
        permits
    }
}

impl Exchange {
    /// # Errors
    /// What keeps the request out.
    pub(crate) fn guard(&self, plan: &mut Plan, head: &Parts, kind: &Kind) -> Result<(), Refusal> {
        let route = &plan.route.config;
        if !route.addresses.admits(self.client.address) {
            return Err(Refusal::Address);
        }
        if !matches!(kind, Kind::WebSocket(_)) {
            return Ok(());
        }
        // Answers to ordinary requests are kept from other pages by the browser itself.
        origin::check(
            &route.origins,
            &head.headers,
            &self.host,
            self.client.secure,
        )
        .map_err(Refusal::Origin)?;
        plan.permits = self.permits(plan)?;
        Ok(())
    }

    /// Room for a session, in the order of what it costs to ask.
    fn permits(&self, plan: &Plan) -> Result<Permits, Refusal> {
        let route = &plan.route.config;
        let live = self.connection.worker.live();
        let edge = &self.generation.edge;
        let session = live.load.session(&edge.load, route.priority);
        let session = session.map_err(Refusal::Overloaded)?;
        let handshake = live.load.handshake(&edge.load, route.priority);
        let handshake = handshake.map_err(Refusal::Overloaded)?;
        let quotas = &route.quotas;
        let lengths = edge.address_prefix;
        let network = || network_of(&route.name, lengths, self.client.address);
        if let Some(rate) = quotas.handshakes_per_address {
            let taken = live.quotas.take(&network(), rate, clock::now());
            taken.map_err(|wait| Refusal::Quota(Quota::HandshakesPerAddress(wait)))?;
        }
        let mut held = Vec::new();
        let mut take = |holder, most, quota| {
            let permit = live.quotas.counts.take(holder, most);
            held.push(permit.map_err(|_| Refusal::Quota(quota))?);
            Ok::<_, Refusal>(())
        };
        if quotas.sessions_per_address > 0 {
            take(
                network(),
                quotas.sessions_per_address,
                Quota::SessionsPerAddress,
            )?;
        }
        if quotas.sessions_max > 0 {
            let holder = Holder::Route(route.name.clone());
            take(holder, quotas.sessions_max, Quota::SessionsOfRoute)?;
        }
        Ok(Permits {
            _handshake: Some(handshake),
            session: SessionPermits {
                load: Some(session),
                held: (!held.is_empty()).then(|| Box::new(held)),
            },
        })
    }

    /// The same by who it is, once that is known.
    ///
    /// # Errors
    /// What the principal has too much of.
    pub(crate) fn guard_principal(&self, plan: &mut Plan) -> Result<(), Refusal> {
        let quotas = &plan.route.config.quotas;
        let Some(holder) = principal(plan) else {
            return Ok(());
        };
        let live = self.connection.worker.live();
        if let Some(rate) = quotas.handshakes_per_principal {
            let taken = live.quotas.take(&holder, rate, clock::now());
            taken.map_err(|wait| Refusal::Quota(Quota::HandshakesPerPrincipal(wait)))?;
        }
        if quotas.sessions_per_principal > 0 {
            let permit = live
                .quotas
                .counts
                .take(holder, quotas.sessions_per_principal);
            let permit = permit.map_err(|_| Refusal::Quota(Quota::SessionsPerPrincipal))?;
            plan.permits.session.add([permit]);
        }
        Ok(())
    }

    /// How fast the session's client may send, where the route says.
    pub(crate) fn throttle(&self, plan: &Plan) -> Option<Box<Throttle>> {
        let quotas = &plan.route.config.quotas;
        let pace = |per_second: f64| {
            (per_second > 0.0).then(|| Pace::with_burst(per_second, quotas.burst))
        };
        let paces = |flow: Flow| (pace(f64::from(flow.messages)), pace(flow.bytes as f64));
        let (messages, bytes) = paces(quotas.session);
        let own = Meter::new(messages, bytes);
        let worker = &self.connection.worker;
        let holder = principal(plan).filter(|_| quotas.principal.is_limited());
        let shared = holder.map(|holder| {
            let (messages, bytes) = paces(quotas.principal);
            let make = || SharedMeter::new(messages, bytes);
            worker.live().quotas.meter(holder, make)
        });
        let (began, tick) = worker.rate_clock();
        (!own.is_empty() || shared.is_some()).then(|| {
            Box::new(Throttle {
                own,
                shared,
                over: quotas.over,
                tick,
                began,
                counted: (0, 0),
                fragments: 0,
                until: None,
            })
        })
    }
}

/// Who the request is from, for what is counted by that.
fn principal(plan: &Plan) -> Option<Holder> {
    let principal = plan.principal.as_ref()?;
    let who = format!("{}/{}", principal.authenticator, principal.subject);
    Some(Holder::Principal(
        plan.route.config.name.clone(),
        who.into(),
    ))
}
