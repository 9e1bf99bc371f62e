//! What the relay needs of a stream beyond reading and writing: how much of what it wrote is still
//! on its way. A write succeeds when the system has copied the bytes; the peer may be megabytes
//! behind.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::io::carrier::Carrier;
use crate::io::net::send_queue::{self, SendQueue};

/// One side of a session.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// What the system holds for the peer; `None` where that cannot be known.
    fn send_queue(&self) -> Option<SendQueue>;
}

impl Stream for Carrier {
    fn send_queue(&self) -> Option<SendQueue> {
        send_queue::of(self.socket())
    }
}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {
    fn send_queue(&self) -> Option<SendQueue> {
        None
    }
}
