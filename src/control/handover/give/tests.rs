use super::*;
use crate::control::handover::take::REASON_MAX;
use crate::io::handover::MESSAGE_MAX;

/// The answer to a batch must fit into a message, however many workers there are.
#[test]
fn the_answer_to_a_batch_fits_into_a_message_whatever_the_number_of_workers() {
    for workers in [1, 2, 20, 71, 128, 256] {
        let mut cursors = vec![Some(None); workers];
        let most = share(&cursors) * workers;
        assert!(most <= BATCH_ALL, "{workers} workers, {most} sessions");
        let ids = (0..most).map(|_| SessionId::new(u64::MAX >> 16, fastrand::u128(..)));
        let refused = ids.map(|id| (id, "x".repeat(REASON_MAX))).collect();
        let answer = FromNew::Taken {
            taken: Vec::new(),
            refused,
        };
        let bytes = serde_json::to_vec(&answer).expect("plain data serialises");
        assert!(bytes.len() <= MESSAGE_MAX, "{workers}: {}", bytes.len());
        // Workers that have given all leave their share to the others.
        cursors.iter_mut().skip(1).for_each(|cursor| *cursor = None);
        assert_eq!(share(&cursors), BATCH);
    }
}
