//! Tickets towards clients: the keys that all listeners of one source share, and what rustls asks
//! of them in a handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::ProducesTickets;

use crate::base::clock;
use crate::base::ticket_secret::{SECRET_BYTES, TicketSecret};
use crate::core::ticket_keys::{KeySet, Keyring, NONCE_BYTES, OPENS_AFTER};

/// The keys in force, which can be replaced while handshakes go on.
#[derive(Debug)]
pub struct TicketKeys(ArcSwap<Keyring>);

impl TicketKeys {
    /// Begins with this set.
    pub fn new(set: KeySet) -> Self {
        Self(ArcSwap::from_pointee(Keyring::new(set, &[])))
    }

    /// Begins with random keys.
    pub fn random() -> Self {
        Self::new(KeySet::begin(clock::unix_millis(clock::wall()), fresh))
    }

    /// Every handshake from now on uses these; keys of `also` open beside them.
    pub fn replace(&self, set: KeySet, also: &[TicketSecret]) {
        self.0.store(Arc::new(Keyring::new(set, also)));
    }

    /// The set in force.
    pub fn set(&self) -> KeySet {
        self.0.load().set().clone()
    }
}

/// A secret from the system's randomness.
///
/// # Panics
/// When the system has none.
pub fn fresh() -> TicketSecret {
    TicketSecret::new(random::<SECRET_BYTES>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// Tickets of one listener. A ticket opens only where its context is the same: a session that began
/// at one listener does not resume at another, which may ask other things of its clients.
#[derive(Debug)]
pub(super) struct Ticketer {
    pub(super) keys: Arc<TicketKeys>,
    pub(super) context: Vec<u8>,
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(OPENS_AFTER.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let nonce = random::<NONCE_BYTES>();
        let ring = self.keys.0.load();
        ring.seal(clock::wall(), &self.context, nonce, plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let ring = self.keys.0.load();
        ring.open(clock::wall(), &self.context, cipher)
    }
}
