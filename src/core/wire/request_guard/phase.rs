//! Where in the stream of messages a client's next byte belongs.

use super::fault::Smuggling;

/// The position of the next byte in the stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    RequestLine,
    Field,
    /// Remaining bytes of a body with a length.
    Body(u64),
    ChunkSize,
    /// Remaining bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

impl Phase {
    /// What it means that a line does not end within its budget. Heads have none: hyper bounds
    /// them.
    pub(super) const fn overrun(self) -> Smuggling {
        match self {
            Self::ChunkEnd => Smuggling::ChunkEnd,
            Self::Trailer => Smuggling::TrailersTooLong,
            _ => Smuggling::ChunkLineTooLong,
        }
    }
}
