//! Options of a backend's socket that are set once they can matter, not while a session is set up:
//! they take five system calls, and sessions that end within seconds never need them.
//!
//! Keepalive first acts on a connection that is silent for a minute. `TCP_NOTSENT_LOWAT` first acts
//! when so much is sent that the system would queue it for a backend that does not read. Both are
//! set when the wheel first brings the session up, after five seconds at the latest, or once the
//! client has sent half of that; before a hand-over; and again for another backend.

use std::time::Duration;

use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::io::net::socket::{Socket, UNSENT_MAX};
use crate::proxy::clock::ticks;
use crate::proxy::session::live_session::Session;

/// When the wheel brings a session up for it.
const AFTER: Duration = Duration::from_secs(5);
/// Bytes to the backend for which it does not wait so long.
const BYTES: u64 = UNSENT_MAX as u64 / 2;

/// Whether options of this backend's socket were put off: a socket of TCP has them.
pub(super) fn is_put_off(backend: &Carrier) -> bool {
    matches!(backend.socket(), Some(Socket::Tcp(_)))
}

impl Session {
    /// When the wheel has to bring up a session that is due at `due` otherwise, so that its backend
    /// gets the options in time. Sets them if they can matter already.
    pub(super) fn tuning_due(&self, now: Tick, due: Option<Tick>) -> Option<Tick> {
        if self.relay.borrow().to_backend().bytes >= BYTES {
            self.tune_backend();
            return due;
        }
        let at = now.saturating_add(ticks(AFTER));
        Some(due.map_or(at, |due| due.min(at)))
    }

    /// Sets the options, unless its backend has them.
    pub(super) fn tune_backend(&self) {
        if !self.tuned.replace(true)
            && let (_, Some(backend)) = self.relay.borrow().streams()
        {
            backend.tune_late();
        }
    }
}

#[cfg(test)]
mod tests;
