//! What moves on one connection and since when either side waits, on the worker's coarse clock. The
//! deadlines of a connection are computed from it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use crate::core::session::wheel::Tick;

/// Byte counts and stall times of one connection.
#[derive(Debug)]
pub(crate) struct StreamActivity {
    /// Bytes received from the peer.
    received: Cell<u64>,
    /// When a byte moved last, in either direction.
    moved: Cell<Tick>,
    /// Since when a read waits for the peer to send.
    reading: Cell<Option<Tick>>,
    /// Since when a write waits for the peer to read.
    writing: Cell<Option<Tick>>,
    /// Whether its socket is to get the options that were put off.
    tunes: Cell<bool>,
}

impl StreamActivity {
    pub(crate) fn new(now: Tick) -> Rc<Self> {
        Rc::new(Self {
            received: Cell::new(0),
            moved: Cell::new(now),
            reading: Cell::new(None),
            writing: Cell::new(None),
            tunes: Cell::new(false),
        })
    }

    /// The connection goes on as HTTP, so no session sets the options that its dial put off: its
    /// next read does.
    pub(crate) fn stays_http(&self) {
        self.tunes.set(true);
    }

    /// Whether its socket is to get these options now.
    pub(crate) fn take_tuning(&self) -> bool {
        self.tunes.take()
    }

    /// Bytes received from the peer so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// When a byte moved last.
    pub(crate) fn moved(&self) -> Tick {
        self.moved.get()
    }

    /// Since when a read waits for the peer, if one does.
    pub(crate) fn reading(&self) -> Option<Tick> {
        self.reading.get()
    }

    /// Since when a write waits for the peer, if one does.
    pub(crate) fn writing(&self) -> Option<Tick> {
        self.writing.get()
    }

    /// Records a poll for reading: whether it returned, and with how many bytes.
    pub(crate) fn read(&self, now: Tick, ended: bool, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
        self.mark(&self.reading, now, ended, bytes);
    }

    /// Records a poll for writing.
    pub(crate) fn wrote(&self, now: Tick, poll: &Poll<io::Result<usize>>) {
        let bytes = match poll {
            Poll::Ready(Ok(bytes)) => *bytes,
            _ => 0,
        };
        self.mark(&self.writing, now, poll.is_ready(), bytes);
    }

    fn mark(&self, waits: &Cell<Option<Tick>>, now: Tick, ended: bool, bytes: usize) {
        if bytes > 0 {
            self.moved.set(now);
        }
        waits.set(match ended {
            true => None,
            false => waits.get().or(Some(now)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_begins_with_the_first_poll_that_returns_nothing() {
        let activity = StreamActivity::new(5);
        activity.read(6, false, 0);
        activity.read(9, false, 0);
        assert_eq!(activity.reading(), Some(6));
        assert_eq!(activity.moved(), 5, "no byte has moved");
        activity.read(10, true, 3);
        assert_eq!((activity.reading(), activity.received()), (None, 3));
        assert_eq!(activity.moved(), 10);
    }

    #[test]
    fn a_blocked_write_waits_and_a_failed_one_does_not() {
        let activity = StreamActivity::new(0);
        activity.wrote(2, &Poll::Pending);
        assert_eq!(activity.writing(), Some(2));
        activity.wrote(3, &Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())));
        assert_eq!((activity.writing(), activity.moved()), (None, 0));
        activity.wrote(4, &Poll::Ready(Ok(1)));
        assert_eq!((activity.moved(), activity.received()), (4, 0));
    }
}
