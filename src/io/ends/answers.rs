//! Frames that an end in this process sends to the relay.

use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

/// Bytes of answers that may wait before nothing more is taken from the peer that causes them (I8).
const WAITING_MAX: usize = 4 << 10;

/// Frames that wait to be read.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) waiting: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Answers {
    pub(super) fn of(waiting: Vec<u8>) -> Self {
        Self {
            waiting,
            reader: None,
            writer: None,
        }
    }

    /// Ready while there is room for further answers: a peer that sends pings and does not read is
    /// not read either.
    pub(super) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.waiting.len() < WAITING_MAX {
            return Poll::Ready(());
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Wakes the reader if there is something to read, or nothing will ever be (`ended`).
    pub(super) fn wake(&mut self, ended: bool) {
        if (ended || !self.waiting.is_empty())
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }

    /// Moves what waits to `buffer`. Pending if nothing does; ready without a byte if there will
    /// be nothing more (`ended`).
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
        ended: bool,
    ) -> Poll<()> {
        if self.waiting.is_empty() {
            if ended {
                return Poll::Ready(());
            }
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let some = self.waiting.len().min(buffer.remaining());
        buffer.put_slice(&self.waiting[..some]);
        self.waiting.drain(..some);
        if self.waiting.is_empty() {
            // An idle session keeps no buffer.
            self.waiting = Vec::new();
        }
        if self.waiting.len() < WAITING_MAX
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        Poll::Ready(())
    }
}
