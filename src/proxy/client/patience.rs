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
