//! State that everything on one worker shares.

pub(crate) mod peer_admission;
pub(crate) mod worker;
