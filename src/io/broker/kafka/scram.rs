//! SCRAM (RFC 5802, RFC 7677) as Kafka speaks it: the server learns no password, and proves that it
//! knows the user, too. What it sends is bounded, since it may not be the server.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::snapshot::SaslMechanism;

/// The least that RFC 7677 allows, and more than servers use: a higher number would only cost time.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=65_536;
const SALT_MAX: usize = 256;
const NONCE_MAX: usize = 256;
/// `n,,` in base64: the client supports no channel binding.
const CHANNEL: &str = "biws";

/// The hash of a mechanism.
#[derive(Clone, Copy)]
pub(super) struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

impl Hash {
    /// `None` for a mechanism that is no SCRAM.
    pub(super) fn of(mechanism: SaslMechanism) -> Option<Self> {
        match mechanism {
            SaslMechanism::Plain => None,
            SaslMechanism::ScramSha256 => Some(Self {
                digest: &digest::SHA256,
                hmac: hmac::HMAC_SHA256,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
            }),
            SaslMechanism::ScramSha512 => Some(Self {
                digest: &digest::SHA512,
                hmac: hmac::HMAC_SHA512,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
            }),
        }
    }

    fn sign(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac, key), text)
    }
}

/// The first message was sent.
pub(super) struct First {
    hash: Hash,
    nonce: String,
    bare: String,
}

/// The proof was sent.
pub(super) struct Proof {
    /// As it is sent.
    pub(super) message: String,
    signature: hmac::Tag,
}

impl First {
    /// Begins a sign-in; `nonce` is random and used once.
    pub(super) fn new(hash: Hash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { hash, nonce, bare }
    }

    /// As it is sent.
    pub(super) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The proof, from what the server answered; `None` if that is no answer to this.
    pub(super) fn prove(self, answer: &str, password: &str) -> Option<Proof> {
        let mut fields = answer.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = fields.next()?.strip_prefix("s=")?;
        let iterations = fields.next()?.strip_prefix("i=")?;
        let fresh = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if !fresh || nonce.len() > NONCE_MAX || salt.len() > SALT_MAX {
            return None;
        }
        let salt = STANDARD.decode(salt).ok()?;
        let iterations: u32 = iterations.parse().ok()?;
        let iterations = Some(iterations).filter(|count| ITERATIONS.contains(count))?;
        let mut salted = Zeroizing::new(vec![0; self.hash.digest.output_len()]);
        let iterations = NonZeroU32::new(iterations)?;
        let password = password.as_bytes();
        pbkdf2::derive(self.hash.pbkdf2, iterations, &salt, password, &mut salted);
        let end = format!("c={CHANNEL},r={nonce}");
        let signed = format!("{},{answer},{end}", self.bare);
        let client_key = self.hash.sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest, client_key.as_ref());
        let by_client = self.hash.sign(stored_key.as_ref(), signed.as_bytes());
        let proof = client_key.as_ref().iter().zip(by_client.as_ref());
        let proof: Vec<u8> = proof.map(|(key, signature)| key ^ signature).collect();
        let server_key = self.hash.sign(&salted, b"Server Key");
        Some(Proof {
            message: format!("{end},p={}", STANDARD.encode(proof)),
            signature: self.hash.sign(server_key.as_ref(), signed.as_bytes()),
        })
    }
}

impl Proof {
    /// Whether the server has shown that it knows the user.
    pub(super) fn is_answered_by(&self, answer: &str) -> bool {
        let first = answer.split(',').next().unwrap_or_default();
        let signature = first.strip_prefix("v=").map(|text| STANDARD.decode(text));
        matches!(signature, Some(Ok(signature)) if signature == self.signature.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const ANSWER: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const END: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn first(user: &str) -> First {
        let hash = Hash::of(SaslMechanism::ScramSha256).expect("a hash");
        First::new(hash, user, NONCE.to_owned())
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_spoken() {
        let first = first("user");
        assert_eq!(first.message(), format!("n,,n=user,r={NONCE}"));
        let proof = first.prove(ANSWER, "pencil").expect("an answer");
        assert_eq!(proof.message, PROOF);
        assert!(proof.is_answered_by(END));
        for other in ["", "v=", "e=other-error", &END.replace("6rri", "6rrj")] {
            assert!(!proof.is_answered_by(other), "{other}");
        }
        assert!(first_of("a=b,c").starts_with("n,,n=a=3Db=2Cc,r="));
    }

    fn first_of(user: &str) -> String {
        first(user).message()
    }

    #[test]
    fn i12_answers_of_a_false_server_are_refused() {
        let long = format!("r={NONCE}{},s=AAAA,i=4096", "x".repeat(NONCE_MAX));
        let salt = format!("r={NONCE}x,s={},i=4096", "A".repeat(SALT_MAX + 4));
        for answer in [
            "",
            "e=unknown-user",
            "r=other,s=AAAA,i=4096",
            &format!("r={NONCE},s=AAAA,i=4096"),
            &format!("r={NONCE}x,s=AAAA,i=4095"),
            &format!("r={NONCE}x,s=AAAA,i=65537"),
            &format!("r={NONCE}x,s=AAAA,i=-1"),
            &format!("r={NONCE}x,s=?,i=4096"),
            &format!("s=AAAA,r={NONCE}x,i=4096"),
            &long,
            &salt,
        ] {
            assert!(first("user").prove(answer, "pencil").is_none(), "{answer}");
        }
    }
}
