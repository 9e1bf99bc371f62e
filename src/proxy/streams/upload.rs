//! The body of a request on its way to a backend.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::proxy::streams::watch::Watch;

/// Follows a request's body as it goes up.
#[derive(Clone, Default)]
pub(crate) struct Upload(Rc<Progress>);

/// How far a request's body came.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    /// When all of it was sent.
    ended: Cell<Option<Instant>>,
    /// The client broke it off.
    failed: Cell<bool>,
}

impl Upload {
    /// Bytes sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// When all of it was sent, if it has been.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        self.0.ended.get()
    }
}

impl Upload {
    /// A request without a body: nothing has to go up.
    pub(crate) fn has_none(&self, at: Instant) {
        self.0.ended.set(Some(at));
    }

    /// Whether the client broke it off.
    pub(crate) fn failed(&self) -> bool {
        self.0.failed.get()
    }
}

impl Watch for Upload {
    fn passed(&mut self, piece: &Bytes) {
        self.0.bytes.set(self.0.bytes.get() + piece.len() as u64);
    }

    fn ended(&mut self) {
        if self.0.ended.get().is_none() {
            self.0.ended.set(Some(Instant::now()));
        }
    }

    fn failed(&mut self) {
        self.0.failed.set(true);
    }
}
