//! A direction whose sink is replaced. From a message boundary on, what the source says is held for
//! the next sink, within a bound; the old one gets what is before it, and a close frame. A message
//! of which a sink has had a part is never given to another (at most once).

use serde::{Deserialize, Serialize};

use crate::base::blob;
use crate::core::wire::position::{Cut, Position};
use crate::io::relay::flow::{Flow, State, Withhold};

/// What is held between two sinks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fork {
    /// The close frame for the old sink, until its place has come.
    #[serde(with = "blob::optional")]
    farewell: Option<Vec<u8>>,
    /// Whole frames for the next sink, which begin at a message boundary.
    #[serde(with = "blob")]
    bytes: Vec<u8>,
    /// Most of them; then the source is not read.
    max: usize,
}

/// What a sink took with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::io::relay) struct Lost {
    pub(in crate::io::relay) messages: u64,
    pub(in crate::io::relay) bytes: u64,
}

impl Fork {
    /// Whether the boundary has come.
    pub(super) fn holds(&self) -> bool {
        self.farewell.is_none()
    }

    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }
}

impl Flow {
    /// Whether it is one that polling can lead to; asked of what another process wrote.
    pub(in crate::io::relay) fn is_sound(&self) -> bool {
        self.tracker.is_sound() && self.sent <= self.unsent.len()
    }

    /// Keeps up what a later change of the sink needs to know.
    pub(in crate::io::relay) fn expect_other_sinks(&mut self) {
        self.replaceable = true;
    }

    /// Says goodbye to the sink with `farewell` at the next message boundary, and holds what comes
    /// behind that, `max` bytes at most.
    pub(in crate::io::relay) fn part(&mut self, farewell: Vec<u8>, max: usize) {
        self.ping = None;
        let cut = self.cut();
        let bytes = cut.map_or_else(Vec::new, |cut| self.unsent.split_off(cut.at));
        self.fork = Some(Box::new(Fork {
            farewell: Some(farewell),
            bytes,
            max,
        }));
        if cut.is_some() {
            self.part_here();
        }
    }

    /// What is forwarded so far is whole messages, and all of it that the old sink gets.
    pub(super) fn part_here(&mut self) {
        let farewell = self.fork.as_mut().and_then(|fork| fork.farewell.take());
        if let Some(farewell) = farewell {
            self.keep_own(&farewell, Position::default());
        }
    }

    /// Takes `part` back, if its boundary has not come; answers whether the sink goes on.
    pub(in crate::io::relay) fn stay(&mut self) -> bool {
        let parting = self.parting();
        if parting {
            self.fork = None;
        }
        parting
    }

    /// Whether the old sink has everything that it gets.
    pub(in crate::io::relay) fn parted(&self) -> bool {
        self.holding() && self.unsent.is_empty() && !self.unflushed
    }

    /// The sink is lost: holds for the next one whatever that may have. `None`, and nothing
    /// changed, where a message has begun towards the lost one that is not all here.
    pub(in crate::io::relay) fn salvage(&mut self, max: usize) -> Option<Lost> {
        if self.parting() {
            return None;
        }
        let cut = self.cut()?;
        let bytes = self.unsent.split_off(cut.at);
        let lost = Lost {
            messages: cut.broken,
            bytes: (self.unsent.len() - self.sent) as u64,
        };
        self.unsent = Vec::new();
        self.sent = 0;
        self.ping = None;
        self.sink_lost = false;
        self.unflushed = false;
        if !self.holding() {
            self.fork = Some(Box::new(Fork {
                farewell: None,
                bytes,
                max,
            }));
        }
        Some(lost)
    }

    /// Where the sink can be parted from: `unsent` is cut there. `None` inside a message that is
    /// not all here.
    fn cut(&self) -> Option<Cut> {
        if self.unsent.is_empty() {
            let here = Cut { at: 0, broken: 0 };
            return (self.holding() || self.tracker.at_message_boundary()).then_some(here);
        }
        self.unsent_at.cut(&self.unsent, self.sent)
    }

    /// Another sink is there; it gets what was held.
    pub(in crate::io::relay) fn attach_sink(&mut self) {
        let fork = self.fork.take().expect("a sink was parted from");
        self.unsent = fork.bytes;
        self.sent = 0;
        self.unsent_at = Position::default();
        self.sink_lost = false;
        self.finished = false;
        self.unflushed = false;
    }

    /// Another source is there; `early` came behind its 101.
    pub(in crate::io::relay) fn attach_source(&mut self, early: Vec<u8>) {
        self.tracker.replace_sender();
        self.state = State::Open;
        self.early = early;
    }

    /// No other source will come.
    pub(in crate::io::relay) fn end_source(&mut self) {
        self.state = State::Ended;
        self.hurry();
    }

    /// What is held and will reach nobody: whole messages and bytes.
    pub(in crate::io::relay) fn forfeit(&self) -> Lost {
        self.fork.as_ref().map_or_else(Lost::default, |fork| Lost {
            messages: Position::default().messages(&fork.bytes),
            bytes: fork.bytes.len() as u64,
        })
    }

    /// Says which close frames of the source do not go on.
    pub(in crate::io::relay) fn withhold(&mut self, which: Withhold) {
        self.withhold = which;
    }

    /// Whether what is read is for the next sink.
    pub(super) fn holding(&self) -> bool {
        self.fork.as_ref().is_some_and(|fork| fork.holds())
    }

    /// Whether a message boundary is waited for.
    pub(super) fn parting(&self) -> bool {
        self.fork.as_ref().is_some_and(|fork| !fork.holds())
    }

    /// Whether nothing more may be held.
    pub(super) fn full(&self) -> bool {
        self.holding() && self.room(1) == 0
    }

    /// Bytes that may be read at once, `most` at most.
    pub(super) fn room(&self, most: usize) -> usize {
        match &self.fork {
            Some(fork) if fork.holds() => most.min(fork.max.saturating_sub(fork.bytes.len())),
            _ => most,
        }
    }
}
