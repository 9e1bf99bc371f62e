//! What a source holds, and how much of what it says is believed. Keys are texts below the
//! source's prefix; what they mean is for others, but for one thing: `backends/<upstream>/<id>`
//! under a lease is a backend that may lose it.
//!
//! Three rules stand between a source in trouble and the routing table (I5):
//!
//! - **Whole revisions.** What one transaction wrote takes effect together.
//! - **Belief.** That a document is gone is believed if the source says so by an event, or if a
//!   full read is believable. A read that has nothing at all, or lacks at least [`DOUBT_MIN`]
//!   documents and more than half of those known, is not: what it lacks stays in force as *doubted*
//!   until it comes back, or an operator accepts that it is gone. Leased backends do not count.
//! - **Stale members.** Leased backends that vanish without being deleted are held for [`SETTLE`],
//!   unless they were draining. If by then at least [`STORM_MIN`] of an upstream's have vanished
//!   within [`WINDOW`] and those are more than a third of them, or if all of them have, that is a
//!   storm, which says more about the source than about the backends: they stay as *stale* for the
//!   grace, as long as nothing speaks against them, and then go one after the other. Otherwise they
//!   go.

mod held;
mod mirror;

pub use held::{Held, Key, backend_of};
pub use mirror::{Absence, Event, Mirror, Read, Reread, Verdict};

use std::time::Duration;

/// Documents that a read must lack before it is doubted, unless it has none at all.
pub const DOUBT_MIN: usize = 3;
/// Backends of an upstream that must vanish together to make a storm, unless all of them do.
pub const STORM_MIN: usize = 3;
/// How long a backend that lost its lease stays in any case: until it is clear whether others do.
pub const SETTLE: Duration = Duration::from_secs(2);
/// Losses so near to each other belong together.
pub const WINDOW: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
