//! What the gateways of a fleet count together, and which backends their sticky keys have: what is
//! written into the store, and what follows from what is in it. The store itself only has to swap a
//! value for another one, on the condition that it is still the one that was read.

mod document;
mod entry;
mod key;
mod ledger;

pub use document::{DOCUMENT_MAX, Document};
pub use entry::{Ask, Merge, Stored, Verdict, Version};
pub use key::{KeyKind, StateKey};
pub use ledger::{Answer, Ledger, Rate, Request, Swap};

#[cfg(test)]
mod tests;
