//! What passes between the gateway itself and one of the sides, beside what is relayed: messages
//! of the source that are for the gateway, and the gateway's own for the sink.

use serde::{Deserialize, Serialize};

use crate::base::blob;
use crate::io::relay::flow::Flow;

/// Bytes of the gateway's own that wait for a sink at most; more is not said.
const SAID_MAX: usize = 16 * 1024;

/// There is one only where something is said, or was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Own {
    /// The beginning of a message that may be for the gateway, and of which nothing has gone on.
    #[serde(with = "blob")]
    aside: Vec<u8>,
    /// What the source said to the gateway; until that is answered the source is not read.
    #[serde(with = "blob::optional")]
    heard: Option<Vec<u8>>,
    /// Whoever drives the relay knows. Another process has to be told again.
    #[serde(skip)]
    told: bool,
    /// Whole messages for the sink, which wait for their place.
    #[serde(with = "blob")]
    says: Vec<u8>,
}

impl Flow {
    fn own_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_default()
    }

    /// Says something to the sink, in whole messages, where no message is under way. Nothing behind
    /// a close frame, nor to a sink that takes nothing.
    pub(in crate::io::relay) fn say(&mut self, message: &[u8]) {
        let open = !self.closed && self.goodbye.is_none() && !self.sink_lost;
        let own = self.own_mut();
        if open && own.says.len() + message.len() <= SAID_MAX {
            own.says.extend_from_slice(message);
        }
    }

    /// Whether something waits to be said.
    pub(super) fn has_to_say(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.says.is_empty())
    }

    /// What is to be said, once.
    pub(super) fn take_says(&mut self) -> Option<Vec<u8>> {
        let own = self.own.as_mut()?;
        (!own.says.is_empty()).then(|| std::mem::take(&mut own.says))
    }

    /// Says nothing more.
    pub(super) fn fall_silent(&mut self) {
        if let Some(own) = &mut self.own {
            own.says = Vec::new();
        }
    }

    /// Keeps bytes that are not decided.
    pub(super) fn put_aside(&mut self, bytes: &[u8]) {
        self.own_mut().aside = bytes.to_vec();
    }

    /// Gives them back, to stand before the next.
    pub(super) fn take_aside(&mut self) -> Vec<u8> {
        let own = self.own.as_mut();
        own.map_or_else(Vec::new, |own| std::mem::take(&mut own.aside))
    }

    /// A frame of the source is for the gateway. A newer word takes the place of an older one.
    pub(super) fn hear(&mut self, frame: &[u8]) {
        let content = self.tracker.in_band().map(|matcher| matcher.content(frame));
        let own = self.own_mut();
        own.heard = content;
        own.told = false;
    }

    /// What the source said to the gateway, if that is not answered.
    pub(in crate::io::relay) fn heard(&self) -> Option<&[u8]> {
        self.own.as_ref()?.heard.as_deref()
    }

    /// Whether there is something that whoever drives the relay does not know; it does then.
    pub(in crate::io::relay) fn tells(&mut self) -> bool {
        let own = self.own.as_mut();
        own.is_some_and(|own| own.heard.is_some() && !std::mem::replace(&mut own.told, true))
    }

    /// It was answered, or has to be told once more.
    pub(in crate::io::relay) fn answered(&mut self, answered: bool) {
        if let Some(own) = &mut self.own {
            own.told = false;
            if answered {
                own.heard = None;
            }
        }
    }

    /// Bytes that are held here.
    pub(super) fn held_own(&self) -> usize {
        self.own.as_ref().map_or(0, |own| {
            let heard = own.heard.as_ref().map_or(0, Vec::len);
            own.aside.len() + own.says.len() + heard
        })
    }
}
