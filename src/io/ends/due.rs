//! What a session does of itself: it asks its function for events, or sends its client a frame.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::core::functions::grip::Waits;

/// When each of them is due.
#[derive(Debug)]
pub(super) struct Due {
    sleep: Pin<Box<Sleep>>,
    times: Times,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    ask: Option<Instant>,
    keep_alive: Option<Instant>,
    /// The number of the frame too: another one has a time of its own.
    delayed: Option<(u32, Instant)>,
}

/// Which is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Ask,
    KeepAlive,
    Delayed,
}

impl Due {
    /// Now that the function has answered, and the client was sent something or was not (`sent`).
    /// `None` if nothing will ever be due.
    pub(super) fn after_answer(before: Option<&Self>, waits: Waits, sent: bool) -> Option<Self> {
        let before = before.map(|due| due.times).unwrap_or_default();
        let times = before.after_answer(waits, sent, Instant::now());
        Some(Self {
            sleep: Box::pin(sleep_until(times.first()?)),
            times,
        })
    }

    /// Ready with what is due. The caller then tells when it is due again, by
    /// [`after_answer`](Self::after_answer).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<What> {
        ready!(self.sleep.as_mut().poll(cx));
        Poll::Ready(self.times.what())
    }
}

impl Times {
    fn after_answer(self, waits: Waits, sent: bool, now: Instant) -> Self {
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        let keep_alive = self.keep_alive.filter(|_| !sent);
        let same = |number| self.delayed.filter(|(before, _)| *before == number);
        Self {
            ask: waits.ask.map(after),
            keep_alive: waits
                .keep_alive
                .map(|seconds| keep_alive.unwrap_or_else(|| after(seconds))),
            delayed: waits
                .delayed
                .map(|(number, seconds)| same(number).unwrap_or_else(|| (number, after(seconds)))),
        }
    }

    fn first(&self) -> Option<Instant> {
        let delayed = self.delayed.map(|(_, time)| time);
        let all = [self.ask, self.keep_alive, delayed];
        all.into_iter().flatten().min()
    }

    fn what(&self) -> What {
        match self.first() {
            first if first == self.ask => What::Ask,
            first if first == self.keep_alive => What::KeepAlive,
            _ => What::Delayed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_puts_off_the_next_question_and_a_frame_the_next_frame() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let waits = Waits {
            ask: Some(20),
            keep_alive: Some(30),
            delayed: Some((1, 10)),
        };
        let first = Times::default().after_answer(waits, false, now);
        assert_eq!(
            (first.what(), first.first()),
            (What::Delayed, Some(after(10)))
        );
        let silent = first.after_answer(waits, false, after(5));
        assert_eq!(silent.ask, Some(after(25)));
        assert_eq!(silent.keep_alive, Some(after(30)));
        assert_eq!(silent.delayed, Some((1, after(10))));
        let waits = Waits {
            delayed: Some((2, 10)),
            ..waits
        };
        let sent = silent.after_answer(waits, true, after(6));
        assert_eq!(sent.keep_alive, Some(after(36)));
        assert_eq!(sent.delayed, Some((2, after(16))));
        let gone = sent.after_answer(Waits::default(), false, after(7));
        assert_eq!((gone, gone.first()), (Times::default(), None));
    }

    #[tokio::test]
    async fn it_is_ready_when_its_time_has_come() {
        let waits = Waits {
            keep_alive: Some(0),
            ..Waits::default()
        };
        assert!(Due::after_answer(None, Waits::default(), true).is_none());
        let mut due = Due::after_answer(None, waits, true).expect("a frame is due");
        let what = std::future::poll_fn(|cx| due.poll(cx)).await;
        assert_eq!(what, What::KeepAlive);
    }
}
