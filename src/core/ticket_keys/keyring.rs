//! Seals and opens tickets with AES-256-GCM.
//!
//! A ticket is the id of its key, a nonce, and the sealed bytes with their tag. Key and id are
//! derived from the secret, so that the id discloses nothing. The context is authenticated with it:
//! a ticket opens only where the same is asked of clients as where it was sealed. Nonces are
//! random: at ten thousand tickets a second, a key that seals for
//! [`SEALS_FOR`](super::SEALS_FOR) stays below the 2^32 that NIST SP 800-38D (section 8.3) allows.
//!
//! A forged ticket costs a comparison with the ids of the keys, and at most one decryption of a
//! bounded length.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;

use crate::base::clock;
use crate::base::ticket_secret::TicketSecret;
use crate::core::ticket_keys::key_set::KeySet;

const ID_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// Bytes of a nonce, which the caller draws at random for each ticket.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a ticket at most. It holds the client's certificates; a longer one is not made, and not
/// opened.
pub const TICKET_BYTES_MAX: usize = 16 << 10;

/// The keys in force, ready for use.
pub struct Keyring {
    set: KeySet,
    prepared: Vec<Prepared>,
    /// Keys that open and never seal.
    also: Vec<Prepared>,
}

struct Prepared {
    id: [u8; ID_BYTES],
    key: LessSafeKey,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.prepared.len())
            .field("also", &self.also.len())
            .finish()
    }
}

impl Prepared {
    fn new(secret: &TicketSecret) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal());
        let derive = |what: &str| hmac::sign(&secret, what.as_bytes());
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&derive("sessile ticket key id 1").as_ref()[..ID_BYTES]);
        let key = derive("sessile ticket key 1");
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("HMAC-SHA256 has 32 bytes");
        Self {
            id,
            key: LessSafeKey::new(key),
        }
    }

    fn seal(&self, context: &[u8], nonce: [u8; NONCE_BYTES], plain: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = Vec::with_capacity(overhead() + plain.len());
        ticket.extend_from_slice(&self.id);
        ticket.extend_from_slice(&nonce);
        let mut sealed = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(context), &mut sealed);
        ticket.extend_from_slice(&sealed);
        ticket.extend_from_slice(tag.ok()?.as_ref());
        Some(ticket)
    }

    fn open(&self, context: &[u8], nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(context), &mut bytes);
        let length = plain.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

const fn overhead() -> usize {
    ID_BYTES + NONCE_BYTES + TAG_BYTES
}

impl Keyring {
    /// Prepares the keys of a set; those of `also` open beside them, whatever the time.
    pub fn new(set: KeySet, also: &[TicketSecret]) -> Self {
        Self {
            prepared: set
                .keys()
                .iter()
                .map(|key| Prepared::new(&key.secret))
                .collect(),
            also: also.iter().map(Prepared::new).collect(),
            set,
        }
    }

    /// The set that it was made from.
    pub fn set(&self) -> &KeySet {
        &self.set
    }

    /// A ticket of these bytes; `None` if it would be too long.
    pub fn seal(
        &self,
        now: SystemTime,
        context: &[u8],
        nonce: [u8; NONCE_BYTES],
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        if overhead() + plain.len() > TICKET_BYTES_MAX {
            return None;
        }
        let place = self.set.sealing(clock::unix_millis(now));
        self.prepared.get(place)?.seal(context, nonce, plain)
    }

    /// What a ticket holds; `None` if no key opens it.
    pub fn open(&self, now: SystemTime, context: &[u8], ticket: &[u8]) -> Option<Vec<u8>> {
        if !(overhead()..=TICKET_BYTES_MAX).contains(&ticket.len()) {
            return None;
        }
        let now = clock::unix_millis(now);
        let (id, rest) = ticket.split_at(ID_BYTES);
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let own = self.prepared.iter().enumerate();
        let own = own.filter(|(place, key)| key.id == id && self.set.opens(*place, now));
        let also = self.also.iter().filter(|key| key.id == id);
        let key = own.map(|(_, key)| key).chain(also).next()?;
        key.open(context, nonce, sealed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::core::ticket_keys::key_set::TicketKey;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 * 3600 + hours * 3600)
    }

