//! The history of a node: messages of its groups that are kept for clients that come back.
//!
//! A client that comes back gets each message once, and in order: a message is kept and queued to
//! the workers in one step, and what a session has missed is looked up and queued in one step too.
//! So every message is either in what was looked up, or behind it in the worker's queue; what is in
//! front of it there is skipped for this session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::target::Target;
use crate::config::snapshot::{self as config, Publish};
use crate::core::messages::delivery::{DeliveryCounts, Publication, Recipient};
use crate::core::messages::history::{History, Missed};
use crate::io::broker::BrokerStatus;
use crate::live::{
    Delivery, Live, MessageCommand, QueuedCommands, RecordedAt, ReplayRequest, Replays,
    WorkerCommand,
};

/// Messages that a session gets at once; the next ones when these have left.
const PAGE: usize = 64;
/// For the log of the fleet, or the process before this one; then sessions are told of a gap.
const READ_MAX: Duration = Duration::from_secs(5);

/// The messages that are kept.
#[derive(Debug)]
pub(super) struct NodeHistory {
    live: Arc<Live>,
    rules: Arc<[config::History]>,
    logged: bool,
    history: Mutex<History<Arc<Delivery>>>,
    /// How many places still send what was kept before.
    awaited: watch::Sender<usize>,
}

impl NodeHistory {
    /// `None` where no group has a history. `logged` is whether there is a log of the fleet,
    /// `takes_over` whether there is a process before this one: `came` is called for each of the
    /// two when what it has kept is here.
    pub(super) fn new(
        live: &Arc<Live>,
        settings: &Publish,
        (logged, takes_over): (bool, bool),
    ) -> Option<Arc<Self>> {
        let rules = Arc::clone(&settings.history);
        let age = History::<()>::age_max(&rules);
        let begins = match logged {
            true => now().saturating_sub(clock::millis(age)),
            false => now(),
        };
        (!rules.is_empty()).then(|| {
            // The low bits of a random number.
            let mark = (!logged).then_some(live.instance() as u32);
            let kept = Arc::clone(&rules);
            let mut history = History::new(kept, settings.history_bytes, begins, mark);
            if takes_over {
                history.begin_handover();
            }
            Arc::new(Self {
                rules,
                logged,
                live: Arc::clone(live),
                history: Mutex::new(history),
                awaited: watch::Sender::new(usize::from(logged) + usize::from(takes_over)),
            })
        })
    }

    /// The process before this one sends no more.
    pub(super) async fn handed_over(&self) {
        self.history.lock().await.handed_over(now());
        self.came();
    }

    /// What one place has kept before is here.
    pub(super) fn came(&self) {
        self.awaited
            .send_modify(|awaited| *awaited = awaited.saturating_sub(1));
    }

    pub(super) fn history(&self) -> &Mutex<History<Arc<Delivery>>> {
        &self.history
    }

    pub(super) fn note_last(&self, history: &History<Arc<Delivery>>) {
        let replays = self
            .live
            .messages()
            .and_then(|setup| setup.replays.as_ref());
        if let Some(replays) = replays {
            replays.set_last(history.last());
        }
    }

    /// Keeps a message and queues it to the workers. Gives it back if none of its groups has a
    /// history.
    pub(super) async fn queue(
        &self,
        publication: Publication,
        came: Option<Instant>,
    ) -> Result<QueuedCommands<DeliveryCounts>, Publication> {
        let groups = self.kept_of(&publication);
        if groups.is_empty() {
            return Err(publication);
        }
        let mut history = self.history.lock().await;
        let id = history.next_id(now());
        let delivery = recorded(publication, groups, id, came);
        keep(&mut history, id, &delivery);
        self.note_last(&history);
        // Queued before the next message is kept: that is the order.
        Ok(queue(&self.live, delivery).await)
    }

    /// The same for one that has its id; `deliver` is whether the workers get it.
    pub(super) async fn queue_at(
        &self,
        publication: Publication,
        id: HistoryId,
        deliver: bool,
    ) -> Option<QueuedCommands<DeliveryCounts>> {
        let groups = self.kept_of(&publication);
        let mut history = self.history.lock().await;
        let delivery = match groups.is_empty() {
            // A gateway with other rules keeps it.
            true => Arc::new(publication.into()),
            false => {
                let delivery = recorded(publication, groups, id, None);
                keep(&mut history, id, &delivery);
                delivery
            }
        };
        self.note_last(&history);
        match deliver {
            true => Some(queue(&self.live, delivery).await),
            false => None,
        }
    }

    /// Whether a message is kept.
    pub(super) fn keeps(&self, publication: &Publication) -> bool {
        !self.kept_of(publication).is_empty()
    }

    /// Sessions of this node may have missed a message.
    pub(super) async fn interrupt_of(&self, groups: &[GroupName]) {
        let mut history = self.history.lock().await;
        let now = history.next_id(now());
        for group in groups {
            history.interrupt(group, now);
        }
    }

