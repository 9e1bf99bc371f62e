//! Bodies on their way through: streamed ones of the other side, files, and the gateway's own small
//! ones.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::proxy::streams::file::FileBody;
use crate::proxy::streams::watch::{BrokenBody, Watch};

/// A body that the gateway sends, to a client or to a backend.
pub(crate) enum Outgoing<W = ()> {
    /// Nothing.
    Empty,
    /// The gateway's own, whole.
    Gateway(Option<Bytes>),
    /// The other side's, as it comes.
    Streamed(Box<Streamed<W>>),
    /// A file, piece by piece.
    File(Box<FileBody<W>>),
}

/// A body that is passed on.
pub(crate) struct Streamed<W> {
    incoming: Incoming,
    watch: W,
}

impl<W> Streamed<W> {
    /// What follows it.
    pub(crate) fn watch(&mut self) -> &mut W {
        &mut self.watch
    }
}

impl<W> Outgoing<W> {
    /// The gateway's own text.
    pub(crate) fn own(text: impl Into<Bytes>) -> Self {
        Self::Gateway(Some(text.into()))
    }

    /// The other side's body.
    pub(crate) fn streamed(incoming: Incoming, watch: W) -> Self {
        Self::Streamed(Box::new(Streamed { incoming, watch }))
    }
}

impl<W: Watch + Unpin> Body for Outgoing<W> {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Gateway(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(body) => {
                let poll = Pin::new(&mut body.incoming).poll_frame(cx);
                match &poll {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Some(piece) = frame.data_ref() {
                            body.watch.passed(piece);
                        }
                        // Nothing follows trailers, and hyper does not poll again.
                        if frame.is_trailers() || body.incoming.is_end_stream() {
                            body.watch.ended();
                        }
                    }
                    Poll::Ready(None) => body.watch.ended(),
                    Poll::Ready(Some(Err(_))) => body.watch.failed(),
                    Poll::Pending => {}
                }
                poll.map_err(BrokenBody::Streamed)
            }
            Self::File(file) => file.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Gateway(bytes) => bytes.is_none(),
            Self::Streamed(body) => body.incoming.is_end_stream(),
            Self::File(file) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Gateway(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Streamed(body) => body.incoming.size_hint(),
            Self::File(file) => SizeHint::with_exact(file.left()),
        }
    }
}
