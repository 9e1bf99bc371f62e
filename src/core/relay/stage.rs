//! How far a session is between its 101 and its record.

use crate::core::relay::limit::Limit;
use crate::core::relay::side::Side;
use crate::core::session::record::Ending;

/// How far a session is between its first byte and its record.
#[derive(Debug)]
pub(super) enum Stage {
    /// Bytes pass.
    Open,
    /// The end has begun.
    Closing(Box<Closing>),
    /// The end was forced; nothing passes any more.
    Cut(Box<WasCut>),
}

/// An end that was forced.
#[derive(Debug)]
pub(super) struct WasCut {
    pub(super) ending: Ending,
    /// Close frames to write at once; taken by the driver.
    pub(super) last_frames: Option<LastFrames>,
}

/// An end that has begun.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) limit: Limit,
    /// Who ended the session and why. `None` while a side takes nothing more and the reason is not
    /// known yet.
    pub(super) ending: Option<Ending>,
    /// The side that stopped taking bytes before anything else was known about the end.
    pub(super) lost: Option<Side>,
    /// The gateway answered a close frame in place of a peer.
    pub(super) unanswered: bool,
}

impl Closing {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            ending: None,
            lost: None,
            unanswered: false,
        }
    }
}

/// Close frames that are written as the session is cut, without waiting; see `Machine::cut`.
#[derive(Debug, Default)]
pub struct LastFrames {
    /// For the client.
    pub client: Option<Vec<u8>>,
    /// For the backend.
    pub backend: Option<Vec<u8>>,
}
