//! What the engine needs of a stream beyond reading and writing: how many of the written bytes are
//! still on their way. A write succeeds when the system has copied the bytes; the peer may be
//! megabytes behind.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::relay::SendQueue;
use crate::io::carrier::Carrier;
use crate::io::net::send_queue;

/// One side of a session.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Bytes that the system holds for the peer; `None` where that is not known.
    fn send_queue(&self) -> Option<SendQueue>;
}

impl Stream for Carrier {
    fn send_queue(&self) -> Option<SendQueue> {
        self.socket().and_then(send_queue::of)
    }
}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {
    fn send_queue(&self) -> Option<SendQueue> {
        None
    }
}
