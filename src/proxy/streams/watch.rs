//! What follows a body on its way: a `Watch` acts when it ends, however it ends.

use std::io;

use bytes::Bytes;

/// Follows a body.
pub(crate) trait Watch {
    /// A piece was passed on.
    fn passed(&mut self, piece: &Bytes);
    /// The body came to its proper end.
    fn ended(&mut self);
    /// The body broke off.
    fn failed(&mut self);
}

impl Watch for () {
    fn passed(&mut self, _: &Bytes) {}
    fn ended(&mut self) {}
    fn failed(&mut self) {}
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenBody {
    /// The other side's.
    #[error(transparent)]
    Streamed(#[from] hyper::Error),
    /// A file could not be read to its end.
    #[error("the file cannot be read")]
    File(#[source] io::Error),
}
