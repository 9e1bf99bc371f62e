//! The outcome of a hand-over.

/// How a hand-over ended, if no signal stopped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoverOutcome {
    /// Another process has taken over.
    Given {
        /// Sessions that the other process has.
        sessions: usize,
        /// Sessions that stay in this process to their end.
        staying: usize,
    },
    /// It failed, for this reason: the previous process continues serving.
    NotTaken(String),
}
