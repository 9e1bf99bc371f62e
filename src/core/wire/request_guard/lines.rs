//! Lines from pieces. A line ends with CRLF only; a bare CR or LF and NUL are faults anywhere.

use memchr::{memchr, memchr3};

use super::fault::Smuggling;

/// Bytes kept of a line's start. A name, or a value with framing, that does not fit is condemned.
pub(super) const LINE_KEPT: usize = 512;
/// How much of its end: what follows the target in a request line.
const TAIL_KEPT: usize = b" HTTP/1.1".len();

/// Finds lines; stores nothing between two lines, and little of a line in pieces.
#[derive(Debug)]
pub(super) struct Lines {
    kept: Vec<u8>,
    gap: Gap,
    after_cr: bool,
    /// What is kept has been handed out.
    done: bool,
}

/// A line without its end. If it is longer than `LINE_KEPT` and a version, the middle is missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    text: &'a [u8],
    gap: Gap,
}

/// What is missing of a line, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    Nothing,
    /// Characters that a URI may have.
    Plain,
    /// Graphic ones that no URI has.
    Graphic,
    /// White space or control characters too.
    Anything,
}

impl Gap {
    fn of(missing: &[u8]) -> Self {
        match missing {
            [] => Self::Nothing,
            _ if !missing.iter().all(is_graphic) => Self::Anything,
            _ if missing.iter().any(is_foreign) => Self::Graphic,
            _ => Self::Plain,
        }
    }
}

/// What no request target holds: the start of a fragment, which is the client's own business, and
/// characters that parsers treat in different ways (RFC 3986, appendix A).
pub(super) const fn is_foreign(byte: &u8) -> bool {
    matches!(byte, b'#' | b'"' | b'<' | b'>')
}

/// Neither white space nor a control character; bytes beyond ASCII count as letters.
pub(super) const fn is_graphic(byte: &u8) -> bool {
    *byte > b' ' && *byte != 0x7f
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self {
            kept: Vec::new(),
            gap: Gap::Nothing,
            after_cr: false,
            done: false,
        }
    }

    /// Reads to the end of the line or of `bytes`, which are not empty, and returns how many were
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
            (_, Some(b'\n')) if self.kept.is_empty() && end <= LINE_KEPT + TAIL_KEPT => Ok((
                Some(Line {
                    text,
                    gap: Gap::Nothing,
                }),
                end + 2,
            )),
            (_, Some(b'\n')) => {
                self.keep(text);
                Ok((Some(self.line()), end + 2))
            }
            (_, Some(_)) => Err(Smuggling::BareCr),
        }
    }

    /// Whether no line has begun.
    pub(super) const fn is_between(&self) -> bool {
        self.done || (self.kept.is_empty() && !self.after_cr)
    }

    fn line(&mut self) -> Line<'_> {
        self.done = true;
        Line {
            text: &self.kept,
            gap: self.gap,
        }
    }

    /// Keeps the line's first bytes and its last ones so far.
    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_KEPT.saturating_sub(self.kept.len());
        let (start, rest) = piece.split_at(room.min(piece.len()));
        let (missing, tail) = rest.split_at(rest.len().saturating_sub(TAIL_KEPT));
        self.kept.extend_from_slice(start);
        self.kept.extend_from_slice(tail);
        let over = self.kept.len().saturating_sub(LINE_KEPT + TAIL_KEPT);
        self.gap = self.gap.max(Gap::of(missing));
        if over > 0 {
            let old_tail = LINE_KEPT..LINE_KEPT + over;
            self.gap = self.gap.max(Gap::of(&self.kept[old_tail.clone()]));
            self.kept.drain(old_tail);
        }
    }
}

impl<'a> Line<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether nothing of it is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.gap == Gap::Nothing
    }

    /// Whether what is missing of it is graphic throughout.
    pub(super) fn gap_is_graphic(&self) -> bool {
        self.gap != Gap::Anything
    }

    /// Whether what is missing of it is what a request target may hold.
    pub(super) fn gap_is_plain(&self) -> bool {
        self.gap <= Gap::Plain
    }

    /// What was kept of it.
    pub(super) const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The parts before and after the first `separator`, which must be in the kept start of the
    /// line.
    pub(super) fn split(&self, separator: u8) -> Option<(&'a [u8], &'a [u8])> {
        let start = &self.text[..self.text.len().min(LINE_KEPT)];
        let at = memchr(separator, start)?;
        Some((&self.text[..at], &self.text[at + 1..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_what_is_kept_of_a_line_is_bounded() {
        for size in [1, 7, 777, 100_000] {
            let piece = vec![b'x'; size];
            let mut lines = Lines::new();
            for _ in 0..1000 {
                let (line, _) = lines.next(&piece).expect("no fault");
                assert!(line.is_none());
            }
            assert!(
                lines.kept.capacity() <= 2 * (LINE_KEPT + TAIL_KEPT),
                "{size}"
            );
            lines.next(b" HTTP/1.1\r").expect("no fault");
            let (line, used) = lines.next(b"\nX").expect("no fault");
            let line = line.expect("a line");
            assert_eq!((used, line.is_whole()), (1, false));
            assert_eq!(line.text().len(), LINE_KEPT + TAIL_KEPT);
            assert!(line.text().ends_with(b"x HTTP/1.1"));
        }
    }

    #[test]
    fn a_line_is_the_same_in_one_piece_and_in_two() {
        let last = LINE_KEPT + TAIL_KEPT + 2;
        for len in (0..40).chain(LINE_KEPT - 2..last) {
            let text: Vec<u8> = (b'A'..b'[').cycle().take(len).collect();
            let whole = [&text[..], b"\r\n"].concat();
            for cut in 1..whole.len() {
                let mut lines = Lines::new();
                let (none, used) = lines.next(&whole[..cut]).expect("no fault");
                assert!(none.is_none() && used == cut);
                let (line, _) = lines.next(&whole[cut..]).expect("no fault");
                let line = line.expect("a line");
                assert_eq!(line.is_whole(), len <= LINE_KEPT + TAIL_KEPT);
                let mut one_piece = Lines::new();
                let (expected, _) = one_piece.next(&whole).expect("no fault");
                assert_eq!(line.text(), expected.expect("a line").text());
            }
        }
    }
}
