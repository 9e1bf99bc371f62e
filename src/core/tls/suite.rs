//! What a handshake settles: roles, versions and ciphers.

use aws_lc_rs::{aead, hkdf};

/// Which end of the connection this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It began the handshake.
    Client,
    /// It answered the handshake.
    Server,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246, with AEAD ciphers only.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// The cipher of a connection. With TLS 1.3 it settles the hash, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// `TLS_AES_128_GCM_SHA256`, and the suites of TLS 1.2 with this cipher.
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384`, likewise.
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256`, likewise.
    Chacha20Poly1305,
}

/// Records that one key of AES-GCM may seal: 2^24.5 (RFC 8446, section 5.5), rounded down.
const GCM_RECORDS_MAX: u64 = 1 << 24;

impl Suite {
    /// The cipher.
    pub(super) fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// Bytes of its key.
    pub(super) const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }

    /// The hash of the suite of TLS 1.3.
    pub(super) const fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128Gcm | Self::Chacha20Poly1305 => hkdf::HKDF_SHA256,
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }

    /// Bytes of a traffic secret, which are those of the hash.
    pub(super) const fn secret_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Chacha20Poly1305 => 32,
            Self::Aes256Gcm => 48,
        }
    }

    /// Records that one key may seal.
    pub(super) const fn records_max(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => GCM_RECORDS_MAX,
            Self::Chacha20Poly1305 => u64::MAX,
        }
    }

    /// Whether a record of TLS 1.2 carries a part of its nonce (RFC 5288, section 3).
    pub(super) const fn has_explicit_nonce(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes256Gcm)
    }
}
