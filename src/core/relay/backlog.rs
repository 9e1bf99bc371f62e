//! Bytes that the sink has not taken yet. While there are any, the source is not read (I8).

use crate::core::relay::hold::Lost;
use crate::core::wire::position::{Cut, Position};

/// The bytes that wait for a sink, in order. An idle session owns no buffer: while nothing waits,
/// there is only a null pointer.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog(Option<Box<Waiting>>);

/// What waits. It is never empty in a `Backlog`.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    /// Bytes at the front that the sink has taken. At most `bytes.len()`.
    pub(super) sent: usize,
    /// Position of the first byte in the stream of frames. Valid only where the sink may be
    /// replaced.
    pub(super) at: Position,
    /// Only frames of the gateway's own wait: writing them is no activity of the session.
    pub(super) own_only: bool,
}

impl From<Waiting> for Backlog {
    fn from(waiting: Waiting) -> Self {
        let mut backlog = Self(Some(Box::new(waiting)));
        backlog.release();
        backlog
    }
}

impl From<Backlog> for Waiting {
    fn from(backlog: Backlog) -> Self {
        backlog.0.map(|waiting| *waiting).unwrap_or_default()
    }
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().len()
    }

    /// The bytes to write next.
    pub(super) fn waiting(&self) -> &[u8] {
        let waiting = self.0.as_ref();
        waiting.map_or_else(Default::default, |waiting| &waiting.bytes[waiting.sent..])
    }

    /// Appends relayed bytes, which stand at `at`.
    pub(super) fn push(&mut self, bytes: &[u8], at: Position) {
        if bytes.is_empty() {
            return;
        }
        let waiting = self.begin(at);
        waiting.own_only = false;
        waiting.bytes.extend_from_slice(bytes);
    }

    /// Appends a ping or a message of the gateway's own, which stands at `at`.
    pub(super) fn push_own(&mut self, frame: &[u8], at: Position) {
        let only = self.is_empty();
        self.push_close(frame, at);
        if let Some(waiting) = &mut self.0 {
            waiting.own_only |= only;
        }
    }

    /// Appends a close frame of the gateway's own, which stands at `at`.
    pub(super) fn push_close(&mut self, frame: &[u8], at: Position) {
        if !frame.is_empty() {
            self.begin(at).bytes.extend_from_slice(frame);
        }
    }

    /// What waits; if nothing does, the next byte stands at `at`.
    fn begin(&mut self, at: Position) -> &mut Waiting {
        self.0.get_or_insert_with(|| {
            Box::new(Waiting {
                at,
                ..Waiting::default()
            })
        })
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
        let mut at = at;
        let from = if replaceable {
            at.advance(bytes, written)
        } else {
            written
        };
        let waiting = self.begin(at);
        debug_assert_eq!(waiting.sent, 0, "nothing behind a direct write was sent");
        waiting.bytes = [&bytes[from..], &waiting.bytes].concat();
        waiting.sent = written - from;
        waiting.at = at;
        waiting.own_only = false;
        self.release();
    }

    /// The sink took this many bytes. Returns whether they were relayed ones.
    pub(super) fn wrote(&mut self, written: usize) -> bool {
        let Some(waiting) = &mut self.0 else {
            return false;
        };
        waiting.sent += written;
        let relayed = !waiting.own_only;
        self.release();
        relayed
    }

    /// Frees the memory once everything was sent.
    fn release(&mut self) {
        let sent = |waiting: &Waiting| waiting.sent == waiting.bytes.len();
        if self.0.as_deref().is_some_and(sent) {
            self.clear();
        }
    }

    /// Drops the bytes that wait.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes the bytes from `at` on out of those that wait, counted from the first, sent or not.
    pub(super) fn split_off(&mut self, at: usize) -> Vec<u8> {
        let Some(waiting) = &mut self.0 else {
            return Vec::new();
        };
        let rest = waiting.bytes.split_off(at);
        self.release();
        rest
    }

    /// What is lost if the sink takes nothing more. Valid only where the sink may be replaced.
    pub(super) fn loss(&self) -> Lost {
        let waiting = self.0.as_ref();
        waiting.map_or_else(Lost::default, |waiting| Lost {
            messages: waiting.at.messages_behind(&waiting.bytes, waiting.sent),
            bytes: self.len() as u64,
        })
    }

    /// Where the sink can be left: at a message boundary that is not before what it has taken.
    /// `None` if the message that it has a part of is incomplete, or if nothing waits.
    pub(super) fn cut(&self) -> Option<Cut> {
        let waiting = self.0.as_ref()?;
        waiting.at.cut(&waiting.bytes, waiting.sent)
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
        assert!(backlog.is_empty() && backlog.0.is_none());
        assert_eq!(backlog.waiting(), b"");
        backlog.push(b"", Position::default());
        assert!(backlog.0.is_none(), "no bytes are no backlog");
        assert_eq!(size_of::<Backlog>(), size_of::<usize>());
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
        assert_eq!(Waiting::from(backlog).sent, 0);
    }

    #[test]
    fn a_half_written_header_is_kept_whole_for_the_next_sink() {
        let mut backlog = Backlog::default();
        backlog.push_front(TEXT, 1, Position::default(), true);
        assert_eq!(backlog.waiting(), &TEXT[1..]);
        let cut = backlog.cut().expect("the message is whole");
        assert_eq!((cut.at, cut.broken), (5, 1));
        let waiting = Waiting::from(backlog);
        assert_eq!((&*waiting.bytes, waiting.sent), (TEXT, 1));
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
