//! The collector: it takes events out of their queues, numbers them and keeps them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::base::clock;
use crate::telemetry::events::event::{Body, Class, Emitted, Kind};
use crate::telemetry::events::fields::Fields;
use crate::telemetry::events::queues::Queues;
use crate::telemetry::events::shared::Shared;

/// Events arrive in batches: one wake-up of the collector serves all of this time.
const BATCH: Duration = Duration::from_millis(20);

/// Collects events while the gateway runs.
pub struct Collector {
    events: Arc<Shared>,
    queues: Queues,
    /// Events that were dropped and reported, by class.
    reported: [u64; Class::ALL.len()],
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) fn new(events: Arc<Shared>, queues: Queues) -> Self {
        Self {
            events,
            queues,
            reported: Default::default(),
        }
    }

    /// Collects. Never returns, and may be cancelled.
    pub async fn run(&mut self) {
        loop {
            let batch = self.queues.next_batch().await;
            self.keep(batch);
            sleep(BATCH).await;
        }
    }

    /// Takes what waits now, as at the end of a gateway.
    pub fn finish(&mut self) {
        loop {
            let mut batch = Vec::new();
            self.queues.take_waiting(&mut batch);
            if batch.is_empty() {
                return;
            }
            self.keep(batch);
        }
    }

    fn keep(&mut self, batch: Vec<Emitted>) {
        let lost = Class::ALL.map(|class| self.newly_dropped(class));
        let files = self.events.files.get();
        let mut store = self.events.store();
        let mut written = Vec::new();
        for one in batch.into_iter().chain(lost.into_iter().flatten()) {
            let event = store.push(one);
            if files.is_some() {
                written.push(event);
            }
        }
        let newest = store.newest();
        drop(store);
        self.events.notify(newest);
        if let Some(files) = files {
            written.into_iter().for_each(|event| files.write(event));
        }
    }

    /// Reports events that found their queue full.
    fn newly_dropped(&mut self, class: Class) -> Option<Emitted> {
        let dropped = self.events.dropped(class);
        let reported = std::mem::replace(&mut self.reported[class as usize], dropped);
        let events = dropped - reported;
        (events > 0).then(|| {
            let class = class.as_str();
            let fields = Fields {
                reason: Some("queue_full".into()),
                events: Some(events),
                ..Fields::new(format!(
                    "{events} events of `{class}` came too fast and are lost"
                ))
            };
            Emitted {
                at: clock::wall(),
                kind: Kind::EventsLost,
                body: Body::Fields(Box::new(fields)),
            }
        })
    }
}
