//! Backends as the data plane reaches them: which one, and a connection to it.

pub(crate) mod candidates;
