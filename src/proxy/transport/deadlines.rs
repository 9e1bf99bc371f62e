//! How long a client's connection may stay as it is: with a head on its way, between two requests,
//! with bytes that do not move. One timer for each connection looks at what its streams last did.

use std::cmp::max;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::config::snapshot::{ListenerTimeouts, RouteTimeouts};
use crate::core::session::wheel::Tick;
use crate::core::wire::request_guard::Awaited;
use crate::proxy::context::worker::{TICK, ticks};
use crate::proxy::stages::forward::Upload;
use crate::proxy::streams::stream::Pulse;
use crate::proxy::transport::connection::Connection;

/// Until a route is known, a client that takes nothing of what it was sent has so long; the default
/// of routes.
const PROGRESS: Duration = Duration::from_secs(30);

/// Why the gateway ends a client's connection that the client could go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A head did not end in time.
    HeadTimedOut,
    /// No request came after the last one.
    Unused,
    /// The client does not read, or does not send the body that it began.
    ClientStalled,
    /// The backend does not read the request's body.
    BackendStalled,
    /// A response has not moved for longer than `timeouts.idle`.
    Idle,
}

impl Cut {
    /// The label in metrics and records.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::HeadTimedOut => "head_timed_out",
            Self::Unused => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::BackendStalled => "backend_stalled",
            Self::Idle => "idle_timeout",
        }
    }

    /// Whether bytes are lost with the connection, so that its end must not look like a proper one.
    pub(crate) const fn is_abrupt(self) -> bool {
        matches!(
            self,
            Self::ClientStalled | Self::BackendStalled | Self::Idle
        )
    }
}

/// The times of one connection, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    head: Tick,
    between: Tick,
    progress: Tick,
}

impl Times {
    pub(crate) fn of(listener: &ListenerTimeouts) -> Self {
        Self {
            head: ticks(listener.request_head),
            between: ticks(listener.between_requests),
            progress: ticks(PROGRESS),
        }
    }

    /// The earliest that anything which begins now can be due.
    fn shortest(self) -> Tick {
        self.head.min(self.between).min(self.progress)
    }
}

/// A response whose body is on its way.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) backend: Option<Rc<Pulse>>,
    pub(crate) idle: Option<Duration>,
}

impl Connection {
    /// Comes back when the connection has to be ended, with the reason.
    pub(crate) async fn overdue(&self) -> Cut {
        loop {
            match self.due() {
                Err(cut) => return cut,
                // Woken early where a request brings shorter times.
                Ok(wait) => drop(timeout(TICK * wait, self.alarm.notified()).await),
            }
        }
    }

    /// Ticks until something may be due: no later than the earliest time that can begin now ends.
    fn due(&self) -> Result<Tick, Cut> {
        let now = self.worker.tick();
        let times = self.times.get();
        let mut next = times.shortest();
        let mut ends = |since: Option<Tick>, limit: Tick, cut: Cut| {
            let passed = since.map_or(0, |since| now.saturating_sub(since));
            match limit.checked_sub(passed) {
                None | Some(0) => Err(cut),
                Some(left) => {
                    next = next.min(left);
                    Ok(())
                }
            }
        };
        ends(self.pulse.writing(), times.progress, Cut::ClientStalled)?;
        let answering = self.answering.borrow();
        let awaited = self.awaited();
        if self.asking.get() {
            // The request's own deadlines hold until its response has a head.
        } else if answering.is_some() || awaited == Awaited::Body {
            let backend = answering.as_ref().and_then(|one| one.backend.as_ref());
            ends(self.body_awaited(), times.progress, Cut::ClientStalled)?;
            let blocked = backend.and_then(|pulse| pulse.writing());
            ends(blocked, times.progress, Cut::BackendStalled)?;
            if let Some(idle) = answering.as_ref().and_then(|one| one.idle) {
                let moved = backend.map_or(0, |pulse| pulse.moved());
                let moved = max(moved, self.pulse.moved());
                ends(Some(moved), ticks(idle), Cut::Idle)?;
            }
        } else if awaited == Awaited::Head || self.is_fresh() {
            ends(Some(self.since.get()), times.head, Cut::HeadTimedOut)?;
        } else {
            ends(Some(self.since.get()), times.between, Cut::Unused)?;
        }
        Ok(next.max(1))
    }

    /// The request's route brings a time of its own.
    pub(crate) fn use_times(&self, route: &RouteTimeouts) {
        let before = self.times.get();
        let progress = ticks(route.progress);
        self.times.set(Times { progress, ..before });
        if progress < before.shortest() {
            self.alarm.notify_one();
        }
    }

    /// A response's body is on its way from now on; `until_end` if only the connection's end tells
    /// the client where it ends.
    pub(crate) fn answer(&self, answering: Answering, until_end: bool) {
        self.until_end.set(until_end);
        let idle = answering.idle.map(ticks);
        self.answering.replace(Some(answering));
        if idle.is_some_and(|idle| idle < self.times.get().shortest()) {
            self.alarm.notify_one();
        }
    }

    /// The response's body is over, whole or not.
    pub(crate) fn answer_over(&self) {
        self.answering.take();
        self.since.set(self.worker.tick());
    }

    /// Since when the client is awaited to go on with its request's body.
    pub(crate) fn body_awaited(&self) -> Option<Tick> {
        let waits = self.awaited() == Awaited::Body;
        self.pulse.reading().filter(|_| waits)
    }
}

/// Why no response came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The request has gone up, and the backend does not answer.
    NoAnswer,
    /// The client does not send the body that it began.
    ClientStalled,
    /// The backend does not read the request's body.
    BackendStalled,
}

/// What the head of a response is waited for with.
pub(crate) struct Patience<'r> {
    pub(crate) connection: &'r Connection,
    pub(crate) backend: &'r Pulse,
    pub(crate) upload: &'r Upload,
    pub(crate) timeouts: &'r RouteTimeouts,
}

impl Patience<'_> {
    /// Comes back when the wait for a response's head is over.
    pub(crate) async fn over(&self) -> Late {
        let progress = ticks(self.timeouts.progress);
        // An upload that ends while this sleeps begins a time that is no shorter.
        let shortest = self.timeouts.response.min(self.timeouts.progress);
        loop {
            let now = Instant::now();
            let next = match self.upload.ended_at() {
                Some(ended) => ended + self.timeouts.response,
                None => {
                    let tick = self.connection.worker.tick();
                    let left = |since: Option<Tick>| {
                        let since = since.unwrap_or(tick);
                        progress.saturating_sub(tick.saturating_sub(since))
                    };
                    let client = left(self.connection.body_awaited());
                    let backend = left(self.backend.writing());
                    if client == 0 {
                        return Late::ClientStalled;
                    }
                    if backend == 0 {
                        return Late::BackendStalled;
                    }
                    now + (TICK * client.min(backend)).min(shortest)
                }
            };
            if next <= now {
                return Late::NoAnswer;
            }
            sleep_until(next).await;
        }
    }
}
