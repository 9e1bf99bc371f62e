//! Ticket keys on their way from one process to the next: a few hundred bytes that are erased after
//! use. Each set is a count, then for each key its secret and the time from which it seals.

use zeroize::Zeroizing;

use crate::base::ticket_secret::{SECRET_BYTES, SECRETS_MAX, TicketSecret};
use crate::core::ticket_keys::{KeySet, TicketKey};

/// The version of this form.
const FORM: u8 = 1;
const KEY_BYTES: usize = SECRET_BYTES + 8;

/// The keys that one process leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedKeys {
    /// Those that it made itself.
    pub random: Option<KeySet>,
    /// Those of the fleet, to begin with.
    pub etcd: Option<KeySet>,
}

impl HandedKeys {
    /// Writes them.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + 2 * (1 + SECRETS_MAX * KEY_BYTES)));
        bytes.push(FORM);
        for set in [&self.random, &self.etcd] {
            let keys = set.as_ref().map(KeySet::keys).unwrap_or_default();
            bytes.push(u8::try_from(keys.len()).expect("a set is small"));
            for key in keys {
                bytes.extend_from_slice(key.secret.reveal());
                bytes.extend_from_slice(&key.seals_from.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads them; `None` for bytes that are something else, such as those of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (form, mut rest) = bytes.split_first()?;
        if *form != FORM {
            return None;
        }
        let random = take_set(&mut rest)?;
        let etcd = take_set(&mut rest)?;
        rest.is_empty().then_some(Self { random, etcd })
    }
}

fn take_set(rest: &mut &[u8]) -> Option<Option<KeySet>> {
    let (count, after) = rest.split_first()?;
    let (keys, after) = after.split_at_checked(usize::from(*count) * KEY_BYTES)?;
    *rest = after;
    if *count == 0 {
        return Some(None);
    }
    let keys = keys.chunks_exact(KEY_BYTES).map(|key| {
        let (secret, seals_from) = key.split_at(SECRET_BYTES);
        Some(TicketKey {
            secret: TicketSecret::new(secret.try_into().ok()?),
            seals_from: u64::from_be_bytes(seals_from.try_into().ok()?),
        })
    });
    KeySet::new(keys.collect::<Option<_>>()?).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written_and_nothing_else_is() {
        let set = |byte| {
            let key = |byte, seals_from| TicketKey {
                secret: TicketSecret::new([byte; SECRET_BYTES]),
                seals_from,
            };
            KeySet::new(vec![key(byte, 1), key(byte + 1, 1 << 40)]).ok()
        };
        for (random, etcd) in [(set(1), set(3)), (set(1), None), (None, None)] {
            let handed = HandedKeys { random, etcd };
            let bytes = handed.to_bytes();
            assert_eq!(HandedKeys::from_bytes(&bytes), Some(handed));
            for end in 0..bytes.len() {
                assert_eq!(HandedKeys::from_bytes(&bytes[..end]), None, "cut at {end}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(HandedKeys::from_bytes(&longer), None);
        }
        assert_eq!(HandedKeys::from_bytes(&[2, 0, 0]), None, "another version");
        assert_eq!(HandedKeys::from_bytes(&[1, 255, 0]), None, "too many");
    }
}
