//! The credential of a session while it lasts: the client is warned before it expires, and renews
//! it by a message for the gateway.

use crate::core::relay::machine::Machine;
use crate::core::session::wheel::Tick;

impl Machine {
    /// When the client is to be warned.
    pub(super) fn warns_at(&self) -> Option<Tick> {
        let warning = self.warning.as_ref()?;
        warning.due(self.times.expires_at)
    }

    /// Warns the client, if it is time.
    pub(super) fn warn(&mut self, now: Tick) {
        let expires_at = self.times.expires_at;
        let warning = self.warning.as_mut();
        if let Some(text) = warning.and_then(|warning| warning.take_text(expires_at, now)) {
            self.send_text(&text);
        }
    }

    /// Sets when the credential expires.
    pub fn set_expiry(&mut self, at: Option<Tick>) {
        self.times.expires_at = at;
        if let Some(warning) = &mut self.warning {
            warning.sent = false;
        }
    }

    /// The credential that the client sent inside the session, until that is answered.
    pub fn renewal(&self) -> Option<&[u8]> {
        self.up.received_in_band()
    }

    /// The credential was answered; or it was not (`answered` is false) and is reported again. The
    /// client is read on.
    pub fn renewal_over(&mut self, answered: bool) {
        if let Some(injected) = &mut self.up.injected {
            injected.answered(answered);
        }
        self.turn_needed = true;
    }

    /// Whether the client has sent a credential that was not reported.
    pub(super) fn reports_renewal(&mut self) -> bool {
        self.forget_renewal();
        let injected = self.up.injected.as_mut();
        injected.is_some_and(|injected| injected.report())
    }

    /// A session that ends needs no credential, and the client's answer has to be read.
    pub(super) fn forget_renewal(&mut self) {
        if self.ending().is_none() {
            return;
        }
        if let Some(injected) = &mut self.up.injected {
            injected.answered(true);
        }
    }
}
