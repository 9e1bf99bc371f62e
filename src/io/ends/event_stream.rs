//! The stream of a client that takes server-sent events.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::relay::EventClient;
use crate::io::ends::answers::Answers;

/// Bytes that a client may send after its request; they are dropped.
const SENT_MAX: usize = 64 << 10;
/// Bytes of frames that are translated at once.
const STEP: usize = 16 << 10;

/// A stream of events over `S`.
#[derive(Debug)]
pub struct EventStream<S> {
    inner: S,
    client: EventClient,
    /// Events that `inner` has not taken.
    unsent: Vec<u8>,
    /// How many bytes of them it has.
    sent: usize,
    answers: Answers,
    /// Bytes that the client sent.
    dropped: usize,
}

/// A stream of events for another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventState {
    client: EventClient,
    #[serde(with = "crate::base::blob")]
    unsent: Vec<u8>,
    #[serde(with = "crate::base::blob")]
    answers: Vec<u8>,
}

impl<S> EventStream<S> {
    /// The stream of a client that has the head and the greeting, but for what is `unsent`.
    pub fn new(inner: S, client: EventClient, unsent: Vec<u8>) -> Self {
        Self {
            inner,
            client,
            unsent,
            sent: 0,
            answers: Answers::default(),
            dropped: 0,
        }
    }

    /// Goes on where another process stopped.
    pub fn from_state(inner: S, state: EventState) -> Self {
        Self {
            inner,
            client: state.client,
            unsent: state.unsent,
            sent: 0,
            answers: Answers::of(state.answers),
            dropped: 0,
        }
    }

    /// For another process.
    pub fn state(&self) -> EventState {
        EventState {
            client: self.client.clone(),
            unsent: self.unsent[self.sent..].to_vec(),
            answers: self.answers.waiting.clone(),
        }
    }

    /// What is below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The same.
    pub fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: AsyncWrite + Unpin> EventStream<S> {
    /// Writes what waits.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let rest = &self.unsent[self.sent..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                some => self.sent += some,
            }
        }
        // An idle session keeps no buffer.
        self.unsent = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EventStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ended = this.client.closed();
        if this.answers.poll(cx, buffer, ended).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 1024];
        loop {
            let mut sent = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut sent))?;
            let bytes = sent.filled().len();
            this.dropped += bytes;
            if bytes == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.dropped > SENT_MAX {
                let error = "the client sends, though it takes events only";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EventStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Nothing is translated before what came earlier has left, so that the buffer is bounded.
        ready!(this.poll_unsent(cx))?;
        ready!(this.answers.poll_room(cx));
        let some = &bytes[..bytes.len().min(STEP)];
        let written = this
            .client
            .write(some, &mut this.unsent, &mut this.answers.waiting);
        written.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        this.answers.wake(this.client.closed());
        if let Poll::Ready(Err(error)) = this.poll_unsent(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(some.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::base::message::Message;
    use crate::core::relay::client_frame;
    use crate::core::wire::frame::{Opcode, control_frame};

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_up_the_writer_and_misses_nothing() {
        let (near, mut far) = duplex(64);
        let mut stream = EventStream::new(near, EventClient::new(5), Vec::new());
        let frame = client_frame(&Message::Text("x".repeat(300).into()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut written = 0;
        while written < 10 {
            match Pin::new(&mut stream).poll_write(&mut cx, &frame) {
                Poll::Ready(taken) => assert_eq!(taken.expect("it lives"), frame.len()),
                Poll::Pending => break,
            }
            written += 1;
        }
        assert_eq!(
            written, 1,
            "one is kept, and no more is taken before it has left"
        );
        let reader = tokio::spawn(async move {
            let mut all = String::new();
            far.read_to_string(&mut all).await.expect("text");
            all
        });
        // What waits goes to another process.
        let state = serde_json::to_vec(&stream.state()).expect("plain data");
        let state = serde_json::from_slice(&state).expect("its own format");
        let mut stream = EventStream::from_state(stream.inner, state);
        stream.write_all(&frame).await.expect("it lives");
        stream.shutdown().await.expect("it lives");
        drop(stream);
        let event = format!("data: {}\n\n", "x".repeat(300));
        assert_eq!(reader.await.expect("text"), format!("{event}{event}"));
    }

    /// A backend that pings a client that takes events, and does not read.
    #[tokio::test]
    async fn i8_answers_to_pings_are_bounded() {
        let (near, _far) = duplex(1 << 20);
        let mut stream = EventStream::new(near, EventClient::new(5), Vec::new());
        let ping = control_frame(Opcode::Ping, &[7; 125], None);
        let mut cx = Context::from_waker(Waker::noop());
        let mut pings = 0;
        while Pin::new(&mut stream).poll_write(&mut cx, &ping).is_ready() {
            pings += 1;
            assert!(pings < 1000, "it takes pings without end");
        }
        let mut pong = vec![0; 125 + 6];
        stream.read_exact(&mut pong).await.expect("a pong");
        let again = Pin::new(&mut stream).poll_write(&mut cx, &ping);
        assert!(again.is_ready(), "there is room again");
    }

    #[tokio::test]
    async fn i8_a_client_that_sends_without_end_is_an_error() {
        let (near, mut far) = duplex(SENT_MAX * 2);
        let mut stream = EventStream::new(near, EventClient::new(5), Vec::new());
        far.write_all(&[b'x'; SENT_MAX + 1]).await.expect("room");
        let read = stream.read_u8().await.expect_err("too much");
        assert_eq!(read.kind(), io::ErrorKind::InvalidData);
    }
}
