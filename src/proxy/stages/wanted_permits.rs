//! The permits that one stage needs: first of this node, which costs nothing, then of the fleet,
//! all in one round trip.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{try_join, try_join_all};

use crate::base::clock;
use crate::config::limits::Rate;
use crate::core::limits::{Holder, Permit};
use crate::core::state::{KeyKind, StateKey};
use crate::io::state::FleetState;
use crate::live::Live;
use crate::proxy::context::permits::{Held, state_key};
use crate::proxy::refusal::{Quota, Refusal};

/// A handshake at a rate, and what refuses it.
type WantedHandshake = (StateKey, Rate, fn(Duration) -> Quota);

/// The permits that one stage needs.
pub(crate) struct WantedPermits<'l> {
    live: &'l Live,
    fleet: Option<&'l Arc<FleetState>>,
    handshake: Option<WantedHandshake>,
    sessions: Vec<(Permit, usize, Quota)>,
}

impl<'l> WantedPermits<'l> {
    /// Nothing yet. In a `fleet` that counts together, its limits hold, too.
    pub(crate) fn new(live: &'l Live, fleet: bool) -> Self {
        Self {
            live,
            fleet: live.state().filter(|_| fleet),
            handshake: None,
            sessions: Vec::new(),
        }
    }

    /// A handshake at this rate. At most one in a stage.
    ///
    /// # Errors
    /// When this node alone has had enough.
    pub(crate) fn handshake(
        &mut self,
        holder: &Holder,
        rate: Rate,
        quota: fn(Duration) -> Quota,
    ) -> Result<(), Refusal> {
        let taken = self.live.quotas.take(holder, rate, clock::now());
        taken.map_err(|wait| Refusal::Quota(quota(wait)))?;
        if self.fleet.is_some() {
            // Another rate begins with another count.
            let key = state_key(KeyKind::Rate, holder, &rate.to_string());
            self.handshake = Some((key, rate, quota));
        }
        Ok(())
    }

    /// One more session of a holder, of which there may be `most`.
    ///
    /// # Errors
    /// When this node alone has so many.
    pub(crate) fn session(
        &mut self,
        holder: Holder,
        most: usize,
        quota: Quota,
    ) -> Result<(), Refusal> {
        match self.live.quotas.counts.take(holder, most) {
            Ok(permit) => {
                self.sessions.push((permit, most, quota));
                Ok(())
            }
            Err(_) => Err(Refusal::Quota(quota)),
        }
    }

    /// Asks the fleet, where it counts together.
    ///
    /// # Errors
    /// What the fleet has too much of.
    pub(crate) async fn of_fleet(self) -> Result<Vec<Held>, Refusal> {
        let Some(state) = self.fleet else {
            let held = self.sessions.into_iter();
            return Ok(held.map(|(permit, ..)| Held::new(permit, None)).collect());
        };
        let handshake = async {
            let Some((key, rate, quota)) = self.handshake else {
                return Ok(());
            };
            let passed = state.handshake(key, rate).await;
            passed.map_err(|wait| Refusal::Quota(quota(wait)))
        };
        let sessions = self
            .sessions
            .into_iter()
            .map(async |(permit, most, quota)| {
                let key = state_key(KeyKind::Sessions, permit.holder(), "");
                let share = state.session(key, most).await;
                let share = share.map_err(|_| Refusal::Quota(quota))?;
                Ok(Held::new(permit, Some(share)))
            });
        // Boxed, since most nodes do without a store.
        let ((), held) = Box::pin(try_join(handshake, try_join_all(sessions))).await?;
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::{State, StateKind};
    use crate::proxy::tests::Fixture;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn only_routes_of_the_fleet_ask_it_and_only_where_it_counts_together() {
        let fixture = Fixture::new("");
        let live = &fixture.worker.shared.live;
        assert!(WantedPermits::new(live, true).fleet.is_none(), "no store");
        let settings = State {
            kind: StateKind::Redis,
            address: "127.0.0.1:1".parse().expect("an address"),
            tls: None,
            prefix: "sessile".into(),
            sign_in: None,
            connect_timeout: Duration::from_secs(1),
            decision_timeout: Duration::from_secs(1),
            lease: Duration::from_secs(1),
        };
        live.set_state(FleetState::new(settings, 1, &Metrics::new()));
        assert!(WantedPermits::new(live, true).fleet.is_some());
        assert!(WantedPermits::new(live, false).fleet.is_none());
    }
}
