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

    /// Takes the head of a stream of events, if `slices` have it, and queues it with the line of a
    /// 200 and the first event. Returns how many bytes hyper may write itself, or has written.
    fn take_events_head(&mut self, slices: &[IoSlice<'_>]) -> Option<EventsHead> {
        let http1 = Rc::clone(&self.http1);
        let current = http1.current();
        let progress = current.as_ref().filter(|one| one.awaits_events_head())?;
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        // The rest of the response before may stand in front of it; nothing follows it.
        let at = memchr::memmem::rfind(&bytes, SWITCHING)?;
        if at > 0 {
            return Some(EventsHead::Behind(bytes[..at].to_vec()));
        }
        let front = progress.take_events()?;
        progress.put_back_interim(&[as_ok(&bytes), front].concat());
        self.inside = false;
        Some(EventsHead::Taken(bytes.len()))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, head: EventsHead) -> Poll<io::Result<usize>> {
        match head {
            EventsHead::Taken(written) => Poll::Ready(Ok(written)),
            EventsHead::Behind(rest) => {
                let poll = Pin::new(&mut self.carrier).poll_write(cx, &rest);
                self.wrote(rest.len(), poll)
            }
        }
    }

    fn wrote(&mut self, offered: usize, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.http1.activity.wrote(self.now(), &poll);
        if let Poll::Ready(Ok(taken)) = &poll {
            self.inside = *taken < offered;
        }
        poll
    }
}

/// The head of a stream of events among bytes that hyper writes.
enum EventsHead {
    /// It was taken: so many bytes.
    Taken(usize),
    /// It is behind these bytes.
    Behind(Vec<u8>),
}

/// What the head of a stream of events begins with, as hyper writes it.
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

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
        if let Some(head) = self.take_events_head(&[IoSlice::new(bytes)]) {
            return self.poll_head(cx, head);
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
        if let Some(head) = self.take_events_head(slices) {
            return self.poll_head(cx, head);
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
