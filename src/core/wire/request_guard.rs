//! Request smuggling is refused, not normalised. HTTP parsers are lenient in different ways: one
//! drops `Content-Length` beside `Transfer-Encoding`, another accepts a bare LF as a line end, and
//! so they find different requests in the same bytes. The guard examines the bytes of a client's
//! HTTP/1 connection beside hyper, finds every request by the strict rules of RFC 9112, and
//! condemns the first ambiguous request and all that follow it.
//!
//! It gets every byte before hyper does, and gives a verdict on every request that hyper finds; a
//! request that it has not found itself is condemned too. A fault in a body may appear after its
//! request was answered, so it condemns the next request. hyper limits the length of a head and
//! checks everything beyond framing. After an upgrade the stream is no longer HTTP, and the guard
//! is dropped.
//!
//! A head that arrives in one piece is read in place. For a line in pieces the guard keeps at most
//! about 520 bytes.

mod fault;
mod head;
mod lines;
mod phase;

use fault::{CHUNK_LINE_MAX, TRAILERS_MAX};
use head::Head;
use lines::{Line, Lines};
use phase::Phase;

pub use fault::Smuggling;

/// Watches one client connection.
#[derive(Debug)]
pub struct RequestGuard {
    lines: Lines,
    reader: Reader,
    fault: Option<Smuggling>,
}

/// What a client's next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The next request, before its first byte.
    Request,
    /// A request's head that has begun.
    Head,
    /// A request's body.
    Body,
}

impl Default for RequestGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestGuard {
    /// For a connection from which nothing has been read.
    pub const fn new() -> Self {
        Self {
            lines: Lines::new(),
            reader: Reader {
                phase: Phase::RequestLine,
                budget: usize::MAX,
                heads: 0,
                head: Head::new(),
            },
            fault: None,
        }
    }

    /// Takes the next bytes of the connection, in any pieces.
    pub fn observe(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.fault.is_none() {
            match self.step(bytes) {
                Ok(used) => bytes = &bytes[used..],
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    /// What the client has to send next. After a fault this stays where the fault was.
    pub fn awaited(&self) -> Awaited {
        match self.reader.phase {
            Phase::RequestLine if self.lines.is_between() => Awaited::Request,
            Phase::RequestLine | Phase::Field => Awaited::Head,
            _ => Awaited::Body,
        }
    }

    /// Whether the connection's request number `index`, counted from 0, may be served.
    ///
    /// # Errors
    /// When it, or what came before it, could be read in two ways. The answer is 400 and the end of
    /// the connection.
    pub fn verdict(&self, index: u64) -> Result<(), Smuggling> {
        if index < self.reader.heads {
            return Ok(());
        }
        Err(self.fault.unwrap_or(Smuggling::OutOfStep))
    }

    /// Takes at least one of `bytes`, which are not empty, and returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Smuggling> {
        if let Some(skipped) = self.reader.skip(bytes.len()) {
            return Ok(skipped);
        }
        let reach = bytes.len().min(self.reader.budget);
        if reach == 0 {
            return Err(self.reader.phase.overrun());
        }
        let (line, used) = self.lines.next(&bytes[..reach])?;
        self.reader.budget -= used;
        if let Some(line) = line {
            self.reader.line(&line)?;
        }
        Ok(used)
    }
}

/// What the lines of a stream mean.
#[derive(Debug)]
struct Reader {
    phase: Phase,
    /// Bytes that lines of this phase may still take.
    budget: usize,
    /// Complete heads so far, all valid.
    heads: u64,
    head: Head,
}

impl Reader {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.budget = match phase {
            Phase::ChunkSize => CHUNK_LINE_MAX,
            Phase::ChunkEnd => b"\r\n".len(),
            Phase::Trailer => TRAILERS_MAX,
            _ => usize::MAX,
        };
    }

    /// Passes over what of `available` bytes is body; `None` where there are lines to be read.
    fn skip(&mut self, available: usize) -> Option<usize> {
        let (Phase::Body(left) | Phase::Chunk(left)) = self.phase else {
            return None;
        };
        let skipped = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - skipped as u64;
        self.enter(match self.phase {
            Phase::Body(_) if left > 0 => Phase::Body(left),
            Phase::Body(_) => Phase::RequestLine,
            _ if left > 0 => Phase::Chunk(left),
            _ => Phase::ChunkEnd,
        });
        Some(skipped)
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Smuggling> {
        match self.phase {
            // RFC 9112 section 2.2: empty lines before a request are passed over.
            Phase::RequestLine if line.is_empty() => {}
            Phase::RequestLine => {
                self.head = Head::begin(line)?;
                self.enter(Phase::Field);
            }
            Phase::Field if line.is_empty() => {
                let body = self.head.body()?;
                self.heads += 1;
                self.enter(body);
            }
            Phase::Field => self.head.field(line)?,
            Phase::ChunkSize => match head::chunk_size(line)? {
                0 => self.enter(Phase::Trailer),
                size => self.enter(Phase::Chunk(size)),
            },
            Phase::ChunkEnd if line.is_empty() => self.enter(Phase::ChunkSize),
            Phase::ChunkEnd => return Err(Smuggling::ChunkEnd),
            Phase::Trailer if line.is_empty() => self.enter(Phase::RequestLine),
            Phase::Trailer => head::trailer(line)?,
            Phase::Body(_) | Phase::Chunk(_) => unreachable!("`skip` passes over bodies"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
