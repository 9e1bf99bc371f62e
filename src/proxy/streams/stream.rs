//! The streams under HTTP, watched: what moves on each of them and since when either side waits.
//! The clock is the worker's coarse one, so that a read or a write costs no call for the time.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::proxy::context::worker::Worker;
use crate::proxy::transport::connection::Connection;

/// What moves on one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Bytes that came from the peer.
    received: Cell<u64>,
    /// When a byte moved last, in either direction.
    moved: Cell<Tick>,
    /// Since when a read waits for the peer to send.
    reading: Cell<Option<Tick>>,
    /// Since when a write waits for the peer to take what it was sent.
    writing: Cell<Option<Tick>>,
}

impl Pulse {
    pub(crate) fn new(now: Tick) -> Rc<Self> {
        Rc::new(Self {
            received: Cell::new(0),
            moved: Cell::new(now),
            reading: Cell::new(None),
            writing: Cell::new(None),
        })
    }

    /// Bytes that came from the peer so far.
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

    /// A read has ended, with `bytes` if any came.
    fn read(&self, now: Tick, ended: bool, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
        self.mark(&self.reading, now, ended, bytes);
    }

    /// A write has ended, with what was taken.
    fn wrote(&self, now: Tick, poll: &Poll<io::Result<usize>>) {
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

/// A client's stream. The request guard sees its bytes before hyper does.
pub(crate) struct ClientStream {
    pub(crate) carrier: Carrier,
    pub(crate) connection: Rc<Connection>,
    /// The last write was taken in part: the next one goes on in the middle of a message.
    inside: bool,
}

impl ClientStream {
    pub(crate) fn new(carrier: Carrier, connection: &Rc<Connection>) -> Self {
        Self {
            carrier,
            connection: Rc::clone(connection),
            inside: false,
        }
    }

    /// Writes interim responses, which hyper's server cannot send. They go between hyper's own
    /// writes, never inside one.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.connection.interim().filter(|_| !self.inside) {
            let poll = Pin::new(&mut self.carrier).poll_write(cx, &bytes);
            self.connection
                .pulse
                .wrote(self.connection.worker.tick(), &poll);
            let taken = match &poll {
                Poll::Ready(Ok(taken)) => *taken,
                _ => 0,
            };
            self.connection.keep_interim(&bytes[taken..]);
            if ready!(poll)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, offered: usize, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.connection
            .pulse
            .wrote(self.connection.worker.tick(), &poll);
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
        let now = self.connection.worker.tick();
        self.connection
            .pulse
            .read(now, poll.is_ready(), bytes.len());
        if !bytes.is_empty() {
            self.connection.observe(bytes);
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
        let poll = Pin::new(&mut self.carrier).poll_write(cx, bytes);
        self.wrote(bytes.len(), poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
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

/// A backend's stream. A backend may answer and end the connection before it has read the whole
/// request; what it does not take any more is dropped then, and its answer is still read.
pub(crate) struct BackendStream {
    pub(crate) carrier: Carrier,
    worker: Rc<Worker>,
    pulse: Rc<Pulse>,
    /// The backend takes nothing any more.
    deaf: bool,
}

impl BackendStream {
    pub(crate) fn new(carrier: Carrier, worker: &Rc<Worker>) -> Self {
        Self {
            carrier,
            worker: Rc::clone(worker),
            pulse: Pulse::new(worker.tick()),
            deaf: false,
        }
    }

    pub(crate) fn pulse(&self) -> Rc<Pulse> {
        Rc::clone(&self.pulse)
    }

    fn wrote(&mut self, offered: usize, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let poll = match poll {
            Poll::Ready(Err(error)) if has_gone(&error) => {
                self.deaf = true;
                Poll::Ready(Ok(offered))
            }
            poll => poll,
        };
        self.pulse.wrote(self.worker.tick(), &poll);
        poll
    }

    /// The end of a flush or a shutdown, which fails no request either.
    fn ended(&mut self, poll: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match poll {
            Poll::Ready(Err(error)) if has_gone(&error) => {
                self.deaf = true;
                Poll::Ready(Ok(()))
            }
            poll => poll,
        }
    }
}

/// Whether a write failed because the peer ended the connection. What it sent before that can still
/// be read; then the read ends or fails, and with it the exchange.
fn has_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl AsyncRead for BackendStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.carrier).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.pulse.read(self.worker.tick(), poll.is_ready(), bytes);
        poll
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let poll = Pin::new(&mut self.carrier).poll_write(cx, bytes);
        self.wrote(bytes.len(), poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(offered));
        }
        let poll = Pin::new(&mut self.carrier).poll_write_vectored(cx, slices);
        self.wrote(offered, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut self.carrier).poll_flush(cx);
        self.ended(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut self.carrier).poll_shutdown(cx);
        self.ended(poll)
    }
}
