//! The traffic secrets of TLS 1.3, which rustls gives to a key log only. The log is a slot of the
//! thread: a handshake clears it before rustls works for it, and empties it right after.

use std::cell::RefCell;
use std::fmt;

use rustls::KeyLog;
use zeroize::Zeroizing;

/// The secret of what the client sends.
const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
/// The secret of what the server sends.
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// Secrets of one handshake. Zeroised when dropped.
#[derive(Default)]
pub(super) struct TrafficSecrets {
    pub(super) client: Option<Zeroizing<Vec<u8>>>,
    pub(super) server: Option<Zeroizing<Vec<u8>>>,
}

thread_local! {
    static SLOT: RefCell<TrafficSecrets> = RefCell::default();
}

impl TrafficSecrets {
    /// Runs one step of a handshake and keeps the secrets that it comes to.
    pub(super) fn during<T>(&mut self, step: impl FnOnce() -> T) -> T {
        SLOT.take();
        let result = step();
        let heard = SLOT.take();
        self.client = heard.client.or_else(|| self.client.take());
        self.server = heard.server.or_else(|| self.server.take());
        result
    }
}

impl fmt::Debug for TrafficSecrets {
    /// Without them (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecrets")
    }
}

/// Puts the secrets into the slot of the thread. It writes nothing anywhere else.
#[derive(Debug)]
pub(super) struct SecretSlot;

impl KeyLog for SecretSlot {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let secret = || Some(Zeroizing::new(secret.to_vec()));
        SLOT.with_borrow_mut(|slot| match label {
            CLIENT => slot.client = secret(),
            SERVER => slot.server = secret(),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}
