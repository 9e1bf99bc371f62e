//! What operators ordered of backends, and which drains come of it.

use crate::base::clock;
use crate::config::snapshot::AdminState;
use crate::control::drainer::wishes::Wish;
use crate::control::drainer::{By, Drain, Order, Place, State};
use crate::core::routing::{Member, RoutingTable};
use crate::core::session::drain::{Millis, Profile, StandingOrder};

impl State {
    pub(super) fn set_order(&mut self, place: &Place, member: &Member, asked: Option<AdminState>) {
        let before = member.admin_state();
        // An order to do what is done already, and that holds nothing back, is none.
        let idle = asked == Some(AdminState::Active) && member.configured == AdminState::Active;
        let asked = asked.filter(|_| !idle);
        member.state.order(asked);
        match asked {
            // What was said before of how it drains holds on.
            Some(state) if self.orders.get(place).is_some_and(|it| it.state == state) => None,
            Some(state) => self
                .orders
                .insert(place.clone(), StandingOrder::new(place.clone(), state)),
            None => self.orders.remove(place),
        };
        if before != AdminState::Active && member.admin_state() == AdminState::Active {
            member.state.wake(clock::now());
        }
    }

    /// Remembers how fast the sessions of a backend that was ordered to drain shall go.
    pub(super) fn note(&mut self, place: &Place, order: &Order) {
        if let Some(standing) = self.orders.get_mut(place) {
            standing.tempo = order.tempo.or(standing.tempo);
            standing.deadline = order.deadline.or(standing.deadline);
            standing.paused = order.paused.unwrap_or(standing.paused);
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
    pub(super) fn drains_on_leaving(&self, wish: &Wish) -> bool {
        let ordered = self.orders.get(&wish.place);
        wish.by == By::Removal && ordered.is_some_and(|order| order.state == AdminState::Draining)
    }

    /// Sees to it that there is a drain, or that there is none.
    pub(super) fn want(
        &mut self,
        place: Place,
        wanted: bool,
        by: By,
        profile: Profile,
        now: Millis,
    ) {
        let (upstream, backend) = (place.0.clone(), place.1.clone());
        let ordered = self.orders.get(&place);
        match self.drains.get_mut(&place) {
            Some(drain) if wanted => drain.follow(profile, ordered.is_some(), now),
            Some(_) => {
                self.drains.remove(&place);
                tracing::info!(%upstream, %backend, "drain stopped");
            }
            None if wanted => {
                let by = ordered.map_or(by, |_| By::Operator);
                let mut drain = Drain::new(profile, by, now);
                if let Some(ordered) = ordered {
                    drain.change(&ordered.again(), now);
                }
                let (by, pace) = (by.as_str(), drain.plan.profile().tempo);
                tracing::info!(%upstream, %backend, by, %pace, "drain began");
                self.drains.insert(place, drain);
            }
            None => {}
        }
    }
}

impl StandingOrder {
    pub(super) fn new((upstream, backend): Place, state: AdminState) -> Self {
        Self {
            upstream,
            backend,
            state,
            tempo: None,
            deadline: None,
            paused: false,
        }
    }

    pub(super) fn place(&self) -> Place {
        (self.upstream.clone(), self.backend.clone())
    }

    /// What it asks of a drain that begins.
    pub(super) fn again(&self) -> Order {
        Order {
            state: None,
            tempo: self.tempo,
            deadline: self.deadline,
            paused: self.paused.then_some(true),
        }
    }
}
