//! What the operator wrote, checked. `model` is what serde reads, `validate` turns it into a
//! `Snapshot` and finds every fault at once, `diagnostic` shows a fault under the line that holds
//! it. Reading files is `control::load`'s.

pub mod conflict;
pub mod pattern;
pub mod snapshot;
