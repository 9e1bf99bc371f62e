//! The round trip of keepalive pings. The driver supplies the time: it is finer than a tick, and is
//! read only when a ping leaves or its pong arrives.

/// Pings of one side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    state: PingState,
    last: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
enum PingState {
    /// None is under way.
    #[default]
    Idle,
    /// One was queued; its time is not known yet.
    Queued,
    /// One is under way since this time.
    Sent(u32),
    /// The answer to the one that left then has arrived; its time is not known yet.
    Answered(u32),
}

impl RoundTrip {
    /// A ping was queued. One that is under way stays the one that is measured: its pong comes
    /// first.
    pub(super) fn queued(&mut self) {
        if let PingState::Idle = self.state {
            self.state = PingState::Queued;
        }
    }

    /// A pong arrived.
    pub(super) fn answered(&mut self) {
        match self.state {
            PingState::Sent(sent) => self.state = PingState::Answered(sent),
            // Nothing can be measured.
            PingState::Queued => self.state = PingState::Idle,
            PingState::Idle | PingState::Answered(_) => {}
        }
    }

    /// It is now this many microseconds, by a clock that wraps around.
    pub(super) fn stamp(&mut self, micros: u32) {
        match self.state {
            PingState::Queued => self.state = PingState::Sent(micros),
            PingState::Answered(sent) => {
                self.last = Some(micros.wrapping_sub(sent));
                self.state = PingState::Idle;
            }
            PingState::Idle | PingState::Sent(_) => {}
        }
    }

    /// The last one, in microseconds.
    pub(super) fn last(&self) -> Option<u32> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_from_the_ping_to_its_pong() {
        let mut trip = RoundTrip::default();
        trip.stamp(5);
        assert_eq!(trip.last(), None);
        trip.queued();
        trip.stamp(u32::MAX);
        trip.stamp(3);
        trip.answered();
        trip.stamp(9);
        assert_eq!(trip.last(), Some(10), "the clock wraps around");
    }

    #[test]
    fn an_unanswered_ping_is_measured_to_the_first_pong() {
        let mut trip = RoundTrip::default();
        trip.queued();
        trip.stamp(100);
        trip.queued();
        trip.stamp(200);
        trip.answered();
        trip.stamp(250);
        assert_eq!(trip.last(), Some(150));
        trip.answered();
        trip.stamp(900);
        assert_eq!(trip.last(), Some(150), "nothing was asked");
    }
}
