//! Bytes that the sink has not taken yet. While there are any, the source is not read (I8).

use crate::core::wire::position::{Cut, Position};

/// The bytes that wait for a sink, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    pub(super) bytes: Vec<u8>,
    /// Bytes at the front that the sink has taken. At most `bytes.len()`.
    pub(super) sent: usize,
    /// Position of the first byte in the stream of frames. Valid only where the sink may be
    /// replaced.
    pub(super) at: Position,
    /// Only frames of the gateway's own wait: writing them is no activity of the session.
    pub(super) own_only: bool,
    /// The sink took bytes and was not flushed since.
    pub(super) unflushed: bool,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// The bytes to write next.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Appends relayed bytes, which stand at `at`.
    pub(super) fn push(&mut self, bytes: &[u8], at: Position) {
        if bytes.is_empty() {
            return;
        }
        self.begin(at);
        self.own_only = false;
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a ping or a message of the gateway's own, which stands at `at`.
    pub(super) fn push_own(&mut self, frame: &[u8], at: Position) {
        self.own_only |= self.is_empty();
        self.push_close(frame, at);
    }

    /// Appends a close frame of the gateway's own, which stands at `at`.
    pub(super) fn push_close(&mut self, frame: &[u8], at: Position) {
        self.begin(at);
        self.bytes.extend_from_slice(frame);
    }

    fn begin(&mut self, at: Position) {
        if self.bytes.is_empty() {
            self.at = at;
        }
    }

    /// Puts the rest of a direct write in front: `bytes` stand at `at`, and the sink took `written`
    /// of them. Where the sink may be replaced, the rest begins with a whole header, because the
    /// next sink needs it.
    pub(super) fn push_front(
        &mut self,
        bytes: &[u8],
        written: usize,
        at: Position,
        replaceable: bool,
    ) {
        debug_assert_eq!(self.sent, 0, "nothing behind a direct write was sent");
        let mut at = at;
        let from = if replaceable {
            at.advance(bytes, written)
        } else {
            written
        };
        let behind = std::mem::take(&mut self.bytes);
        self.bytes = [&bytes[from..], &behind].concat();
        self.sent = written - from;
        self.at = at;
        self.own_only = false;
    }

    /// The sink took this many bytes. Returns whether they were relayed ones.
    pub(super) fn wrote(&mut self, written: usize) -> bool {
        self.sent += written;
        self.unflushed = true;
        let relayed = !self.own_only;
        self.release();
        relayed
    }

    /// Frees the memory once everything was sent: an idle session owns no buffer.
    pub(super) fn release(&mut self) {
        if self.sent == self.bytes.len() {
            self.clear();
        }
    }

    /// Drops the bytes that wait.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
        self.own_only = false;
    }

    /// Where the sink can be left: at a message boundary that is not before what it has taken.
    /// `None` if the message that it has a part of is incomplete. Not for an empty backlog.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.at.cut(&self.bytes, self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = &[0x81, 3, b'a', b'b', b'c'];

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut backlog = Backlog::default();
        backlog.push(b"ab", Position::default());
        backlog.push(b"cd", Position::default());
        assert_eq!(backlog.waiting(), b"abcd");
        assert!(backlog.wrote(3));
        assert_eq!((backlog.waiting(), backlog.len()), (&b"d"[..], 1));
        backlog.push(b"e", Position::default());
        assert_eq!(backlog.waiting(), b"de");
    }

    #[test]
    fn an_empty_backlog_owns_no_memory() {
        let mut backlog = Backlog::default();
        backlog.push(b"abcd", Position::default());
        backlog.wrote(4);
        assert!(backlog.is_empty() && backlog.bytes.capacity() == 0);
        assert_eq!((backlog.sent, backlog.unflushed), (0, true));
    }

    #[test]
    fn only_relayed_bytes_are_activity() {
        let mut backlog = Backlog::default();
        backlog.push_own(b"ping", Position::default());
        assert!(!backlog.wrote(2));
        backlog.push(b"data", Position::default());
        assert!(backlog.wrote(6));
        backlog.push(b"data", Position::default());
        backlog.push_own(b"ping", Position::default());
        assert!(backlog.wrote(8), "relayed bytes were among them");
    }

    #[test]
    fn the_rest_of_a_direct_write_stands_in_front() {
        let mut backlog = Backlog::default();
        backlog.push_own(b"ping", Position::default());
        backlog.push_front(TEXT, 3, Position::default(), false);
        assert_eq!(backlog.waiting(), b"bcping");
        assert_eq!(backlog.sent, 0);
    }

    #[test]
    fn a_half_written_header_is_kept_whole_for_the_next_sink() {
        let mut backlog = Backlog::default();
        backlog.push_front(TEXT, 1, Position::default(), true);
        assert_eq!((backlog.waiting(), backlog.sent), (&TEXT[1..], 1));
        assert_eq!(backlog.bytes, TEXT);
        let cut = backlog.cut().expect("the message is whole");
        assert_eq!((cut.at, cut.broken), (5, 1));
    }

    #[test]
    fn a_backlog_is_cut_only_where_a_message_ends() {
        let mut backlog = Backlog::default();
        backlog.push(&TEXT[..4], Position::default());
        assert_eq!(backlog.cut().map(|cut| cut.at), Some(0), "nothing was sent");
        backlog.wrote(1);
        assert_eq!(backlog.cut(), None, "the rest has not arrived");
    }
}
