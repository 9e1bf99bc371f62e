//! The secret that a key of TLS tickets is derived from: 32 random bytes, erased from memory when
//! they are dropped, and never shown (I11).

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::base::text::hex;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;
/// Secrets of one source at most.
pub const SECRETS_MAX: usize = 16;
/// Characters of a secret in base64.
const TEXT_BYTES: usize = 44;

/// The secret of a ticket key. `Debug` does not show it, and it is not `Serialize`: where it has to
/// be written, [`TicketSecret::to_base64`] is called by name.
#[derive(Clone)]
pub struct TicketSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl TicketSecret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads 32 bytes in base64; `None` if the text is anything else.
    pub fn from_base64(text: &str) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let mut bytes = Zeroizing::new([0; TEXT_BYTES]);
        let read = STANDARD.decode_slice(text, &mut *bytes).ok()?;
        let secret = bytes[..read].try_into().ok()?;
        Some(Self(Zeroizing::new(secret)))
    }

    /// The secret in base64, for a place that only gateways read.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// The bytes, for the one place that derives keys from them.
    pub fn reveal(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// A short name that does not disclose the secret, for the log.
    pub fn fingerprint(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"sessile ticket key fingerprint");
        hash.update(&*self.0);
        let hash = hash.finish();
        hex(&hash.as_ref()[..4])
    }
}

impl PartialEq for TicketSecret {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&*self.0, &*other.0).is_ok()
    }
}

impl Eq for TicketSecret {}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_in_base64_and_only_whole() {
        let secret = TicketSecret::new([7; 32]);
        let text = secret.to_base64();
        assert_eq!(text.len(), TEXT_BYTES);
        assert_eq!(TicketSecret::from_base64(&text), Some(secret));
        for bad in ["", "AAAA", &text[1..], &format!("{}!", &text[..43])] {
            assert_eq!(TicketSecret::from_base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn i11_a_ticket_secret_never_shows() {
        let secret = TicketSecret::new([0x41; 32]);
        let shown = format!("{secret:?} {}", secret.fingerprint());
        let base64 = secret.to_base64();
        assert!(
            !shown.contains("AAAA") && !shown.contains("4141"),
            "{shown}"
        );
        assert!(!shown.contains(base64.as_str()), "{shown}");
        let mut other = [0x41; 32];
        other[0] = 0;
        assert_ne!(secret.fingerprint(), TicketSecret::new(other).fingerprint());
    }
}
