//! Published messages: who gets them, who may publish them, and how they travel between gateways.

pub mod delivery;
pub mod envelope;
pub mod index;
pub mod seen;
pub mod topic;
