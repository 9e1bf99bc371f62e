//! How far one request is: the stages report it, the transport's deadlines and the end of its
//! connection depend on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::snapshot::RouteTimeouts;
use crate::core::session::wheel::Tick;
use crate::proxy::clock::{WorkerClock, ticks};
use crate::proxy::streams::activity::StreamActivity;

/// `timeouts.progress` until the route is known; the default of routes.
const PROGRESS: Duration = Duration::from_secs(30);

/// Bytes of interim responses that wait to be sent; further ones are dropped.
const INTERIM_MAX: usize = 64 * 1024;

/// How long a stalled peer is waited for where no request has a route yet.
pub(crate) fn default_limit() -> Tick {
    ticks(PROGRESS)
}

/// A response whose body is on its way.
#[derive(Debug)]
pub(crate) struct Answering {
    /// The backend's connection.
    pub(crate) backend: Option<Rc<StreamActivity>>,
    /// How long nothing may move on either connection.
    pub(crate) idle: Option<Duration>,
}

/// The progress of one request.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Rc<WorkerClock>,
    /// What moves on the client's connection.
    activity: Rc<StreamActivity>,
    /// Wakes the transport's timer after a deadline got shorter.
    alarm: Rc<Notify>,
    /// The response has its head, or there will be none.
    answered: Cell<bool>,
    answering: RefCell<Option<Answering>>,
    /// When the last of these changed.
    changed: Cell<Tick>,
    /// How long a stalled peer is waited for.
    limit: Cell<Tick>,
    /// The client has to go on with the request's body.
    body_awaited: Cell<bool>,
    /// The end of the response's body is the end of the connection.
    ends_with_connection: Cell<bool>,
    /// It may become a session.
    upgrading: Cell<bool>,
    /// The response is a stream of events, and this is the front of it.
    events: RefCell<Option<Vec<u8>>>,
    /// Interim responses that wait to be sent.
    interim: RefCell<Vec<u8>>,
}

impl Progress {
    /// A request that has just arrived.
    pub(crate) fn begin(
        clock: &Rc<WorkerClock>,
        activity: &Rc<StreamActivity>,
        alarm: &Rc<Notify>,
    ) -> Rc<Self> {
        Rc::new(Self {
            clock: Rc::clone(clock),
            activity: Rc::clone(activity),
            alarm: Rc::clone(alarm),
            answered: Cell::new(false),
            answering: RefCell::default(),
            changed: Cell::new(clock.tick()),
            limit: Cell::new(default_limit()),
            body_awaited: Cell::new(false),
            ends_with_connection: Cell::new(false),
            upgrading: Cell::new(false),
            events: RefCell::default(),
            interim: RefCell::default(),
        })
    }

    /// The worker's coarse time.
    pub(crate) fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// The route brings its own times.
    pub(crate) fn use_times(&self, route: &RouteTimeouts) {
        let limit = ticks(route.progress);
        if limit < self.limit.replace(limit) {
            self.alarm.notify_one();
        }
    }

    /// How long a stalled peer is waited for.
    pub(crate) fn limit(&self) -> Tick {
        self.limit.get()
    }

