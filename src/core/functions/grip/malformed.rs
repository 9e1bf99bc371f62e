//! Why an answer changes nothing.

/// The answer of a function is none of this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;
