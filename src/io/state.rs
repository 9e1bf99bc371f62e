//! The store in which the gateways of a fleet count together: decisions that wait for it only
//! shortly, and the drivers that speak to it.
//!
//! A decision never depends on the store: if it is gone or late, the gateway's own counts decide.
//! The first decision that is late while nothing else is answered in time closes the way to the
//! store until it answers in time again, so that a store that hangs delays only what is asked at
//! that moment.

mod drive;
mod link;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "redis")]
mod redis;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use crate::base::clock;
use crate::config::limits;
use crate::config::snapshot::{State, StateKind};
use crate::core::state::{Ask, Ledger, Rate, StateKey, Verdict};
use crate::telemetry::metrics::{Metrics, StateMetrics};

pub use drive::drive;

/// How long the end of the gateway waits for the store.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// The gateway's end of the store.
pub struct FleetState {
    ledger: Mutex<Ledger<Waiter>>,
    /// There is something to send.
    wake: Notify,
    /// The store is connected, and answers in time.
    answers: AtomicBool,
    /// When the last answer came that was in time.
    in_time: Mutex<Option<Instant>>,
    /// The gateway ends.
    leaves: AtomicBool,
    /// Wakes the connection to give the lease up.
    leaving: Notify,
    /// That is done.
    left: Notify,
    settings: State,
    process: u64,
    status: watch::Sender<StateStatus>,
    metrics: StateMetrics,
}

/// How the connection to the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateStatus {
    /// Whether there is one.
    pub connected: bool,
    /// Since when it is so.
    pub since: SystemTime,
    /// Why there is none, where that is known.
    pub error: Option<String>,
    /// How often one was made.
    pub connects: u64,
}

/// Receives what was decided. What it does not take is given back.
type Waiter = oneshot::Sender<Reply>;

/// A verdict, and the share that it grants.
struct Reply {
    verdict: Verdict,
    share: Option<Share>,
}

/// The fleet has as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetFull;

/// One session of a key, counted over the fleet until it is dropped.
pub struct Share {
    state: Arc<FleetState>,
    key: StateKey,
}

