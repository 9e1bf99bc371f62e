//! One live session: its relay, its backend, and what is known of it.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::traffic::{PublishedCounts, Traffic};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndOrder, EndedBy, Ending, Facts};
use crate::core::session::resume::{Moves, ResumeReason};
use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::io::relay::{Relay, Side, Turn};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::context::worker::Worker;
use crate::proxy::session::reconnect::Reached;
use crate::proxy::session::resumption::Resumption;
use crate::telemetry::metrics::{Direction, RouteMetrics};

/// A backend that loses a session within this time counts as a failed attempt to resume it.
const QUICK_LOSS: Duration = Duration::from_secs(2);

/// A live session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) facts: RefCell<Arc<Facts>>,
    pub(crate) relay: RefCell<Relay<Carrier>>,
    pub(crate) began: Instant,
    /// `None` between two.
    pub(crate) backend: RefCell<Option<HeldBackend>>,
    /// Set where it may go on with another backend.
    pub(crate) resumption: Option<Rc<Resumption>>,
    /// Backends in a row that took it and lost it within `QUICK_LOSS`.
    pub(crate) quick: Cell<u16>,
    pub(crate) metrics: Rc<RouteMetrics>,
    /// Traffic that is in the metrics already.
    pub(crate) gathered: Cell<(Traffic, Traffic)>,
    /// The affinity key, where its route has one.
    pub(crate) key: Option<Box<[u8]>>,
    /// The tick at which the wheel brings it up.
    pub(crate) armed: Cell<Tick>,
    /// Whether the socket of its backend has all its options; see `tuning`.
    pub(crate) tuned: Cell<bool>,
    pub(crate) ownership: Cell<Ownership>,
    pub(crate) connection: ConnectionLease,
}

const _: () = assert!(
    size_of::<Session>() <= 880,
    "with the counts of an Rc it fits the allocator's class of 896 bytes"
);
const _: () = assert!(size_of::<Poll<Turn>>() <= 8, "returned at every wake-up");

/// The backend that a session is on.
pub(crate) struct HeldBackend {
    pub(crate) lease: BackendLease,
    /// Milliseconds between the begin of the session and this backend's 101.
    since: u64,
}

impl HeldBackend {
    /// The backend of a session that began at `began`.
    pub(crate) fn new(lease: BackendLease, began: Instant, since: Instant) -> Self {
        let since = since.saturating_duration_since(began).as_millis();
        Self {
            lease,
            since: u64::try_from(since).unwrap_or(u64::MAX),
        }
    }

    /// For how long it has had the session that began at `began`.
    pub(crate) fn held(&self, began: Instant) -> Duration {
        let since = Duration::from_millis(self.since);
        clock::now().duration_since(began).saturating_sub(since)
    }
}

/// Which process moves a session's bytes. Only `handover` changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// This process.
    Here,
    /// This process, and the session is not handed over.
    Stays,
    /// None, while another process decides whether it takes the session.
    Held,
    /// Another process, which also writes the record.
    Gone,
}