    /// The response has its head, or there will be none.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
        self.changed.set(self.tick());
    }

    /// Whether it still waits for the head of its response. Its own deadlines hold until then.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.answered.get()
    }

    /// The response's body is on its way from now on; `ends_with_connection` if only the end of the
    /// connection marks its end.
    pub(crate) fn answer(&self, answering: Answering, ends_with_connection: bool) {
        self.ends_with_connection.set(ends_with_connection);
        let idle = answering.idle;
        self.answering.replace(Some(answering));
        if idle.is_some_and(|idle| ticks(idle) < self.limit()) {
            self.alarm.notify_one();
        }
    }

    /// The response on its way, if its body is.
    pub(crate) fn answering(&self) -> std::cell::Ref<'_, Option<Answering>> {
        self.answering.borrow()
    }

    /// The response's body has passed whole.
    pub(crate) fn answer_whole(&self) {
        self.ends_with_connection.set(false);
    }

    /// The response's body is over, whole or not.
    pub(crate) fn answer_over(&self) {
        self.answering.take();
        self.changed.set(self.tick());
    }

    /// When the state last changed.
    pub(crate) fn changed_at(&self) -> Tick {
        self.changed.get()
    }

    /// Whether a proper end of the connection would pass for the end of a response that is not
    /// whole.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.ends_with_connection.get()
    }

    /// Whether the client has to go on with the request's body.
    pub(crate) fn set_body_awaited(&self, awaited: bool) {
        self.body_awaited.set(awaited);
    }

    /// Since when the client is waited for to go on with the request's body.
    pub(crate) fn body_awaited(&self) -> Option<Tick> {
        self.activity.reading().filter(|_| self.body_awaited.get())
    }

    /// Whether it may become a session.
    pub(crate) fn set_upgrading(&self, upgrading: bool) {
        self.upgrading.set(upgrading);
    }

    /// Whether it may become a session.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.get()
    }

    /// The response, which hyper sends as a 101, is a stream of events that begins so.
    pub(crate) fn set_events(&self, front: Vec<u8>) {
        self.events.replace(Some(front));
    }

    /// Whether a head that is to be written is that of a stream of events.
    pub(crate) fn awaits_events_head(&self) -> bool {
        self.events.borrow().is_some()
    }

    /// The front of a stream of events, once.
    pub(crate) fn take_events(&self) -> Option<Vec<u8>> {
        self.events.take()
    }

    /// Queues an interim response before the response itself.
    pub(crate) fn send_interim(&self, response: &[u8]) {
        let mut interim = self.interim.borrow_mut();
        if interim.len() + response.len() <= INTERIM_MAX {
            interim.extend_from_slice(response);
        }
    }

    /// The interim responses that wait, if there are any.
    pub(crate) fn take_interim(&self) -> Option<Vec<u8>> {
        let interim = self.interim.take();
        (!interim.is_empty()).then_some(interim)
    }

    /// Puts the unsent rest of them back.
    pub(crate) fn put_back_interim(&self, rest: &[u8]) {
        self.interim.borrow_mut().splice(0..0, rest.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::clock::TICK;

    fn progress() -> Rc<Progress> {
        let clock = WorkerClock::start();
        let activity = StreamActivity::new(clock.tick());
        Progress::begin(&clock, &activity, &Rc::default())
    }

    #[test]
    fn a_body_is_awaited_only_while_a_read_waits_for_it() {
        let progress = progress();
        progress.activity.read(7, false, 0);
        assert_eq!(progress.body_awaited(), None, "the next request may wait");
        progress.set_body_awaited(true);
        assert_eq!(progress.body_awaited(), Some(7));
        progress.activity.read(8, true, 1);
        assert_eq!(progress.body_awaited(), None);
    }

    #[test]
    fn a_change_of_state_is_timed() {
        let progress = progress();
        assert!(progress.is_waiting());
        let began = progress.changed_at();
        progress.clock.advance(progress.clock.began() + TICK * 5);
        progress.answered();
        assert!(!progress.is_waiting());
        assert_eq!(progress.changed_at(), began + 5);
        progress.clock.advance(progress.clock.began() + TICK * 9);
        progress.answer_over();
        assert_eq!(progress.changed_at(), began + 9);
    }

    #[test]
    fn i8_interim_responses_wait_within_a_bound() {
        let progress = progress();
        let most = vec![b'x'; INTERIM_MAX];
        progress.send_interim(&most);
        progress.send_interim(b"y");
        let sent = progress.take_interim().expect("one waits");
        assert_eq!(sent.len(), INTERIM_MAX);
        progress.send_interim(b"z");
        progress.put_back_interim(b"rest");
        assert_eq!(progress.take_interim().as_deref(), Some(&b"restz"[..]));
        assert_eq!(progress.take_interim(), None);
    }

    #[test]
    fn only_a_whole_answer_may_end_with_its_connection() {
        let progress = progress();
        let answering = Answering {
            backend: None,
            idle: None,
        };
        progress.answer(answering, true);
        progress.answer_over();
        assert!(progress.ends_with_connection(), "it broke off");
        progress.answer_whole();
        assert!(!progress.ends_with_connection());
    }
}
