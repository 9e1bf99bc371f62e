//! The documents of a source, and which of its removals are applied. Keys are texts below the
//! source's prefix, interpreted elsewhere, with one exception: `backends/<upstream>/<id>` under a
//! lease is a backend that may lose its lease.
//!
//! Three rules protect the routing table from a source in trouble (I5):
//!
//! - **Whole revisions.** A transaction takes effect as a whole.
//! - **Doubt.** A document is removed if an event deletes it, or if a plausible full read lacks it.
//!   A read that has nothing, or lacks at least [`DOUBT_MIN`] documents and more than half
//!   of those known, is implausible: the missing documents stay in force as *doubted* until they
//!   return, or an operator accepts the removal. Leased backends do not count.
//! - **Stale members.** Leased backends that disappear without a deletion are kept for [`SETTLE`],
//!   unless they were draining. If by then at least [`STORM_MIN`] of an upstream's have vanished
//!   within [`WINDOW`] and those are more than a third of them, or if all of them have, that is a
//!   storm, which indicates a fault of the source: they stay as *stale* for the grace unless they
//!   fail, and are then removed one after the other. Otherwise they are removed.

mod held;
mod mirror;

pub use held::{Held, Key, backend_of};
pub use mirror::{Absence, Event, FullRead, Mirror, Reread, Verdict};

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
