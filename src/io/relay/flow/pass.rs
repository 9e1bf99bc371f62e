//! Bytes that were followed go on at once where they can, and are kept where they cannot.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::core::wire::position::Position;
use crate::io::relay::flow::Flow;

impl Flow {
    /// Brings bytes that were followed to whom they are for: the sink, what waits for it, or what
    /// is held for the next. Answers whether the sink, if there is one, lives.
    pub(super) fn pass_on<T>(
        &mut self,
        bytes: &[u8],
        before: Position,
        sink: Option<&mut T>,
        cx: &mut Context<'_>,
    ) -> bool
    where
        T: AsyncWrite + Unpin,
    {
        if bytes.is_empty() {
            return true;
        }
        if let Some(fork) = self.fork.as_mut().filter(|fork| fork.holds()) {
            fork.hold(bytes);
            return true;
        }
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            self.unsent_own = false;
            return true;
        }
        let Some(sink) = sink.filter(|_| !self.sink_lost) else {
            if self.replaceable {
                self.keep_from(bytes, 0, before);
            }
            return true;
        };
        let mut written = 0;
        while written < bytes.len() {
            match Pin::new(&mut *sink).poll_write(cx, &bytes[written..]) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.keep_from(bytes, written, before);
                    return false;
                }
                Poll::Ready(Ok(some)) => written += some,
                Poll::Pending => {
                    self.keep_from(bytes, written, before);
                    break;
                }
            }
            self.unflushed = true;
            self.progress.wrote = true;
        }
        true
    }

    /// Keeps what the sink did not take, from the `written`th byte on; where the sink may be
    /// replaced, from the beginning of the header that this is in.
    fn keep_from(&mut self, bytes: &[u8], written: usize, before: Position) {
        let mut at = before;
        let from = if self.replaceable {
            at.advance(bytes, written)
        } else {
            written
        };
        self.unsent = bytes[from..].to_vec();
        self.sent = written - from;
        self.unsent_at = at;
    }
}