    fn secret(byte: u8) -> TicketSecret {
        TicketSecret::new([byte; 32])
    }

    /// Keys whose first bytes seal from these hours on.
    fn ring(keys: &[(u8, u64)], also: &[u8]) -> Keyring {
        let keys = keys.iter().map(|(byte, from)| TicketKey {
            secret: secret(*byte),
            seals_from: clock::unix_millis(at(*from)),
        });
        let also: Vec<_> = also.iter().map(|byte| secret(*byte)).collect();
        Keyring::new(KeySet::new(keys.collect()).expect("a set"), &also)
    }

    const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

    #[test]
    fn a_ticket_opens_with_its_key_in_its_context_as_long_as_the_key_opens() {
        let ring = ring(&[(1, 0), (2, 6)], &[]);
        let ticket = ring.seal(at(0), b"edge", NONCE, b"state").expect("short");
        let open = |hours| ring.open(at(hours), b"edge", &ticket);
        assert_eq!(open(0).as_deref(), Some(&b"state"[..]));
        assert_eq!(open(17).as_deref(), Some(&b"state"[..]));
        assert_eq!(open(18), None, "the key has ended");
        assert_eq!(ring.open(at(0), b"other", &ticket), None);
        let next = ring.seal(at(6), b"edge", NONCE, b"state").expect("short");
        assert_ne!(ticket[..ID_BYTES], next[..ID_BYTES]);
        assert!(
            ring.open(at(0), b"edge", &next).is_some(),
            "a clock that is behind"
        );
    }

    #[test]
    fn gateways_with_the_same_secrets_open_the_tickets_of_one_another() {
        let ticket = ring(&[(1, 0)], &[]).seal(at(1), b"edge", NONCE, b"x");
        let ticket = ticket.expect("short");
        let opens = |ring: &Keyring| ring.open(at(1), b"edge", &ticket).is_some();
        assert!(opens(&ring(&[(3, 0), (1, 100)], &[])));
        assert!(opens(&ring(&[(3, 0)], &[1])));
        assert!(!opens(&ring(&[(3, 0)], &[2])));
    }

    #[test]
    fn i8_long_tickets_are_neither_made_nor_opened() {
        let ring = ring(&[(1, 0)], &[]);
        let most = TICKET_BYTES_MAX - overhead();
        assert!(ring.seal(at(0), b"", NONCE, &vec![0; most]).is_some());
        assert!(ring.seal(at(0), b"", NONCE, &vec![0; most + 1]).is_none());
        let mut long = ring.seal(at(0), b"", NONCE, &vec![0; most]).expect("fits");
        long.push(0);
        assert_eq!(ring.open(at(0), b"", &long), None);
    }

    #[test]
    fn i11_the_ring_shows_no_key() {
        let shown = format!("{:?}", ring(&[(0x41, 0)], &[0x42]));
        assert_eq!(shown, "Keyring { keys: 1, also: 1 }");
    }

    proptest! {
        #[test]
        fn i12_no_forged_ticket_opens(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
        ) {
            let ring = ring(&[(1, 0), (2, 6)], &[3]);
            prop_assert_eq!(ring.open(at(1), b"edge", &bytes), None);
            // The right id in front of anything.
            bytes.splice(0..0, ring.prepared[0].id);
            prop_assert_eq!(ring.open(at(1), b"edge", &bytes), None);
            let mut ticket = ring.seal(at(1), b"edge", NONCE, b"state").expect("short");
            let at_byte = flip.index(ticket.len());
            ticket[at_byte] ^= 1;
            prop_assert_eq!(ring.open(at(1), b"edge", &ticket), None);
        }
    }
}
