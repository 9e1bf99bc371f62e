//! Lines out of pieces. A line ends with CRLF and nothing else; CR or LF alone and NUL are faults
//! wherever they stand.

use memchr::{memchr, memchr3};

use super::Smuggling;

/// How much of a line's start is kept. A name, or a value that tells where a message ends, that
/// does not fit is condemned.
pub(super) const LINE_KEPT: usize = 512;
/// How much of its end: what follows the target in a request line.
const TAIL_KEPT: usize = b" HTTP/1.1".len();

/// Finds lines; holds nothing between two of them, and little of one that comes in pieces.
#[derive(Debug)]
pub(super) struct Lines {
    kept: Vec<u8>,
    cut: bool,
    after_cr: bool,
    /// What is kept has been handed out.
    done: bool,
}

/// A line without its end. Of one that is longer than `LINE_KEPT` and a version, the middle is
/// missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    text: &'a [u8],
    cut: bool,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self {
            kept: Vec::new(),
            cut: false,
            after_cr: false,
            done: false,
        }
    }

    /// Reads to the end of the line or of `bytes`, which are not empty, and tells how many were
    /// read.
    pub(super) fn next<'a>(
        &'a mut self,
        bytes: &'a [u8],
    ) -> Result<(Option<Line<'a>>, usize), Smuggling> {
        if self.done {
            *self = Self::new();
        }
        if self.after_cr {
            return match bytes[0] {
                b'\n' => Ok((Some(self.line()), 1)),
                _ => Err(Smuggling::BareCr),
            };
        }
        let Some(end) = memchr3(b'\r', b'\n', 0, bytes) else {
            self.keep(bytes);
            return Ok((None, bytes.len()));
        };
        let text = &bytes[..end];
        match (bytes[end], bytes.get(end + 1)) {
            (b'\n', _) => Err(Smuggling::BareLf),
            (0, _) => Err(Smuggling::Nul),
            (_, None) => {
                self.keep(text);
                self.after_cr = true;
                Ok((None, end + 1))
            }
            (_, Some(b'\n')) if self.kept.is_empty() && end <= LINE_KEPT + TAIL_KEPT => {
                Ok((Some(Line { text, cut: false }), end + 2))
            }
            (_, Some(b'\n')) => {
                self.keep(text);
                Ok((Some(self.line()), end + 2))
            }
            (_, Some(_)) => Err(Smuggling::BareCr),
        }
    }

    fn line(&mut self) -> Line<'_> {
        self.done = true;
        Line {
            text: &self.kept,
            cut: self.cut,
        }
    }

    /// Keeps the line's first bytes and its last ones so far.
    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_KEPT.saturating_sub(self.kept.len());
        let (start, rest) = piece.split_at(room.min(piece.len()));
        let tail = &rest[rest.len().saturating_sub(TAIL_KEPT)..];
        self.kept.extend_from_slice(start);
        self.kept.extend_from_slice(tail);
        let over = self.kept.len().saturating_sub(LINE_KEPT + TAIL_KEPT);
        if over > 0 {
            self.kept.drain(LINE_KEPT..LINE_KEPT + over);
        }
        self.cut |= over > 0 || tail.len() < rest.len();
    }
}

impl<'a> Line<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether its middle is missing.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// What was kept of it.
    pub(super) const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// What stands before and behind the first `separator`, which must stand in the line's start.
    pub(super) fn split(&self, separator: u8) -> Option<(&'a [u8], &'a [u8])> {
        let start = &self.text[..self.text.len().min(LINE_KEPT)];
        let at = memchr(separator, start)?;
        Some((&self.text[..at], &self.text[at + 1..]))
    }
}
