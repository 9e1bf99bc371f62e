//! Where in the stream of messages a client's next byte belongs.

use super::fault::Smuggling;

/// Where in the stream of messages the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    RequestLine,
    Field,
    /// So many bytes of a body with a length are to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk are to come.
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
