//! Published messages: who gets them, who may publish them, and how they travel between gateways.

pub mod asked;
pub mod dedup;
pub mod delivery;
pub mod envelope;
pub mod group_counts;
pub mod history;
pub mod index;
pub mod member;
pub mod nodes;
pub mod presence;
pub mod signal;
pub mod topic;
