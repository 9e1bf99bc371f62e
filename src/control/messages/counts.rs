//! The counts of a message over all workers.

use std::time::Duration;

use crate::core::messages::delivery::DeliveryCounts;
use crate::core::messages::signal::Answer;
use crate::live::Answers;

/// For all workers to visit the sessions of a message.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The counts of all workers, and how many of them did not answer.
pub(super) fn added(answers: Answers<DeliveryCounts>) -> (DeliveryCounts, usize) {
    let unanswered = answers.missing();
    let counts = answers.into_iter();
    let counts = counts.fold(DeliveryCounts::default(), DeliveryCounts::plus);
    (counts, unanswered)
}

/// The answer of a node that has no session of a message.
pub(super) fn none_here() -> Answer {
    Answer::Counts {
        counts: DeliveryCounts::default(),
        unanswered: 0,
    }
}
