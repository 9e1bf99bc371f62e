//! The queues between those who emit events and the collector.

use tokio::sync::mpsc;

use crate::telemetry::events::event::{Class, Emitted};

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
    pub(super) async fn next_batch(&mut self) -> Vec<Emitted> {
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

    pub(super) fn take_waiting(&mut self, batch: &mut Vec<Emitted>) {
        for queue in &mut self.0 {
            for _ in 0..BATCH_MAX {
                let Ok(one) = queue.try_recv() else { break };
                batch.push(one);
            }
        }
        batch.sort_by_key(|one| one.at);
    }
}
