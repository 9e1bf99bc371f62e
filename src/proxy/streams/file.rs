//! The body of a response that is a file. Pieces are read on threads that may wait for the disk,
//! one at a time, and only when the client takes more.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::io::below::read_piece;
use crate::proxy::streams::watch::{BrokenBody, Watch};

/// Bytes of a file on their way to a client.
pub(crate) struct FileBody<W> {
    file: Arc<File>,
    /// What has not been passed on.
    range: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    watch: W,
}

impl<W: Watch> FileBody<W> {
    /// These bytes of the file, which are not none.
    pub(crate) fn new(file: File, range: Range<u64>, watch: W) -> Self {
        Self {
            file: Arc::new(file),
            range,
            reading: None,
            watch,
        }
    }

    /// Bytes that have not been passed on.
    pub(crate) fn left(&self) -> u64 {
        self.range.end - self.range.start
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let left = self.left();
        if left == 0 {
            return Poll::Ready(None);
        }
        let (file, offset) = (&self.file, self.range.start);
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            spawn_blocking(move || read_piece(&file, offset, left))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let piece = match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(piece) => piece,
            Err(error) => {
                self.watch.failed();
                return Poll::Ready(Some(Err(BrokenBody::File(error))));
            }
        };
        self.range.start += piece.len() as u64;
        self.watch.passed(&piece);
        if self.left() == 0 {
            self.watch.ended();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::io::below::PIECE;
    use crate::proxy::streams::body::Outgoing;

    fn body(content: &[u8], range: Range<u64>) -> (File, Outgoing) {
        let mut path = tempfile::NamedTempFile::new().expect("a file");
        io::Write::write_all(&mut path, content).expect("it is written");
        let file = path.reopen().expect("it opens");
        let body = FileBody::new(file, range, ());
        (path.into_file(), Outgoing::File(Box::new(body)))
    }

    #[tokio::test]
    async fn the_bytes_of_the_range_are_sent() {
        let content = vec![7; 3 * usize::try_from(PIECE).expect("small") + 1];
        let end = content.len() as u64;
        for range in [0..end, 0..1, 5..PIECE + 6, end - 1..end] {
            let (_file, body) = body(&content, range.clone());
            let expected = range.end - range.start;
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(expected));
            let sent = body.collect().await.expect("it is whole").to_bytes();
            assert_eq!(sent.len() as u64, expected);
        }
    }

    #[tokio::test]
    async fn a_file_that_becomes_shorter_breaks_the_body_off() {
        let (file, body) = body(b"0123456789", 2..10);
        file.set_len(2).expect("it is shorter");
        let broken = body.collect().await.expect_err("it is not whole");
        assert!(matches!(broken, BrokenBody::File(_)), "{broken}");
    }
}
