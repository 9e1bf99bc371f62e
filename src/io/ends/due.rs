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

/// Frames have numbers: another one has a time of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    ask: Option<Instant>,
    keep_alive: Option<(u32, Instant)>,
    delayed: Option<(u32, Instant)>,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The session has begun here. Sessions that begin at once do not ask at once.
    Begin,
    /// The function has answered, and the client was sent something or was not.
    Answer { sent: bool },
    /// The client was sent a frame that was due.
    Frame,
}

/// How long a question is put off that must not begin now.
const PUT_OFF: Duration = Duration::from_secs(1);

/// Which is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Ask,
    KeepAlive,
    Delayed,
}

impl Due {
    /// What is due from now on; `None` if nothing ever is.
    pub(super) fn next(before: Option<&Self>, waits: Waits, after: After) -> Option<Self> {
        let before = before.map(|due| due.times).unwrap_or_default();
        Self::at(before.next(waits, after, Instant::now()))
    }

    fn at(times: Times) -> Option<Self> {
        Some(Self {
            sleep: Box::pin(sleep_until(times.first()?)),
            times,
        })
    }

    /// The function is asked a little later.
    pub(super) fn put_off(&self) -> Option<Self> {
        Self::at(Times {
            ask: Some(Instant::now() + PUT_OFF),
            ..self.times
        })
    }

    /// Ready with what is due. The caller then tells when it is due again, by
    /// [`next`](Self::next).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<What> {
        ready!(self.sleep.as_mut().poll(cx));
        Poll::Ready(self.times.what())
    }
}

impl Times {
    fn next(self, waits: Waits, after: After, now: Instant) -> Self {
        let later = |seconds: u32| Duration::from_secs(seconds.into());
        let ask = waits.ask.map(|seconds| match (after, self.ask) {
            // A frame is no event: the function is asked when it would have been.
            (After::Frame, Some(before)) => before,
            (After::Begin, _) => now + later(seconds).mul_f64(0.5 + fastrand::f64() / 2.0),
            _ => now + later(seconds),
        });
        let timed = |wait: Option<(u32, u32)>, before: Option<(u32, Instant)>| {
            let (number, seconds) = wait?;
            let same = before.filter(|(before, _)| *before == number);
            Some(same.unwrap_or_else(|| (number, now + later(seconds))))
        };
        let idle = after == After::Answer { sent: false };
        Self {
            ask,
            keep_alive: timed(waits.keep_alive, self.keep_alive.filter(|_| idle)),
            delayed: timed(waits.delayed, self.delayed),
        }
    }

    fn first(&self) -> Option<Instant> {
        let timed = [self.keep_alive, self.delayed];
        let timed = timed.into_iter().flatten().map(|(_, time)| time);
        timed.chain(self.ask).min()
    }

    fn what(&self) -> What {
        let first = self.first();
        let keep_alive = self.keep_alive.map(|(_, time)| time);
        match first {
            first if first == self.ask => What::Ask,
            first if first == keep_alive => What::KeepAlive,
            _ => What::Delayed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: After = After::Answer { sent: true };
    const SILENT: After = After::Answer { sent: false };

    fn waits(keep_alive: (u32, u32), delayed: (u32, u32)) -> Waits {
        Waits {
            ask: Some(60),
            keep_alive: Some(keep_alive),
            delayed: Some(delayed),
        }
    }

    #[test]
    fn an_answer_puts_off_the_next_question_and_a_frame_the_next_frame() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let first = Times::default().next(waits((1, 30), (2, 10)), SENT, now);
        assert_eq!(first.first(), Some(after(10)));
        assert_eq!(first.what(), What::Delayed);
        let silent = first.next(waits((1, 30), (2, 10)), SILENT, after(5));
        assert_eq!(silent.ask, Some(after(65)));
        assert_eq!(silent.keep_alive, Some((1, after(30))));
        assert_eq!(silent.delayed, Some((2, after(10))));
        // Other frames have times of their own.
        let other = silent.next(waits((3, 20), (4, 10)), SILENT, after(6));
        assert_eq!(other.keep_alive, Some((3, after(26))));
        assert_eq!(other.delayed, Some((4, after(16))));
        let sent = other.next(waits((3, 20), (4, 10)), SENT, after(7));
        assert_eq!(sent.keep_alive, Some((3, after(27))));
        let gone = sent.next(Waits::default(), SILENT, after(8));
        assert_eq!((gone, gone.first()), (Times::default(), None));
    }

    /// Or a frame that comes more often than questions would end them.
    #[test]
    fn a_frame_puts_off_no_question() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let first = Times::default().next(waits((1, 55), (2, 90)), SENT, now);
        let framed = first.next(waits((1, 55), (2, 90)), After::Frame, after(55));
        assert_eq!(framed.ask, Some(after(60)));
        assert_eq!(framed.keep_alive, Some((1, after(110))));
        assert_eq!(framed.delayed, Some((2, after(90))));
    }

    #[test]
    fn sessions_that_begin_at_once_do_not_ask_at_once() {
        let now = Instant::now();
        let begun = |_| Times::default().next(waits((1, 1), (2, 1)), After::Begin, now);
        let asked: Vec<_> = (0..20).map(begun).filter_map(|times| times.ask).collect();
        assert!(asked.iter().any(|time| *time != asked[0]));
        let bounds = now + Duration::from_secs(30)..=now + Duration::from_secs(60);
        assert!(asked.iter().all(|time| bounds.contains(time)));
    }

    #[tokio::test]
    async fn it_is_ready_when_its_time_has_come() {
        let waits = Waits {
            keep_alive: Some((1, 0)),
            ..Waits::default()
        };
        assert!(Due::next(None, Waits::default(), SENT).is_none());
        let mut due = Due::next(None, waits, SENT).expect("a frame is due");
        let what = std::future::poll_fn(|cx| due.poll(cx)).await;
        assert_eq!(what, What::KeepAlive);
    }
}
