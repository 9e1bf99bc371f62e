//! The store of the fleet's state, and the backends that sticky keys keep.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::base::clock;
use crate::config::snapshot::Snapshot;
use crate::io::state::{self, FleetState, StateStatus};
use crate::live::Live;
use crate::telemetry::events::{Fields, Kind};
use crate::telemetry::metrics::Metrics;

/// Between looks at the keys that keep their backends.
const EVERY: Duration = Duration::from_secs(1);

/// Has limits count over the fleet, where there is a store.
pub(super) fn prepare(live: &Live, snapshot: &Snapshot, metrics: &Arc<Metrics>) {
    if let Some(settings) = &snapshot.state {
        let state = FleetState::new(settings.clone(), live.instance(), metrics);
        live.set_state(state);
    }
}

/// Keeps the store connected, and forgets what was kept long enough.
pub(super) fn begin(live: &Arc<Live>, background: &mut JoinSet<()>) {
    background.spawn(expire(Arc::clone(live)));
    if let Some(state) = live.state() {
        background.spawn(state::drive(Arc::clone(state)));
        background.spawn(report(Arc::clone(live), state.watch_status()));
    }
}

/// Ends what goes on beside the workers. Before that, what this process wrote stops to count, since
/// its sessions have ended.
pub(super) async fn leave(live: &Live, mut background: JoinSet<()>) {
    if let Some(state) = live.state() {
        state.leave().await;
    }
    background.shutdown().await;
}

async fn expire(live: Arc<Live>) {
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        live.sticks().expire(clock::now());
    }
}

/// Makes events of what happens to the connection.
async fn report(live: Arc<Live>, mut status: watch::Receiver<StateStatus>) {
    let mut was = None;
    loop {
        let now = status.borrow_and_update().clone();
        // The first connection is a part of the start.
        let kind = match (was.replace(now.connected), now.connected) {
            (Some(false), true) => Some(Kind::StateConnected),
            (Some(true), false) => Some(Kind::StateLost),
            _ => None,
        };
        if let Some(kind) = kind {
            let text = match now.error {
                Some(error) => format!("limits hold for this gateway alone: {error}"),
                None => "limits hold over the fleet".to_owned(),
            };
            live.events().change(kind, Fields::new(text));
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
