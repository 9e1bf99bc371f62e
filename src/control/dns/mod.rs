//! DNS as a source of membership: the names that `dns` of upstreams has are looked up again and
//! again, and what they have becomes documents of backends.

mod follow;
pub mod source;
mod state;
