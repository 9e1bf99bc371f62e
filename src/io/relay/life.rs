//! A session's right, while it lasts: it is warned of its end, and renewed from within.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::session::wheel::Tick;
use crate::core::wire::frame::text_frame;
use crate::io::relay::{Relay, Stream};

/// What a client is told before its right ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    /// How long before.
    pub before: Tick,
    /// The text; `{seconds}` in it is how many are left.
    pub message: Arc<str>,
    /// Milliseconds of a tick.
    pub tick: u32,
    /// It has been said, of the right that there is.
    pub said: bool,
}

impl<C: Stream> Relay<C> {
    /// When the client is to be warned, if it is.
    pub(super) fn warns_at(&self) -> Option<Tick> {
        let warning = self.warning.as_ref().filter(|warning| !warning.said)?;
        Some(self.times.expires_at?.saturating_sub(warning.before))
    }

    /// Warns the client, if it is time.
    pub(super) fn warn(&mut self, now: Tick) {
        let due = self.warns_at().is_some_and(|at| now >= at);
        let left = self.times.expires_at.unwrap_or(now).saturating_sub(now);
        let Some(warning) = self.warning.as_mut().filter(|_| due && left > 0) else {
            return;
        };
        warning.said = true;
        let seconds = u64::from(left) * u64::from(warning.tick) / 1000;
        let text = warning.message.replace("{seconds}", &seconds.to_string());
        self.tell(&text);
    }

    /// Says something to the client: a text message of the gateway's own, where none of the
    /// backend's is under way (I10).
    pub fn tell(&mut self, text: &str) {
        self.down.say(&text_frame(text));
        self.wake();
    }

    /// Moves the end of its right to be here.
    pub fn set_expiry(&mut self, at: Option<Tick>) {
        self.times.expires_at = at;
        if let Some(warning) = &mut self.warning {
            warning.said = false;
        }
    }

    /// The credential that the client brought inside the session, until that is answered.
    pub fn renewal(&self) -> Option<&[u8]> {
        self.up.heard()
    }

    /// What the client brought was answered; or nobody could, and it is to be told again. The
    /// client is read on.
    pub fn renewal_over(&mut self, answered: bool) {
        self.up.answered(answered);
        self.wake();
    }

    /// Whether the client has brought a credential that nobody was told of.
    pub(super) fn asks_for_renewal(&mut self) -> bool {
        self.forget_renewal();
        self.up.tells()
    }

    /// A session that ends needs no right, and its client's answer has to be read.
    pub(super) fn forget_renewal(&mut self) {
        if self.ending.is_some() {
            self.up.answered(true);
        }
    }
}
