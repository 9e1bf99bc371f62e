//! The collector of events, from before the first client to after the last session.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::addresses::listening;
use crate::base::addr::ListenAddr;
use crate::live::Live;
use crate::proxy::worker::Shared;
use crate::telemetry::events::{Collector, Events, Fields, Kind};

/// The running collector.
pub(super) struct EventLog {
    events: Events,
    stop: oneshot::Sender<()>,
    collecting: JoinHandle<Collector>,
}

/// The gateway accepts clients.
pub(super) fn report_ready(shared: &Shared, workers: usize, admin: &ListenAddr) {
    let listeners = listening(&shared.listeners);
    let ready = format!("{workers} workers, listeners {listeners}, admin {admin}");
    shared
        .live
        .events()
        .change(Kind::NodeReady, Fields::new(ready));
    tracing::info!(node = %shared.records.node(), workers, listeners, %admin, "ready");
}

/// What is known at the start.
fn started(live: &Live, predecessor: Option<u32>) -> Fields {
    let table = live.table();
    let (version, own) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let mut text = format!("version {version}, pid {own}");
    if let Some(pid) = predecessor {
        text.push_str(&format!(", takes over from pid {pid}"));
    }
    Fields {
        generation: Some(table.generation),
        digest: Some(table.digest.to_string().into()),
        ..Fields::new(text)
    }
}

impl EventLog {
    /// Begins to collect; `predecessor` is the process that this one takes over from.
    pub(super) fn begin(live: &Live, predecessor: Option<u32>) -> Self {
        let events = live.events().clone();
        events.change(Kind::NodeStarted, started(live, predecessor));
        let mut collector = events.collector().expect("a gateway runs once");
        let (stop, stopped) = oneshot::channel::<()>();
        let collecting = tokio::spawn(async move {
            tokio::select! {
                () = collector.run() => {}
                _ = stopped => {}
            }
            collector
        });
        Self {
            events,
            stop,
            collecting,
        }
    }

    /// Takes what waits, and ends all streams when they have sent it.
    pub(super) async fn end(self) {
        drop(self.stop);
        if let Ok(mut collector) = self.collecting.await {
            collector.finish();
        }
        self.events.close();
    }
}
