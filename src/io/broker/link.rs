//! What a protocol sees of its connection: bytes to be sent, messages that are not confirmed yet,
//! and where messages of the broker go. It does no I/O.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::core::messages::topic::Topic;
use crate::io::broker::refusals::log_refusal;
use crate::io::broker::{Incoming, NotCarried, Outgoing, PAYLOAD_MAX, Received};
use crate::io::service::fault::Fault;

/// What one kind of broker speaks, once the sign-in is over.
pub(super) trait Protocol: Send {
    /// Takes one item off `input`; false if more bytes are needed for it.
    fn read(&mut self, input: &mut BytesMut, link: &mut Link) -> Result<bool, Fault>;

    /// Writes a message that has this number in `link.pending`.
    fn publish(
        &mut self,
        message: &Outgoing,
        number: u64,
        link: &mut Link,
    ) -> Result<(), NotCarried>;

    /// Follows all messages that were published so far: what makes the server confirm them.
    fn settle(&mut self, link: &mut Link);

    /// Writes a subscription.
    fn subscribe(&mut self, topic: Topic, link: &mut Link);

    /// Writes the end of a subscription.
    fn unsubscribe(&mut self, topic: &Topic, link: &mut Link);

    /// Writes something that the server answers, or that shows it that this end lives.
    fn ping(&mut self, link: &mut Link);
}

/// A connection as its protocol sees it.
#[derive(Debug)]
pub(super) struct Link {
    /// Bytes to be sent.
    pub(super) out: BytesMut,
    /// What the broker has not confirmed.
    pub(super) pending: Pending,
    /// So many bytes of the input are skipped: the payload of a message that is too large.
    pub(super) skip: usize,
    /// What was refused of late, for the status.
    pub(super) refused: Option<String>,
    incoming: Incoming,
}

impl Link {
    /// Nothing was sent yet.
    pub(super) fn new(incoming: Incoming) -> Self {
        Self {
            out: BytesMut::new(),
            pending: Pending::default(),
            skip: 0,
            refused: None,
            incoming,
        }
    }

    /// Passes a message on.
    pub(super) fn message(&self, topic: &Topic, payload: &[u8]) {
        if payload.len() > PAYLOAD_MAX {
            self.incoming.count_dropped();
            return;
        }
        self.incoming.pass_on(Received {
            topic: topic.clone(),
            // A copy, since a slice would keep the whole read buffer.
            payload: Bytes::copy_from_slice(payload),
        });
    }

    /// Skips the rest of a message that is too large.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.skip = bytes;
        self.incoming.count_dropped();
    }

    /// The server does not let this topic be subscribed.
    pub(super) fn subscription_refused(&mut self, topic: &Topic, reason: &str) {
        log_refusal(topic, reason);
        self.refused = Some(format!("it refuses the subscription of {topic}: {reason}"));
    }
}

/// Messages that were sent and not confirmed, by their number on this connection: 1, 2, 3.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Messages whose turn is over.
    answered: u64,
    waiting: VecDeque<Option<oneshot::Sender<Result<(), NotCarried>>>>,
}

impl Pending {
    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The number of the message that was sent last.
    pub(super) fn last(&self) -> u64 {
        self.answered + self.waiting.len() as u64
    }

    /// The next message, and its number.
    pub(super) fn push(&mut self, confirm: oneshot::Sender<Result<(), NotCarried>>) -> u64 {
        self.waiting.push_back(Some(confirm));
        self.last()
    }

    /// One message was confirmed or refused. An unknown number means nothing.
    pub(super) fn answer(&mut self, number: u64, outcome: Result<(), NotCarried>) {
        let place = number
            .checked_sub(self.answered + 1)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(sender) = place.and_then(|place| self.waiting.get_mut(place)?.take()) {
            // The publisher may have gone.
            let _ = sender.send(outcome);
        }
        while matches!(self.waiting.front(), Some(None)) {
            self.waiting.pop_front();
            self.answered += 1;
        }
    }

    /// All messages up to this one were confirmed, but for those that were answered before.
    pub(super) fn confirmed_up_to(&mut self, number: u64) {
        while self.answered < number {
            let Some(waiting) = self.waiting.pop_front() else {
                return;
            };
            self.answered += 1;
            if let Some(sender) = waiting {
                let _ = sender.send(Ok(()));
            }
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        let gone = self.waiting.len() as u64;
        for sender in self.waiting.drain(..).flatten() {
            let _ = sender.send(Err(NotCarried::Lost));
        }
        self.answered += gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_answered_once_by_its_number() {
        let mut pending = Pending::default();
        let mut answers: Vec<_> = (1..=5)
            .map(|number| {
                let (confirm, answer) = oneshot::channel();
                assert_eq!(pending.push(confirm), number);
                answer
            })
            .collect();
        pending.answer(2, Err(NotCarried::Busy));
        pending.answer(9, Ok(()));
        pending.answer(0, Ok(()));
        assert_eq!((pending.len(), pending.last()), (5, 5));
        pending.confirmed_up_to(3);
        pending.answer(2, Ok(()));
        assert_eq!((pending.len(), pending.last()), (2, 5));
        pending.answer(5, Ok(()));
        pending.lost();
        assert_eq!((pending.len(), pending.last()), (0, 5));
        let answers = answers.iter_mut().map(|answer| answer.try_recv().ok());
        let lost = Err(NotCarried::Lost);
        assert_eq!(
            answers.collect::<Vec<_>>(),
            [Ok(()), Err(NotCarried::Busy), Ok(()), lost, Ok(())].map(Some)
        );
    }
}
