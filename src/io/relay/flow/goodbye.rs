//! How a direction ends: with a close frame of the gateway's own at its place, with the end of the
//! sink's stream, or without a sink.

use serde::{Deserialize, Serialize};

use crate::base::blob;
use crate::io::relay::flow::{Flow, State};

/// A close frame of the gateway's own that waits for its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Goodbye {
    #[serde(with = "blob")]
    pub(super) frame: Vec<u8>,
    pub(super) place: Place,
}

/// Where it goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::io::relay) enum Place {
    /// Behind the frame that is passing.
    NextBoundary,
    /// Behind the source's last word: in the place of its close frame, or at its end.
    LastWord,
}

impl Flow {
    /// Puts a close frame of the gateway's own in at its place, and drops what the source sends
    /// from there on. Without effect once a close frame has passed, or where the source ended
    /// inside a frame.
    pub(in crate::io::relay) fn say_goodbye(&mut self, frame: Vec<u8>, place: Place) {
        let possible = self.state != State::Ended || self.tracker.at_boundary();
        if !self.closed && possible && self.fork.is_none() {
            self.goodbye = Some(Goodbye { frame, place });
            if self.state == State::Ended {
                self.hurry();
            }
        }
    }

    /// Whether a close frame of the gateway's own waits for its place.
    pub(in crate::io::relay) fn has_goodbye(&self) -> bool {
        self.goodbye.is_some()
    }

    /// Whether it waits for the source's last word.
    pub(in crate::io::relay) fn awaits_last_word(&self) -> bool {
        let goodbye = self.goodbye.as_ref();
        goodbye.is_some_and(|goodbye| goodbye.place == Place::LastWord)
    }

    /// Whether nothing more is taken from the source but what stands before the close frame.
    pub(in crate::io::relay) fn draining(&self) -> bool {
        let said = self.goodbye.is_some() && !self.awaits_last_word();
        self.closed || said || self.state != State::Open
    }

    /// Whether a close frame may be written to the sink behind everything that it has.
    pub(in crate::io::relay) fn takes_last_words(&self) -> bool {
        let open = !self.closed && !self.done() && self.fork.is_none();
        open && self.tracker.at_boundary() && self.unsent.is_empty()
    }

    /// Waits for the source's last word no longer; answers whether it did.
    pub(in crate::io::relay) fn hurry(&mut self) -> bool {
        match &mut self.goodbye {
            Some(goodbye) if goodbye.place == Place::LastWord => {
                goodbye.place = Place::NextBoundary;
                true
            }
            _ => false,
        }
    }

    /// Forwards nothing more, and tells the sink so once it has everything.
    pub(in crate::io::relay) fn finish(&mut self) {
        if self.state == State::Open && self.goodbye.is_none() {
            self.state = State::Silenced;
        }
        self.finish = true;
    }

    /// Drops everything for the sink, which is gone.
    pub(in crate::io::relay) fn lose_sink(&mut self) {
        self.sink_lost = true;
        self.replaceable = false;
        self.goodbye = None;
        self.fork = None;
        self.ping = None;
        self.fall_silent();
        self.unsent = Vec::new();
        self.sent = 0;
        if self.state == State::Open {
            self.state = State::Silenced;
        }
    }
}
