//! Published messages: who gets them, who may publish them, and how they travel between gateways.

pub mod topic;
