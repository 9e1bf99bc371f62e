//! State that everything on one worker shares, and the guards that count what is open.

pub(crate) mod connection_lease;
pub(crate) mod ejections;
pub(crate) mod peer_admission;
pub(crate) mod permits;
pub(crate) mod shared;
pub(crate) mod worker;
