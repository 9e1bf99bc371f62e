//! What operators ordered of backends, and which drains come of it.

use crate::base::clock;
use crate::config::snapshot::AdminState;
use crate::control::drainer::swap_effects::SwapEffect;
use crate::control::drainer::{BackendKey, By, Drain, Order, State};
use crate::core::routing::{Member, RoutingTable};
use crate::core::session::drain::{BackendOrder, Millis, Profile};

impl State {
    pub(super) fn set_order(
        &mut self,
        key: &BackendKey,
        member: &Member,
        asked: Option<AdminState>,
    ) {
        let before = member.admin_state();
        // Ordering `active` on an already active backend is a no-op.
        let idle = asked == Some(AdminState::Active) && member.configured == AdminState::Active;
        let asked = asked.filter(|_| !idle);
        member.state.order(asked);
        match asked {
            // The pace and deadline that were set before stay.
            Some(state) if self.orders.get(key).is_some_and(|it| it.state == state) => None,
            Some(state) => self
                .orders
                .insert(key.clone(), BackendOrder::new(key.clone(), state)),
            None => self.orders.remove(key),
        };
        if before != AdminState::Active && member.admin_state() == AdminState::Active {
            member.state.wake(clock::now());
        }
    }

    /// Remembers how fast the sessions of a backend that was ordered to drain shall go.
    pub(super) fn note(&mut self, key: &BackendKey, order: &Order) {
        if let Some(ordered) = self.orders.get_mut(key) {
            ordered.tempo = order.tempo.or(ordered.tempo);
            ordered.deadline = order.deadline.or(ordered.deadline);
            ordered.paused = order.paused.unwrap_or(ordered.paused);
            if order.state.is_some() {
                ordered.operator.clone_from(&order.operator);
            }
        }
    }

    /// An order `active` is complete once the configuration is `active` too.
    pub(super) fn forget_idle_orders(&mut self, table: &RoutingTable) {
        self.orders.retain(|(upstream, backend), order| {
            let upstream = table.upstream(upstream);
            let member = upstream.and_then(|upstream| upstream.member(backend));
            let idle = order.state == AdminState::Active
                && member.is_some_and(|member| member.configured == AdminState::Active);
            if let (true, Some(member)) = (idle, member) {
                member.state.order(None);
            }
            !idle
        });
    }

    /// Whether an operator ordered a drain of a backend that leaves its upstream.
    pub(super) fn drains_on_leaving(&self, effect: &SwapEffect) -> bool {
        let ordered = self.orders.get(&effect.key);
        effect.by == By::Removal && ordered.is_some_and(|order| order.state == AdminState::Draining)
    }

    /// Sees to it that there is a drain, or that there is none.
    pub(super) fn want(
        &mut self,
        key: BackendKey,
        wanted: bool,
        by: By,
        profile: Profile,
        now: Millis,
    ) {
        let (upstream, backend) = (key.0.clone(), key.1.clone());
        let ordered = self.orders.get(&key);
        match self.drains.get_mut(&key) {
            Some(drain) if wanted => drain.follow(profile, ordered.is_some(), now),
            Some(_) => {
                self.drains.remove(&key);
                tracing::info!(%upstream, %backend, "drain stopped");
            }
            None if wanted => {
                let by = ordered.map_or(by, |_| By::Operator);
                let mut drain = Drain::new(profile, by, now);
                if let Some(ordered) = ordered {
                    drain.operator.clone_from(&ordered.operator);
                    drain.change(&ordered.again(), now);
                }
                let (by, pace) = (by.as_str(), drain.plan.profile().tempo);
                tracing::info!(%upstream, %backend, by, %pace, "drain began");
                self.drains.insert(key, drain);
            }
            None => {}
        }
    }
}

impl BackendOrder {
    pub(super) fn new((upstream, backend): BackendKey, state: AdminState) -> Self {
        Self {
            upstream,
            backend,
            state,
            tempo: None,
            deadline: None,
            paused: false,
            operator: None,
        }
    }

    pub(super) fn key(&self) -> BackendKey {
        (self.upstream.clone(), self.backend.clone())
    }

    /// What it asks of a drain that begins.
    pub(super) fn again(&self) -> Order {
        Order {
            state: None,
            tempo: self.tempo,
            deadline: self.deadline,
            paused: self.paused.then_some(true),
            operator: self.operator.clone(),
        }
    }
}
