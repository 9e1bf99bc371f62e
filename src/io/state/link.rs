//! What a protocol of a store does: requests to bytes, bytes to answers. It does no I/O.

use std::time::Duration;

use bytes::BytesMut;

use crate::core::state::{Answer, Merge, StateKey, Swap};
use crate::io::service::fault::Fault;

/// What was sent, and waits for its answer.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Swap(Swap),
    Merge(StateKey),
    /// With the period of the count.
    Count(Duration),
    Lease,
    /// The lease is given up.
    Leave,
    /// So many of them.
    Processes(usize),
    Ping,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Swap(Answer),
    /// The value of this one key is not to be used; why.
    Unusable(String),
    /// The count, and how long it is kept.
    Count(u64, Duration),
    /// Whether the lease was still there.
    Lease(bool),
    Left,
    /// Which of them have a lease.
    Processes(Vec<bool>),
    Ping,
}

/// A protocol. Requests are answered in their order.
pub(super) trait Protocol: Send {
    /// Changes a value if it is the expected one.
    fn swap(&self, name: &str, swap: &Swap, out: &mut BytesMut);
    /// Whether it can merge.
    fn merges(&self) -> bool;
    /// Has the store decide about sessions. Only asked of a protocol that can merge.
    fn merge(&self, name: &str, merge: &Merge, out: &mut BytesMut);
    /// Counts one more. The count begins anew after `period`.
    fn count(&self, name: &str, period: Duration, out: &mut BytesMut);
    /// Renews a lease, or begins it.
    fn lease(&self, name: &str, lease: Duration, out: &mut BytesMut);
    /// Gives a lease up.
    fn leave(&self, name: &str, out: &mut BytesMut);
    /// Asks which of these have a lease; there is at least one.
    fn processes(&self, names: &[String], out: &mut BytesMut);
    /// Asks for a sign of life.
    fn ping(&self, out: &mut BytesMut);
    /// The answer to what was asked, and its length; `None` while it is not whole.
    ///
    /// # Errors
    /// When it is no answer to that, or a refusal.
    fn read(&self, asked: &Asked, input: &[u8]) -> Result<Option<(Answered, usize)>, Fault>;
}
