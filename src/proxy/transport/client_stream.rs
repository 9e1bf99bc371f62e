//! The stream under hyper's HTTP server: the request guard sees a client's bytes before hyper does,
//! and interim responses go out between hyper's own writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::proxy::transport::http1_state::Http1;

/// A client's stream. The request guard sees its bytes before hyper does.
pub(crate) struct ClientStream {
    pub(crate) carrier: Carrier,
    http1: Rc<Http1>,
    /// The last write was partial: the next one continues in the middle of a message.
    inside: bool,
}

impl ClientStream {
    pub(crate) fn new(carrier: Carrier, http1: &Rc<Http1>) -> Self {
        Self {
            carrier,
            http1: Rc::clone(http1),
            inside: false,
        }
    }

    fn now(&self) -> Tick {
        self.http1.client.worker.tick()
    }

    /// Interim responses of the current request that wait, unless a message is being written.
    fn next_interim(&self) -> Option<Vec<u8>> {
        if self.inside {
            return None;
        }
        self.http1.current().as_ref()?.take_interim()
    }

    fn put_back(&self, rest: &[u8]) {
        if let Some(progress) = &*self.http1.current() {
            progress.put_back_interim(rest);
        }
    }

    /// Writes interim responses, which hyper's server cannot send. They go between hyper's own
    /// writes, never inside one.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.next_interim() {
            let poll = Pin::new(&mut self.carrier).poll_write(cx, &bytes);
            self.http1.activity.wrote(self.now(), &poll);
            let taken = match &poll {
                Poll::Ready(Ok(taken)) => *taken,
                _ => 0,
            };
            self.put_back(&bytes[taken..]);
            if ready!(poll)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the head of a stream of events, if this is it, and queues it with the line of a 200
    /// and the first event; the flush that follows sends it. Returns how many bytes hyper wrote.
    fn take_events_head(&self, slices: &[IoSlice<'_>]) -> Option<usize> {
        let current = self.http1.current();
        let progress = current.as_ref()?;
        let front = progress.take_events()?;
        let head: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        progress.put_back_interim(&[as_ok(&head), front].concat());
        Some(head.len())
    }

    fn wrote(&mut self, offered: usize, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.http1.activity.wrote(self.now(), &poll);
        if let Poll::Ready(Ok(taken)) = &poll {
            self.inside = *taken < offered;
        }
        poll
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.carrier).poll_read(cx, buffer);
        let bytes = &buffer.filled()[before..];
        let now = self.now();
        self.http1.activity.read(now, poll.is_ready(), bytes.len());
        if !bytes.is_empty() {
            self.http1.observe(bytes);
        }
        poll
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        if let Some(written) = self.take_events_head(&[IoSlice::new(bytes)]) {
            return Poll::Ready(Ok(written));
        }
        let poll = Pin::new(&mut self.carrier).poll_write(cx, bytes);
        self.wrote(bytes.len(), poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        if let Some(written) = self.take_events_head(slices) {
            return Poll::Ready(Ok(written));
        }
        let poll = Pin::new(&mut self.carrier).poll_write_vectored(cx, slices);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        self.wrote(offered, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_shutdown(cx)
    }
}

/// The head of a response with the line of a 200 in place of its own.
fn as_ok(head: &[u8]) -> Vec<u8> {
    let line = memchr::memchr(b'\r', head).unwrap_or(head.len());
    [b"HTTP/1.1 200 OK", &head[line..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_head_changes() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nContent-Type: text/event-stream\r\n\r\n";
        let changed = as_ok(head);
        let expected = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        assert_eq!(changed, expected);
    }
}
