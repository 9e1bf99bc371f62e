//! The gateway itself as the backend's end of a session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::relay::LocalBackend;
use crate::io::ends::answers::Answers;

/// An end without a socket.
#[derive(Debug, Default)]
pub struct LocalEnd {
    backend: LocalBackend,
    answers: Answers,
}

/// It, for another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalState {
    backend: LocalBackend,
    #[serde(with = "crate::base::blob")]
    answers: Vec<u8>,
}

impl LocalEnd {
    /// Goes on where another process stopped.
    pub fn from_state(state: LocalState) -> Self {
        Self {
            backend: state.backend,
            answers: Answers::of(state.answers),
        }
    }

    /// For another process.
    pub fn state(&self) -> LocalState {
        LocalState {
            backend: self.backend.clone(),
            answers: self.answers.waiting.clone(),
        }
    }
}

impl AsyncRead for LocalEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ended = self.backend.closed();
        self.answers.poll(cx, buffer, ended).map(Ok)
    }
}

impl AsyncWrite for LocalEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = this.backend.write(bytes, &mut this.answers.waiting);
        written.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        this.answers.wake(this.backend.closed());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
