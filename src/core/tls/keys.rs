//! The keys of one half of a connection, and how they change.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroize as _;

use crate::core::tls::error::Unfit;
use crate::core::tls::suite::{Suite, Version};

/// Bytes of the longest key.
const KEY_MAX: usize = 32;
/// Bytes of the longest traffic secret.
const SECRET_MAX: usize = 48;
/// `HkdfLabel` without its label: two lengths and an empty context.
const LABEL_PREFIX: &[u8] = b"tls13 ";

/// What one half of a handshake came to.
#[derive(Clone, Copy)]
pub struct HalfKeys<'a> {
    /// The key of the cipher.
    pub key: &'a [u8],
    /// The initialization vector: with AES-GCM of TLS 1.2 its fixed part, then the first explicit
    /// nonce.
    pub iv: &'a [u8],
    /// Records that the key has sealed so far.
    pub sequence: u64,
    /// The traffic secret of TLS 1.3.
    pub secret: Option<&'a [u8]>,
}

/// The keys of one half. Zeroised when dropped.
#[derive(Clone)]
pub(super) struct Keys {
    key: [u8; KEY_MAX],
    iv: [u8; NONCE_LEN],
    secret: [u8; SECRET_MAX],
    /// Number of the next record.
    sequence: u64,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
        self.secret.zeroize();
    }
}

impl fmt::Debug for Keys {
    /// Without the keys (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of a handshake that this process ran. rustls derived key and initialization vector
    /// from the secret; deriving them again would cost four HMACs in each handshake.
    pub(super) fn new(suite: Suite, version: Version, half: HalfKeys<'_>) -> Result<Self, Unfit> {
        let mut keys = Self {
            key: [0; KEY_MAX],
            iv: [0; NONCE_LEN],
            secret: [0; SECRET_MAX],
            sequence: half.sequence,
        };
        if half.key.len() != suite.key_bytes() || half.iv.len() != NONCE_LEN {
            return Err(Unfit::Length);
        }
        if version == Version::V1_3 {
            let secret = half.secret.ok_or(Unfit::NoSecret)?;
            if secret.len() != suite.secret_bytes() {
                return Err(Unfit::Length);
            }
            keys.secret[..secret.len()].copy_from_slice(secret);
        }
        keys.key[..half.key.len()].copy_from_slice(half.key);
        keys.iv.copy_from_slice(half.iv);
        Ok(keys)
    }

    /// Keys that another process has sent, which must belong to their secret.
    pub(super) fn received(
        suite: Suite,
        version: Version,
        half: HalfKeys<'_>,
    ) -> Result<Self, Unfit> {
        let keys = Self::new(suite, version, half)?;
        if version == Version::V1_3 && !keys.are_of_their_secret(suite) {
            return Err(Unfit::Mismatch);
        }
        Ok(keys)
    }

    fn are_of_their_secret(&self, suite: Suite) -> bool {
        let mut derived = self.clone();
        derived.derive(suite);
        derived.key == self.key && derived.iv == self.iv
    }

    /// Key and initialization vector, which vectors of the RFC name.
    #[cfg(test)]
    pub(super) fn of_secret(suite: Suite, secret: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut keys = Self {
            key: [0; KEY_MAX],
            iv: [0; NONCE_LEN],
            secret: [0; SECRET_MAX],
            sequence: 0,
        };
        keys.secret[..secret.len()].copy_from_slice(secret);
        keys.derive(suite);
        (keys.key[..suite.key_bytes()].to_vec(), keys.iv.to_vec())
    }

    /// Number of the next record.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What distinguishes this key from others.
    #[cfg(test)]
    pub(super) fn generation(&self) -> Vec<u8> {
        self.key.to_vec()
    }

    /// Takes the number of the next record; no other record gets it.
    pub(super) const fn advance(&mut self) -> u64 {
        let number = self.sequence;
        self.sequence += 1;
        number
    }

    /// The context of the cipher. It costs about 100 ns to make.
    pub(super) fn context(&self, suite: Suite) -> LessSafeKey {
        let key = UnboundKey::new(suite.algorithm(), &self.key[..suite.key_bytes()]);
        LessSafeKey::new(key.expect("the key has the length of its cipher"))
    }

    /// The nonce of a record: its number, added to the initialization vector without carry (RFC
    /// 8446, section 5.3; RFC 7905, section 2).
    pub(super) fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// The part of the initialization vector that no record carries (RFC 5288, section 3).
    pub(super) fn fixed_iv(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.iv;
        [a, b, c, d]
    }

    /// The next generation of keys (RFC 8446, section 7.2).
    pub(super) fn update(&mut self, suite: Suite) {
        let mut next = [0; SECRET_MAX];
        let bytes = suite.secret_bytes();
        self.expand(suite, b"traffic upd", &mut next[..bytes]);
        self.secret = next;
        next.zeroize();
        self.derive(suite);
        self.sequence = 0;
    }

    /// Key and initialization vector of the secret (RFC 8446, section 7.3).
    fn derive(&mut self, suite: Suite) {
        let mut key = [0; KEY_MAX];
        self.expand(suite, b"key", &mut key[..suite.key_bytes()]);
        let mut iv = [0; NONCE_LEN];
        self.expand(suite, b"iv", &mut iv);
        self.key = key;
        self.iv = iv;
        key.zeroize();
        iv.zeroize();
    }

    /// `HKDF-Expand-Label` with an empty context (RFC 8446, section 7.1).
    fn expand(&self, suite: Suite, label: &[u8], out: &mut [u8]) {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let bytes = u16::try_from(out.len()).expect("a key is short");
        let name = u8::try_from(LABEL_PREFIX.len() + label.len()).expect("a label is short");
        let (bytes, name) = (bytes.to_be_bytes(), [name]);
        let info: [&[u8]; 5] = [&bytes, &name, LABEL_PREFIX, label, &[0]];
        let secret = &self.secret[..suite.secret_bytes()];
        let secret = hkdf::Prk::new_less_safe(suite.hash(), secret);
        let expanded = secret.expand(&info, Length(out.len()));
        let filled = expanded.and_then(|expanded| expanded.fill(out));
        filled.expect("a key is shorter than HKDF's bound");
    }

    /// All of it, for another process.
    pub(super) fn write(&self, suite: Suite, version: Version, out: &mut Vec<u8>) {
        out.extend(self.sequence.to_be_bytes());
        out.extend(&self.key[..suite.key_bytes()]);
        out.extend(self.iv);
        if version == Version::V1_3 {
            out.extend(&self.secret[..suite.secret_bytes()]);
        }
    }
}

/// Additional data of a record of TLS 1.2 (RFC 5246, section 6.2.3.3).
pub(super) fn additional(number: u64, kind: u8, bytes: usize) -> Aad<[u8; 13]> {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&number.to_be_bytes());
    data[8..].copy_from_slice(&super::header::write(kind, bytes));
    Aad::from(data)
}

/// A nonce for aws-lc-rs.
pub(super) fn nonce(bytes: [u8; NONCE_LEN]) -> Nonce {
    Nonce::assume_unique_for_key(bytes)
}
