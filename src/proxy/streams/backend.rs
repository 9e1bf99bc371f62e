//! The stream under hyper's HTTP client.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::carrier::Carrier;
use crate::proxy::clock::WorkerClock;
use crate::proxy::streams::activity::StreamActivity;

/// A backend's stream. A backend may answer and close its end before it has read the whole request.
/// The rest of the request is dropped then, so that the answer can still be read.
pub(crate) struct BackendStream {
    pub(crate) carrier: Carrier,
    clock: Rc<WorkerClock>,
    activity: Rc<StreamActivity>,
    /// The backend has stopped reading.
    write_closed: bool,
}

impl BackendStream {
    pub(crate) fn new(carrier: Carrier, clock: &Rc<WorkerClock>) -> Self {
        Self {
            carrier,
            clock: Rc::clone(clock),
            activity: StreamActivity::new(clock.tick()),
            write_closed: false,
        }
    }

    pub(crate) fn activity(&self) -> Rc<StreamActivity> {
        Rc::clone(&self.activity)
    }

    fn wrote(&mut self, offered: usize, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let poll = match poll {
            Poll::Ready(Err(error)) if has_gone(&error) => {
                self.write_closed = true;
                Poll::Ready(Ok(offered))
            }
            poll => poll,
        };
        self.activity.wrote(self.clock.tick(), &poll);
        poll
    }

    /// Treats a flush or shutdown as successful if the backend has gone, as `wrote` does.
    fn ended(&mut self, poll: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match poll {
            Poll::Ready(Err(error)) if has_gone(&error) => {
                self.write_closed = true;
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
        if self.activity.take_tuning() {
            self.carrier.tune_late();
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.carrier).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.activity
            .read(self.clock.tick(), poll.is_ready(), bytes);
        poll
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_closed {
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
        if self.write_closed {
            return Poll::Ready(Ok(offered));
        }
        let poll = Pin::new(&mut self.carrier).poll_write_vectored(cx, slices);
        self.wrote(offered, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_closed {
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut self.carrier).poll_flush(cx);
        self.ended(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_closed {
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut self.carrier).poll_shutdown(cx);
        self.ended(poll)
    }
}
