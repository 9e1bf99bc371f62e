//! The name of one session: 26 characters that sort by the time it began, unique without
//! coordination.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Crockford's base 32, as ULIDs use it: no letter that is mistaken for another.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_LEN: usize = 26;

/// 48 bits of milliseconds since 1970, then 80 random bits (the ULID layout), so ids sort by start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl SessionId {
    /// Puts an id together; the caller brings the time and the randomness (80 bits of it are used).
    pub fn new(unix_millis: u64, random: u128) -> Self {
        Self((u128::from(unix_millis) << 80) | (random & ((1 << 80) - 1)))
    }

    /// The id as text, without an allocation.
    pub fn encode(self) -> [u8; TEXT_LEN] {
        let mut text = [0; TEXT_LEN];
        for (place, byte) in text.iter_mut().rev().enumerate() {
            let digit = (self.0 >> (5 * place)) & 31;
            *byte = ALPHABET[usize::try_from(digit).expect("five bits fit")];
        }
        text
    }
}

/// The text is not 26 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 26 characters of 0-9 and A-Z without I, L, O and U")]
pub struct NotASessionId;

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        let bytes = text.as_bytes();
        // The first character carries three bits only: 26 * 5 is 130.
        if bytes.len() != TEXT_LEN || !(b'0'..=b'7').contains(&bytes[0]) {
            return Err(NotASessionId);
        }
        let mut id = 0_u128;
        for byte in bytes {
            let upper = byte.to_ascii_uppercase();
            let digit = ALPHABET
                .iter()
                .position(|letter| *letter == upper)
                .ok_or(NotASessionId)?;
            id = (id << 5) | digit as u128;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.encode()).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_id_are_one_to_one_and_sort_alike() {
        let ids = [
            SessionId::new(0, 0),
            SessionId::new(1, u128::MAX),
            SessionId::new(2, 0),
            SessionId::new((1 << 48) - 1, 7),
        ];
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
        let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
        assert!(ids.is_sorted() && texts.is_sorted(), "{texts:?}");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "short",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "0000000000000000000000000U",
            "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
        ] {
            assert_eq!(text.parse::<SessionId>(), Err(NotASessionId), "{text}");
        }
    }
}
