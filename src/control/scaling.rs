//! Watches the load of each upstream, so that a scaler can be told what it needs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::base::clock;
use crate::base::names::UpstreamName;
use crate::core::routing::{RoutingTable, Upstream};
use crate::core::scaling::{LoadHistory, Seen};
use crate::live::Live;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Backends between two pauses of a look.
const SLICE: usize = 1024;

/// The load of all upstreams over time.
pub struct ScalingWatch {
    live: Arc<Live>,
    began: Instant,
    upstreams: Mutex<BTreeMap<UpstreamName, LoadHistory>>,
}

impl fmt::Debug for ScalingWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScalingWatch").finish_non_exhaustive()
    }
}

impl ScalingWatch {
    /// Has seen nothing yet; [`run`](Self::run) looks.
    pub fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self {
            live,
            began: clock::now(),
            upstreams: Mutex::default(),
        })
    }

    /// What has been seen of an upstream.
    pub fn seen(&self, upstream: &UpstreamName) -> Seen {
        let now = self.now();
        let upstreams = self.upstreams();
        upstreams
            .get(upstream)
            .map_or_else(Seen::default, |history| history.seen(now))
    }

    /// Looks once a second. Never returns.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let (removed, upstreams) = {
            let table = self.live.table();
            self.upstreams()
                .retain(|name, _| table.upstream(name).is_some());
            let upstreams: Vec<_> = table.upstreams().cloned().collect();
            (removed(&table), upstreams)
        };
        let mut seen = 0;
        for upstream in upstreams.iter().filter(|one| !one.is_broker()) {
            let (mut sessions, mut began) = totals(upstream);
            if let Some((also, before)) = removed.get(upstream.name()) {
                sessions += also;
                began += before;
            }
            self.note(upstream, sessions, began);
            seen += upstream.members.len();
            if seen >= SLICE {
                seen = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    fn note(&self, upstream: &Upstream, sessions: u64, began: u64) {
        let span = upstream.config.scaling.scale_in_after;
        let now = self.now();
        let mut upstreams = self.upstreams();
        let history = upstreams.entry(upstream.name().clone());
        let history = history.or_insert_with(|| LoadHistory::new(span));
        history.keep_for(span);
        history.look(sessions, began, now);
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    fn upstreams(&self) -> MutexGuard<'_, BTreeMap<UpstreamName, LoadHistory>> {
        self.upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Live sessions of the members, and those that ever began there.
fn totals(upstream: &Upstream) -> (u64, u64) {
    let members = upstream.members.iter().map(|member| &member.state);
    members.fold((0, 0), |(sessions, began), state| {
        (sessions + state.sessions(), began + state.sessions_total())
    })
}

/// The same of backends that left their upstream.
fn removed(table: &RoutingTable) -> BTreeMap<UpstreamName, (u64, u64)> {
    let mut all: BTreeMap<UpstreamName, (u64, u64)> = BTreeMap::new();
    for one in table.removed() {
        let (sessions, began) = all.entry(one.upstream).or_default();
        *sessions += one.occupancy.sessions();
        *began += one.occupancy.sessions_total();
    }
    all
}
