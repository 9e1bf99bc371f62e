//! The state of HTTP/1 on one connection: which request it carries, what the client has to send
//! next, and when it has to be ended.

use std::cell::{Cell, Ref, RefCell};
use std::cmp::max;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::core::session::wheel::Tick;
use crate::core::wire::request_guard::{Awaited, RequestGuard, Smuggling};
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::client::progress::{Progress, default_limit};
use crate::proxy::clock::{TICK, ticks};
use crate::proxy::context::worker::WorkerPhase;
use crate::proxy::streams::activity::StreamActivity;
use crate::proxy::transport::closing::AtEnd;
use crate::proxy::transport::deadlines::{Cut, Doing, State, Times, due};

/// The state of HTTP/1 on one connection.
pub(crate) struct Http1 {
    pub(crate) client: Rc<ClientConnection>,
    /// What moves on it.
    pub(crate) activity: Rc<StreamActivity>,
    guard: RefCell<RequestGuard>,
    /// Requests that hyper has handed over.
    requests: Cell<u64>,
    /// The last of them.
    current: RefCell<Option<Rc<Progress>>>,
    /// When the connection was opened, or the last head began.
    head_since: Cell<Tick>,
    times: Times,
    /// Wakes the timer after a deadline got shorter.
    alarm: Rc<Notify>,
}

impl Http1 {
    /// A connection on which nothing has been read yet.
    pub(crate) fn new(client: Rc<ClientConnection>) -> Rc<Self> {
        let now = client.worker.tick();
        Rc::new(Self {
            activity: StreamActivity::new(now),
            guard: RefCell::default(),
            requests: Cell::new(0),
            current: RefCell::default(),
            head_since: Cell::new(now),
            times: Times::of(&client.listener().config.timeouts),
            alarm: Rc::default(),
            client,
        })
    }

    /// A request begins. Returns its progress, and whether its framing is unambiguous.
    pub(crate) fn begin(&self) -> (Rc<Progress>, Result<(), Smuggling>) {
        let index = self.requests.replace(self.requests.get() + 1);
        let progress = Progress::begin(&self.client.worker.clock, &self.activity, &self.alarm);
        let guard = self.guard.borrow();
        progress.set_body_awaited(guard.awaited() == Awaited::Body);
        self.current.replace(Some(Rc::clone(&progress)));
        (progress, guard.verdict(index))
    }

    /// The progress of the last request.
    pub(crate) fn current(&self) -> Ref<'_, Option<Rc<Progress>>> {
        self.current.borrow()
    }

    /// What waits to be written for the last request.
    pub(crate) fn take_unsent(&self) -> Vec<u8> {
        let current = self.current();
        let unsent = current
            .as_ref()
            .and_then(|progress| progress.take_interim());
        unsent.unwrap_or_default()
    }

    /// Whether no request has come yet.
    fn is_fresh(&self) -> bool {
        self.requests.get() == 0
    }

    /// What the client has to send next.
    pub(crate) fn awaited(&self) -> Awaited {
        self.guard.borrow().awaited()
    }

    /// Bytes came from the client.
    pub(crate) fn observe(&self, bytes: &[u8]) {
        let mut guard = self.guard.borrow_mut();
        let before = guard.awaited();
        guard.observe(bytes);
        if before == Awaited::Request && !self.is_fresh() {
            self.head_since.set(self.client.worker.tick());
        }
        if let Some(progress) = &*self.current() {
            progress.set_body_awaited(guard.awaited() == Awaited::Body);
        }
    }

    /// Whether the connection is closed after its current request. During a hand-over only one that
    /// has been used: hyper would close a connection whose first request is on its way, and spoil
    /// the 101 of one that becomes a session.
    pub(crate) fn closes(&self, phase: WorkerPhase) -> bool {
        match phase {
            WorkerPhase::Serving => false,
            WorkerPhase::HandingOver => {
                let current = self.current();
                current
                    .as_ref()
                    .is_some_and(|progress| !progress.is_upgrading())
            }
            WorkerPhase::Stopping => true,
        }
    }

    /// What the connection was doing when its HTTP ended.
    pub(crate) fn at_end(&self) -> AtEnd {
        let current = self.current();
        let current = current.as_ref();
        AtEnd {
            awaited: self.awaited(),
            serving: current.is_some_and(|one| one.is_waiting() || one.answering().is_some()),
            marks_response: current.is_some_and(|one| one.ends_with_connection()),
        }
    }

    /// Returns when the connection has to be ended, with the reason.
    pub(crate) async fn overdue(&self) -> Cut {
        loop {
            let now = self.client.worker.tick();
            match due(self.times, &self.state(), now) {
                Err(cut) => return cut,
                // Woken early where a request brings shorter times.
                Ok(wait) => drop(timeout(TICK * wait, self.alarm.notified()).await),
            }
        }
    }

    /// What the connection does now.
    fn state(&self) -> State {
        let current = self.current();
        let limit = current.as_ref().map(|progress| progress.limit());
        State {
            writing: self.activity.writing(),
            limit: limit.unwrap_or_else(default_limit),
            doing: self.doing(current.as_deref()),
        }
    }

    fn doing(&self, current: Option<&Progress>) -> Doing {
        let awaited = self.awaited();
        if let Some(progress) = current {
            let answering = progress.answering();
            if progress.is_waiting() {
                return Doing::Waiting;
            }
            if answering.is_some() || awaited == Awaited::Body {
                let answering = answering.as_ref();
                let backend = answering.and_then(|one| one.backend.as_ref());
                let moved = backend.map_or(0, |backend| backend.moved());
                let moved = max(moved, self.activity.moved());
                let idle = answering.and_then(|one| one.idle);
                return Doing::Body {
                    awaited: progress.body_awaited(),
                    blocked: backend.and_then(|backend| backend.writing()),
                    idle: idle.map(|idle| (moved, ticks(idle))),
                };
            }
        }
        let changed = current.map_or(0, Progress::changed_at);
        let since = max(self.head_since.get(), changed);
        match awaited == Awaited::Head || self.is_fresh() {
            true => Doing::Head(since),
            false => Doing::Between(since),
        }
    }
}
