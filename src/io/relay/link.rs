//! A stream that is polled, as the pump of the machine needs it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use crate::core::relay::pump::Link;
use crate::io::relay::stream::Stream;

/// A stream, and the task that is woken when it is ready.
pub(super) struct PolledLink<'s, C> {
    stream: &'s mut C,
    cx: Context<'s>,
}

impl<'s, C> PolledLink<'s, C> {
    pub(super) fn new(stream: &'s mut C, waker: &'s Waker) -> Self {
        let cx = Context::from_waker(waker);
        Self { stream, cx }
    }
}

impl<C: Stream> Link for PolledLink<'_, C> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut *self.stream).poll_read(&mut self.cx, &mut buffer);
        match read {
            // A TLS peer that ends its stream without a close_notify alert.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(0))
            }
            read => read.map_ok(|()| buffer.filled().len()),
        }
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(&mut self.cx, bytes)
    }

    #[inline]
    fn flush(&mut self) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(&mut self.cx)
    }

    fn finish(&mut self) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(&mut self.cx)
    }
}
