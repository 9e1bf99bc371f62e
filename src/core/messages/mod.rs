//! Published messages: who gets them, who may publish them, and how they travel between gateways.

pub mod dedup;
pub mod delivery;
pub mod envelope;
pub mod index;
pub mod topic;
