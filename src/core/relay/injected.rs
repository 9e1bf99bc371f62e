//! What passes between the gateway itself and one side: messages of the source that are for the
//! gateway, and messages of the gateway for the sink.

use crate::core::relay::outbound_queue::OutboundQueue;

/// Messages to and from the gateway. Only a session that has some owns this.
#[derive(Clone, Debug, Default)]
pub(super) struct InjectedFrames {
    /// The first bytes of a message that may be for the gateway; none of them was forwarded.
    pub(super) undecided: Vec<u8>,
    /// The last message of the source for the gateway. Until it is answered, the source is not
    /// read.
    pub(super) received: Option<Vec<u8>>,
    /// The driver has been notified of `received`. Not part of the session's state: a driver in
    /// another process must be notified again.
    pub(super) reported: bool,
    /// Whole messages for the sink, which wait for a message boundary.
    pub(super) queued: OutboundQueue,
}

impl InjectedFrames {
    /// A message for the gateway arrived. It replaces one that was not answered.
    pub(super) fn receive(&mut self, content: Option<Vec<u8>>) {
        self.received = content;
        self.reported = false;
    }

    /// Whether the driver must be notified of a message; true once for each.
    pub(super) fn report(&mut self) -> bool {
        self.received.is_some() && !std::mem::replace(&mut self.reported, true)
    }

    /// The message was answered, or has to be reported once more.
    pub(super) fn answered(&mut self, answered: bool) {
        self.reported = false;
        if answered {
            self.received = None;
        }
    }

    /// Bytes that are stored here.
    pub(super) fn len(&self) -> usize {
        let received = self.received.as_ref().map_or(0, Vec::len);
        self.undecided.len() + self.queued.len() + received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_reported_once_until_it_is_answered() {
        let mut injected = InjectedFrames::default();
        assert!(!injected.report(), "there is none");
        injected.receive(Some(b"one".to_vec()));
        assert!(injected.report() && !injected.report());
        injected.answered(false);
        assert!(injected.report(), "it has to be reported again");
        injected.answered(true);
        assert!(!injected.report() && injected.received.is_none());
    }

    #[test]
    fn a_newer_message_replaces_an_older_one_and_is_reported() {
        let mut injected = InjectedFrames::default();
        injected.receive(Some(b"one".to_vec()));
        assert!(injected.report());
        injected.receive(Some(b"two".to_vec()));
        assert!(injected.report());
        assert_eq!(injected.received.as_deref(), Some(&b"two"[..]));
    }
}