impl Session {
    /// Whether this process may move its bytes and decide on its end.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.ownership.get(), Ownership::Here | Ownership::Stays)
    }

    /// The relay. It is borrowed already while the session is polled.
    pub(crate) fn relay_mut(&self) -> RefMut<'_, Relay<Carrier>> {
        self.relay.borrow_mut()
    }

    /// What is known of it.
    pub(crate) fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.borrow())
    }

    /// Gives up the backend. Returns it with the time that it held the session and how that ended.
    pub(crate) fn leave_backend(
        &self,
        reason: ResumeReason,
    ) -> Option<(BackendLease, Duration, Ending)> {
        let backend = self.backend.borrow_mut().take()?;
        let ending = Ending {
            by: EndedBy::Backend,
            cause: match reason {
                ResumeReason::BackendLost => Cause::Disconnected,
                _ => Cause::CloseFrame,
            },
            close_code: None,
            clean: false,
        };
        let held = backend.held(self.began);
        let planned = matches!(reason, ResumeReason::Draining | ResumeReason::Rebalanced);
        match held < QUICK_LOSS && !planned {
            true => self.quick.set(self.quick.get().saturating_add(1)),
            false => self.quick.set(0),
        }
        Some((backend.lease, held, ending))
    }

    /// Goes on with another backend.
    pub(crate) fn go_on(&self, reached: Reached, worker: &Worker) {
        let Reached {
            lease,
            reason,
            mut carrier,
            early,
        } = reached;
        lease.established();
        self.metrics.resumed();
        self.note_move(lease.backend(), reason);
        worker.live().events().session_moved(&self.facts());
        let backend = HeldBackend::new(lease, self.began, clock::now());
        self.backend.replace(Some(backend));
        self.tuned.set(false);
        carrier.settle();
        let now = worker.tick();
        self.relay.borrow_mut().attach(carrier, early, now);
    }

    /// Begins its end. Returns whether this did; its record then shows the order that was `given`.
    pub(crate) fn close(
        &self,
        order: &CloseOrder,
        given: Option<&Arc<EndOrder>>,
        now: Tick,
    ) -> bool {
        let begun = self.relay.borrow_mut().close(order, now);
        if let Some(given) = given.filter(|_| begun) {
            Arc::make_mut(&mut self.facts.borrow_mut()).order = Some(Arc::clone(given));
        }
        begun
    }

    /// Sets another right, which ends at this tick. Returns false if its end has begun, or if it
    /// may be with another process, which would not get the change.
    pub(crate) fn set_right(&self, right: Arc<Right>, ends_at: Option<Tick>) -> bool {
        let mut relay = self.relay.borrow_mut();
        if relay.closing() || !self.is_here() {
            return false;
        }
        relay.set_expiry(ends_at);
        Arc::make_mut(&mut self.facts.borrow_mut()).right = Some(right);
        true
    }

    /// Whether its key belongs to another backend now.
    pub(crate) fn has_another_home(&self, worker: &Worker) -> bool {
        let Some(key) = &self.key else { return false };
        let facts = self.facts.borrow();
        let table = worker.live().table();
        table.upstream(&facts.upstream).is_some_and(|upstream| {
            let pick = upstream.pick_for_session(Some(key), &[], clock::now(), fastrand::u64(..));
            pick.is_some_and(|index| upstream.members[index].id != facts.backend)
        })
    }

    /// Its changes of backend.
    pub(crate) fn moves(&self) -> Moves {
        let relay = self.relay.try_borrow();
        // If it is borrowed, a poll further up this stack has panicked.
        relay.map_or_else(|_| Moves::default(), |relay| relay.moves())
    }

    /// Messages that were put into it towards the client. What waits when it ends is lost.
    pub(crate) fn published(&self) -> PublishedCounts {
        let relay = self.relay.try_borrow();
        // If it is borrowed, a poll further up this stack has panicked.
        relay.map_or_else(
            |_| PublishedCounts::default(),
            |relay| relay.own_counts(Side::Client),
        )
    }

    /// Adds the traffic since the last call to the metrics, and the messages that were lost in the
    /// queue.
    pub(crate) fn gather(&self) {
        let (up, down) = match self.relay.try_borrow_mut() {
            Ok(mut relay) => {
                let lost = relay.take_lost();
                for (outcome, count) in [("evicted", lost.evicted), ("expired", lost.expired)] {
                    if count > 0 {
                        self.metrics.published(outcome, count);
                    }
                }
                (relay.to_backend(), relay.to_client())
            }
            // A poll further up this stack has panicked; what is known counts.
            Err(_) => self.gathered.get(),
        };
        let (up_before, down_before) = self.gathered.replace((up, down));
        self.metrics
            .traffic(Direction::ToBackend, &up.since(&up_before));
        self.metrics
            .traffic(Direction::ToClient, &down.since(&down_before));
    }
}
