//! The collector: it takes events out of their queues, numbers them and keeps them.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::base::clock;
use crate::telemetry::events::event::{Body, Class, Emitted, Event, Kind};
use crate::telemetry::events::{Events, Fields};

/// Events arrive in batches: one wake-up of the collector serves all of this time.
const BATCH: Duration = Duration::from_millis(20);
/// Events of each class in one batch; the collector then lets others run.
const BATCH_MAX: usize = 2048;

/// The receiving ends.
#[derive(Debug)]
pub(super) struct Queues([mpsc::Receiver<Emitted>; Class::ALL.len()]);

impl Queues {
    pub(super) fn new(
        bounds: [usize; Class::ALL.len()],
    ) -> ([mpsc::Sender<Emitted>; Class::ALL.len()], Self) {
        let [one, two, three] = bounds.map(mpsc::channel);
        ([one.0, two.0, three.0], Self([one.1, two.1, three.1]))
    }

    /// Waits for the first event, then takes what else is there, in the order of time.
    async fn next_batch(&mut self) -> Vec<Emitted> {
        let [sessions, refusals, changes] = &mut self.0;
        let first = tokio::select! {
            one = changes.recv() => one,
            one = sessions.recv() => one,
            one = refusals.recv() => one,
        };
        let mut batch: Vec<_> = first.into_iter().collect();
        self.take_waiting(&mut batch);
        batch
    }

    fn take_waiting(&mut self, batch: &mut Vec<Emitted>) {
        for queue in &mut self.0 {
            for _ in 0..BATCH_MAX {
                let Ok(one) = queue.try_recv() else { break };
                batch.push(one);
            }
        }
        batch.sort_by_key(|one| one.at);
    }
}

/// Collects events while the gateway runs.
#[derive(Debug)]
pub struct Collector {
    events: Events,
    queues: Queues,
    /// Events that were dropped and reported, by class.
    reported: [u64; Class::ALL.len()],
    /// Writes events to files, if they are kept there.
    writer: Option<SyncSender<Arc<Event>>>,
}

impl Collector {
    pub(super) fn new(events: Events, queues: Queues) -> Self {
        Self {
            events,
            queues,
            reported: Default::default(),
            writer: None,
        }
    }

    /// Gives every event to `writer` as well, which runs elsewhere; it is never waited for.
    #[must_use]
    pub fn with_writer(self, writer: Option<SyncSender<Arc<Event>>>) -> Self {
        Self { writer, ..self }
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
        let mut store = self.events.store();
        let kept = batch.into_iter().chain(lost.into_iter().flatten());
        let kept: Vec<_> = kept.map(|one| store.push(one)).collect();
        let newest = store.newest();
        drop(store);
        for event in kept {
            self.write(event);
        }
        self.events.notify(newest);
    }

    fn write(&self, event: Arc<Event>) {
        if let Some(writer) = &self.writer
            && writer.try_send(event).is_err()
        {
            self.events.count_unwritten(1);
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