    /// The groups whose history gets a message.
    pub(super) fn kept_of(&self, publication: &Publication) -> Vec<GroupName> {
        match publication.side {
            Recipient::Client => History::<()>::kept_of(&self.rules, &publication.to),
            Recipient::Backend => Vec::new(),
        }
    }

    /// The broker carries a group's messages to this gateway no longer.
    pub(super) async fn interrupt(&self, group: &GroupName) {
        let target = [Target::Group(group.clone())];
        if !History::<()>::kept_of(&self.rules, &target).is_empty() {
            let mut history = self.history.lock().await;
            let now = history.next_id(now());
            history.interrupt(group, now);
        }
    }

    /// Messages of any group may have been missed until `id`, or until now.
    pub(super) async fn interrupt_all(&self, id: Option<HistoryId>) {
        let mut history = self.history.lock().await;
        let until = id.unwrap_or_else(|| history.next_id(now()));
        history.interrupt_all(until);
    }

    /// Follows the connection to a broker without a log: what is published while it is lost is
    /// missed.
    pub(super) async fn watch(self: Arc<Self>, mut status: watch::Receiver<BrokerStatus>) {
        let mut was = true;
        while status.changed().await.is_ok() {
            let connected = status.borrow_and_update().connected;
            if std::mem::replace(&mut was, connected) != connected {
                self.interrupt_all(None).await;
            }
        }
    }

    /// Sends sessions what they have missed, for as long as the gateway runs.
    pub(super) async fn follow(self: Arc<Self>, replays: Arc<Replays>) {
        if self.logged {
            replays.set_logged();
        }
        let mut awaited = self.awaited.subscribe();
        self.note_last(&*self.history.lock().await);
        // Without them the history is not whole, and tells of a gap.
        let whole = timeout(READ_MAX, awaited.wait_for(|awaited| *awaited == 0));
        drop(whole.await);
        // Sessions of a hand-over get no gap: they wait until all is here.
        let mut waiting = Vec::new();
        loop {
            let request = tokio::select! {
                request = replays.next() => request,
                _ = awaited.wait_for(|awaited| *awaited == 0), if !waiting.is_empty() => {
                    waiting.drain(..).for_each(|request| replays.push(request));
                    continue;
                }
            };
            if !request.tells_gap && *self.awaited.borrow() > 0 {
                waiting.push(request);
            } else if !self.replay(&request).await {
                // A worker was busy for long; its session waits.
                replays.push(request);
            }
        }
    }

    /// Sends a session what it has missed, or the first part of it. Returns false if its worker may
    /// not have it.
    async fn replay(&self, request: &ReplayRequest) -> bool {
        let queued = {
            let history = self.history.lock().await;
            let (groups, since) = (&request.groups, request.since);
            // Another gateway may have read more of the log.
            let last = history.last().max(since);
            let Missed {
                messages,
                gap,
                more,
            } = history.since(groups, since, PAGE, now());
            let gap = request.tells_gap && (gap || *self.awaited.borrow() > 0);
            let deliveries: Arc<[_]> = messages.into();
            let command = |answer| {
                WorkerCommand::Messages(MessageCommand::Replay {
                    id: request.id,
                    deliveries: Arc::clone(&deliveries),
                    gap,
                    more,
                    last,
                    answer,
                })
            };
            self.live.workers().queue(command).await
        };
        let answers = queued.answers(READ_MAX).await;
        let silent = answers.missing() > 0;
        answers.into_iter().any(|here| here) || !silent
    }
}

/// A message of these groups, which is kept under this id.
pub(super) fn recorded(
    publication: Publication,
    groups: Vec<GroupName>,
    id: HistoryId,
    came: Option<Instant>,
) -> Arc<Delivery> {
    let recorded = RecordedAt {
        id,
        groups,
        publication,
    };
    Arc::new(Delivery::recorded(recorded).that_came(came))
}

/// The groups of a message that is kept, and what the fleet calls it.
pub(super) fn place_of(delivery: &Delivery) -> (&[GroupName], Option<&Arc<str>>) {
    let at = delivery.recorded.as_ref();
    at.map_or((&[], None), |at| (&*at.groups, at.publication.id.as_ref()))
}

/// Keeps a message under this id.
fn keep(history: &mut History<Arc<Delivery>>, id: HistoryId, delivery: &Arc<Delivery>) {
    let (groups, name) = place_of(delivery);
    let bytes = delivery.bytes_max();
    match id > history.last() {
        true => history.keep((id, name), groups, bytes, delivery, now()),
        false => history.adopt((&[id], name), groups, bytes, delivery, now()),
    }
}

/// Queues a message to all workers.
pub(super) async fn queue(live: &Live, delivery: Arc<Delivery>) -> QueuedCommands<DeliveryCounts> {
    let command = |answer| {
        let delivery = Arc::clone(&delivery);
        WorkerCommand::Messages(MessageCommand::Deliver { delivery, answer })
    };
    live.workers().queue(command).await
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    clock::unix_millis(clock::wall())
}