impl FleetState {
    /// A store that is not connected yet; `process` is another number for each process.
    pub fn new(settings: State, process: u64, metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(process, settings.lease)),
            wake: Notify::new(),
            answers: AtomicBool::new(false),
            in_time: Mutex::new(None),
            leaves: AtomicBool::new(false),
            leaving: Notify::new(),
            left: Notify::new(),
            settings,
            process,
            status: watch::Sender::new(StateStatus {
                connected: false,
                since: clock::wall(),
                error: None,
                connects: 0,
            }),
            metrics: StateMetrics::new(metrics),
        })
    }

    /// One more session of a key. Without the store it is counted, and granted.
    ///
    /// # Errors
    /// When the fleet has `max` of them.
    pub async fn session(self: &Arc<Self>, key: StateKey, max: usize) -> Result<Share, FleetFull> {
        let ask = |ledger: &mut Ledger<Waiter>, waiter| {
            ledger.ask(key, Ask::Session { max }, Duration::ZERO, waiter)
        };
        match self.decide("sessions", ask).await {
            Some(Reply {
                verdict: Verdict::Full,
                ..
            }) => Err(FleetFull),
            Some(Reply {
                share: Some(share), ..
            }) => Ok(share),
            _ => Ok(self.session_regardless(key)),
        }
    }

    /// One more session of a key, without asking.
    pub fn session_regardless(self: &Arc<Self>, key: StateKey) -> Share {
        self.ledger().hold(key);
        self.share(key)
    }

    /// Counts a handshake. Without the store, and within the rate, it passes.
    ///
    /// # Errors
    /// How long until there is room again.
    pub async fn handshake(&self, key: StateKey, rate: limits::Rate) -> Result<(), Duration> {
        let period = rate.period;
        let ask = |ledger: &mut Ledger<Waiter>, waiter| ledger.count(Rate { key, period }, waiter);
        match self.decide("handshakes", ask).await {
            Some(Reply {
                verdict: Verdict::Counted(count, left),
                ..
            }) if count > u64::from(rate.count) => Err(left),
            _ => Ok(()),
        }
    }

    /// The backend of a sticky key, which is `own` if it has none, or one that is `useless`. `None`
    /// without the store.
    pub async fn backend(
        &self,
        key: StateKey,
        (own, useless): (&str, Option<&str>),
        keep: Duration,
    ) -> Option<Box<str>> {
        let ask = Ask::Backend {
            backend: own.into(),
            useless: useless.map(Into::into),
        };
        let ask = |ledger: &mut Ledger<Waiter>, waiter| ledger.ask(key, ask, keep, waiter);
        match self.decide("stick", ask).await?.verdict {
            Verdict::Backend(backend) => Some(backend),
            _ => None,
        }
    }

    /// The backend that the fleet keeps for a sticky key, for people; the inner `None` is none.
    /// `None` without the store.
    pub async fn look(&self, key: StateKey, keep: Duration) -> Option<Option<Box<str>>> {
        let ask = |ledger: &mut Ledger<Waiter>, waiter| ledger.ask(key, Ask::Look, keep, waiter);
        match self.decide("stick", ask).await?.verdict {
            Verdict::Kept(backend) => Some(backend),
            _ => None,
        }
    }

    /// One more session of a sticky key on this backend. If it `moves` there, so does the key.
    pub fn stick(
        self: &Arc<Self>,
        key: StateKey,
        (backend, moves): (&str, bool),
        keep: Duration,
    ) -> Share {
        self.ledger().stick(key, backend, moves, keep);
        self.wake.notify_one();
        self.share(key)
    }

    /// Gives the lease of this process up, so that its shares stop to count within a second. What
    /// is not written yet need not be written then. Waits for the store only shortly.
    pub async fn leave(&self) {
        self.leaves.store(true, Ordering::Release);
        if self.status().connected {
            self.leaving.notify_one();
            let _ = timeout(LEAVE_MAX, self.left.notified()).await;
        }
    }

    /// What it speaks.
    pub fn kind(&self) -> StateKind {
        self.settings.kind
    }

    /// Where it is.
    pub fn server(&self) -> String {
        self.settings.address.to_string()
    }

    /// How the connection is.
    pub fn status(&self) -> StateStatus {
        self.status.borrow().clone()
    }

    /// Follows how the connection is.
    pub fn watch_status(&self) -> watch::Receiver<StateStatus> {
        self.status.subscribe()
    }

    /// Whether decisions are the fleet's now.
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Acquire)
    }

    /// Waits for a decision, for as long as one may. `None`: the store is gone or late.
    async fn decide(
        &self,
        decision: &'static str,
        ask: impl FnOnce(&mut Ledger<Waiter>, Waiter) -> Result<(), Waiter>,
    ) -> Option<Reply> {
        if !self.answers() {
            self.metrics.decided(decision, "unavailable");
            return None;
        }
        let (sender, mut receiver) = oneshot::channel();
        let asked = ask(&mut self.ledger(), sender);
        if asked.is_err() {
            self.metrics.decided(decision, "unavailable");
            return None;
        }
        self.wake.notify_one();
        let reply = match timeout(self.settings.decision_timeout, &mut receiver).await {
            Ok(reply) => reply.map_err(|_| "unavailable"),
            // It may come at this very moment.
            Err(_) => receiver.try_recv().map_err(|_| {
                // A store that answers others in time is no store that hangs.
                if !self.was_in_time() {
                    self.set_answers(false);
                }
                "late"
            }),
        };
        let outcome = reply.as_ref().err().copied().unwrap_or("shared");
        self.metrics.decided(decision, outcome);
        reply.ok()
    }

    fn share(self: &Arc<Self>, key: StateKey) -> Share {
        Share {
            state: Arc::clone(self),
            key,
        }
    }

    fn set_answers(&self, answers: bool) {
        self.answers.store(answers, Ordering::Release);
        self.metrics.answers(answers);
    }

    /// Whether an answer came in time within the last `decision_timeout`.
    fn was_in_time(&self) -> bool {
        let since = self.in_time().map(|at| at.elapsed());
        since.is_some_and(|since| since <= self.settings.decision_timeout)
    }

    fn in_time(&self) -> MutexGuard<'_, Option<Instant>> {
        self.in_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger<Waiter>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.state.ledger().release(self.key);
        self.state.wake.notify_one();
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&self.key).finish()
    }
}

impl fmt::Debug for FleetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetState").finish_non_exhaustive()
    }
}
