//! Timeouts for the head of a backend's response.

use tokio::time::{Instant, sleep_until};

use crate::config::snapshot::RouteTimeouts;
use crate::core::session::wheel::Tick;
use crate::proxy::client::progress::Progress;
use crate::proxy::clock::{TICK, ticks};
use crate::proxy::streams::activity::StreamActivity;
use crate::proxy::streams::upload::Upload;

/// Why no response came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The whole request was sent, but the backend does not respond.
    NoAnswer,
    /// The client does not send the body that it began.
    ClientStalled,
    /// The backend does not read the request's body.
    BackendStalled,
}

/// The wait for the head of one response.
pub(crate) struct Patience<'r> {
    pub(crate) progress: &'r Progress,
    pub(crate) backend: &'r StreamActivity,
    pub(crate) upload: &'r Upload,
    pub(crate) timeouts: &'r RouteTimeouts,
}

impl Patience<'_> {
    /// Returns when the wait is over.
    pub(crate) async fn over(&self) -> Late {
        loop {
            let now = Instant::now();
            match self.next(now) {
                Ok(next) => sleep_until(next).await,
                Err(late) => return late,
            }
        }
    }

    /// When to look again, or why the wait is over.
    fn next(&self, now: Instant) -> Result<Instant, Late> {
        if let Some(ended) = self.upload.ended_at() {
            let until = ended + self.timeouts.response;
            return Some(until)
                .filter(|until| *until > now)
                .ok_or(Late::NoAnswer);
        }
        let limit = ticks(self.timeouts.progress);
        let tick = self.progress.tick();
        let left = |since: Option<Tick>| {
            let since = since.unwrap_or(tick);
            limit.saturating_sub(tick.saturating_sub(since))
        };
        let client = left(self.progress.body_awaited());
        let backend = left(self.backend.writing());
        if client == 0 {
            return Err(Late::ClientStalled);
        }
        if backend == 0 {
            return Err(Late::BackendStalled);
        }
        // If the upload ends during this sleep, the response timeout starts; it is never shorter
        // than the sleep.
        let shortest = self.timeouts.response.min(self.timeouts.progress);
        Ok(now + (TICK * client.min(backend)).min(shortest))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::proxy::clock::WorkerClock;

    const SECOND: Duration = Duration::from_secs(1);

    /// A request whose body is on its way.
    struct Request {
        clock: Rc<WorkerClock>,
        client: Rc<StreamActivity>,
        progress: Rc<Progress>,
        backend: Rc<StreamActivity>,
        upload: Upload,
    }

    impl Request {
        fn new() -> Self {
            let clock = WorkerClock::start();
            let client = StreamActivity::new(clock.tick());
            let progress = Progress::begin(&clock, &client, &Rc::default());
            progress.set_body_awaited(true);
            Self {
                backend: StreamActivity::new(clock.tick()),
                upload: Upload::default(),
                clock,
                client,
                progress,
            }
        }

        /// With `response = 60 s` and `progress = 30 s`.
        fn next(&self, now: Instant) -> Result<Instant, Late> {
            let timeouts = RouteTimeouts {
                handshake: SECOND,
                attempt: None,
                idle: None,
                lifetime: None,
                close: SECOND,
                response: SECOND * 60,
                progress: SECOND * 30,
            };
            let patience = Patience {
                progress: &self.progress,
                backend: &self.backend,
                upload: &self.upload,
                timeouts: &timeouts,
            };
            patience.next(now)
        }

        fn pass(&self, ticks: u32) {
            self.clock.advance(self.clock.began() + TICK * ticks);
        }
    }

    #[test]
    fn the_response_is_awaited_from_the_end_of_the_request() {
        let request = Request::new();
        let sent = Instant::now();
        // Neither peer stalls once all of it is sent.
        request.client.read(request.clock.tick(), false, 0);
        request.backend.wrote(request.clock.tick(), &Poll::Pending);
        request.pass(1_000);
        request.upload.has_none(sent);
        assert_eq!(request.next(sent), Ok(sent + SECOND * 60));
        let almost = sent + SECOND * 60 - TICK;
        assert_eq!(request.next(almost), Ok(sent + SECOND * 60));
        assert_eq!(request.next(sent + SECOND * 60), Err(Late::NoAnswer));
    }

    #[test]
    fn a_client_that_stops_in_its_body_is_late() {
        let request = Request::new();
        let now = Instant::now();
        request.client.read(request.clock.tick(), false, 0);
        request.pass(300);
        assert_eq!(request.next(now), Ok(now + TICK));
        request.pass(301);
        assert_eq!(request.next(now), Err(Late::ClientStalled));
        request.client.read(request.clock.tick(), true, 1);
        assert_eq!(request.next(now), Ok(now + SECOND * 30));
    }

    #[test]
    fn a_backend_that_does_not_read_is_late_and_a_client_before_it() {
        let request = Request::new();
        let now = Instant::now();
        request.backend.wrote(request.clock.tick(), &Poll::Pending);
        request.pass(100);
        assert_eq!(request.next(now), Ok(now + TICK * 201));
        request.pass(301);
        assert_eq!(request.next(now), Err(Late::BackendStalled));
        let before = request.clock.tick() - 301;
        request.client.read(before, false, 0);
        assert_eq!(request.next(now), Err(Late::ClientStalled));
    }

    #[test]
    fn a_client_that_is_not_waited_for_is_not_late() {
        let request = Request::new();
        let now = Instant::now();
        request.progress.set_body_awaited(false);
        request.client.read(request.clock.tick(), false, 0);
        request.pass(1_000);
        assert_eq!(request.next(now), Ok(now + SECOND * 30));
    }
}
