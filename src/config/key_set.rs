//! Keys for the verification of tokens, read from a secret, from PEM or from a JWKS. Each key has
//! its permitted algorithms, so that a public key is never used as the secret of an HS algorithm,
//! whatever a token's header names.

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

use crate::config::pem::Validity;

pub use jsonwebtoken::Algorithm;

/// Keys in one set at most.
const KEYS_MAX: usize = 256;
/// Minimum bytes of an HS secret: RFC 7518, section 3.2 requires the size of the hash.
pub const SECRET_BYTES_MIN: usize = 32;

/// Keys of one authenticator.
#[derive(Clone, Default, PartialEq)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// One key and what it is for.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    /// When the certificate that came with it ends. It says nothing about tokens: RFC 7517 leaves
    /// its meaning to the issuer.
    ends: Option<SystemTime>,
}

/// The text holds no keys that the gateway can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not PEM.
    #[error("it is not PEM")]
    NotPem,
    /// Something else in PEM.
    #[error("it holds {0}, which is not a public key; write it with `openssl pkey -pubout`")]
    NotPublic(&'static str),
    /// A public key that nothing here can use.
    #[error("it holds a key that is neither RSA nor P-256, P-384 or Ed25519")]
    Unsupported,
    /// Not a JWKS.
    #[error("it is not a JWKS: {0}")]
    NotJwks(&'static str),
    /// Nothing in it.
    #[error("it holds no key that signatures can be verified with")]
    Empty,
    /// Too much in it.
    #[error("it holds more than {KEYS_MAX} keys")]
    TooMany,
}

const HS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Algorithms by their names in tokens, `none` not among them.
pub const NAMES: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

/// Whether the algorithm signs with a shared secret.
pub fn is_symmetric(algorithm: Algorithm) -> bool {
    HS.contains(&algorithm)
}

impl Key {
    /// Whether this key is for `algorithm`.
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `signature` (base64url) is this key's for `message`.
    pub fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.is_for(algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm)
                .unwrap_or(false)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let same = match (self.key.kind(), other.key.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(other)) => {
                one == other
            }
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent {
                    n: other_n,
                    e: other_e,
                },
            ) => n == other_n && e == other_e,
            _ => false,
        };
        same && self.kid == other.kid && self.algorithms == other.algorithms
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {:?}", self.kid, self.algorithms)
    }
}

impl KeySet {
    /// One shared secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self {
            keys: vec![Key {
                kid: None,
                algorithms: HS.to_vec(),
                key: DecodingKey::from_secret(secret),
                ends: None,
            }],
        }
    }

    /// Public keys in PEM, one block or several.
    ///
    /// # Errors
    /// When a block is something else.
    pub fn pem(text: &str) -> Result<Self, KeyFault> {
        let mut keys = Vec::new();
        for block in pem_blocks(text)? {
            let bytes = block.text.as_bytes();
            let wrong = |_| KeyFault::Unsupported;
            let key = match block.label {
                "RSA PUBLIC KEY" => DecodingKey::from_rsa_pem(bytes).map_err(wrong)?,
                "PUBLIC KEY" => DecodingKey::from_rsa_pem(bytes)
                    .or_else(|_| DecodingKey::from_ec_pem(bytes))
                    .or_else(|_| DecodingKey::from_ed_pem(bytes))
                    .map_err(wrong)?,
                other => return Err(KeyFault::NotPublic(pem_noun(other))),
            };
            let algorithms = algorithms(&key).ok_or(KeyFault::Unsupported)?;
            keys.push(Key {
                kid: None,
                algorithms,
                key,
                ends: None,
            });
        }
        Self::of(keys)
    }

    /// The keys of a JWKS (RFC 7517) that verify signatures; others in it do not matter. Shared
    /// secrets are left out: a key set is public.
    ///
    /// # Errors
    /// When it is none, or holds no such key.
    pub fn jwks(text: &[u8]) -> Result<Self, KeyFault> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        let set: Jwks = serde_json::from_slice(text).map_err(|error| not_jwks(&error))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyFault::TooMany);
        }
        Self::of(set.keys.into_iter().filter_map(jwk).collect())
    }

    fn of(keys: Vec<Key>) -> Result<Self, KeyFault> {
        match keys.len() {
            0 => Err(KeyFault::Empty),
            1..=KEYS_MAX => Ok(Self { keys }),
            _ => Err(KeyFault::TooMany),
        }
    }

    /// The candidate keys of a token. Keys without an id match every token; a token without an id
    /// matches every key.
    pub fn candidates<'k>(
        &'k self,
        kid: Option<&'k str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'k Key> {
        self.keys.iter().filter(move |key| {
            let named = match (kid, key.kid.as_deref()) {
                (Some(wanted), Some(is)) => wanted == is,
                _ => true,
            };
            named && key.is_for(algorithm)
        })
    }

    /// Whether a key has this id, or none has one.
    pub fn knows(&self, kid: Option<&str>) -> bool {
        kid.is_none_or(|kid| {
            let mut keys = self.keys.iter();
            keys.any(|key| key.kid.as_deref().is_none_or(|is| is == kid))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// When the first certificate that came with a key ends.
    pub fn ends(&self) -> Option<SystemTime> {
        self.keys.iter().filter_map(|key| key.ends).min()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether one of them is for `algorithm`.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.is_for(algorithm))
    }
}

/// What a key without a word about it is for.
fn algorithms(key: &DecodingKey) -> Option<Vec<Algorithm>> {
    match (key.family(), key.kind()) {
        (AlgorithmFamily::Rsa, _) => Some(RSA.to_vec()),
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => match point.len() {
            65 => Some(vec![Algorithm::ES256]),
            97 => Some(vec![Algorithm::ES384]),
            _ => None,
        },
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(key)) if key.len() == 32 => {
            Some(vec![Algorithm::EdDSA])
        }
        _ => None,
    }
}

/// A key of a set, if it is one that verifies signatures.
fn jwk(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    // RFC 7517, section 4.3: a key that is for something else verifies nothing.
    let operations = jwk.common.key_operations.as_ref();
    if operations.is_some_and(|listed| !listed.contains(&KeyOperations::Verify)) {
        return None;
    }
    let key = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(ec)
            if !matches!(ec.curve, EllipticCurve::P256 | EllipticCurve::P384) =>
        {
            return None;
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve != EllipticCurve::Ed25519 => {
            return None;
        }
        AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) => return None,
        _ => DecodingKey::from_jwk(&jwk).ok()?,
    };
    let mut algorithms = algorithms(&key)?;
    if let Some(only) = jwk.common.key_algorithm {
        let only = Algorithm::try_from(only).ok()?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    (!algorithms.is_empty()).then_some(Key {
        ends: certificate_end(&jwk),
        kid: jwk.common.key_id,
        algorithms,
        key,
    })
}

/// When the first certificate of a key's `x5c` ends, if it has one.
fn certificate_end(jwk: &Jwk) -> Option<SystemTime> {
    let chain = jwk.common.x509_chain.as_ref()?;
    let der = STANDARD.decode(chain.first()?).ok()?;
    Validity::of(&der).map(|validity| validity.not_after)
}

/// What is wrong with a JWKS, without the parser's own words, which may quote it.
fn not_jwks(error: &serde_json::Error) -> KeyFault {
    use serde_json::error::Category;
    KeyFault::NotJwks(match error.classify() {
        Category::Data => "it is JSON without a list `keys`",
        Category::Eof => "it is JSON that is cut off",
        Category::Syntax | Category::Io => "it is not JSON",
    })
}

/// What a PEM block is, by its label. Other labels are not quoted: the file may hold anything.
fn pem_noun(label: &str) -> &'static str {
    match label {
        "CERTIFICATE" => "a certificate",
        "CERTIFICATE REQUEST" => "a certificate request",
        "ENCRYPTED PRIVATE KEY" => "an encrypted private key",
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "OPENSSH PRIVATE KEY" => {
            "a private key"
        }
        _ => "a PEM block of another kind",
    }
}

struct PemBlock<'t> {
    label: &'t str,
    text: &'t str,
}

/// The blocks of a PEM text; at least one.
fn pem_blocks(text: &str) -> Result<Vec<PemBlock<'_>>, KeyFault> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let block = &rest[at..];
        let label = &block[BEGIN.len()..];
        let label = &label[..label.find(DASHES).ok_or(KeyFault::NotPem)?];
        let end = format!("-----END {label}-----");
        let end = block.find(&end).ok_or(KeyFault::NotPem)? + end.len();
        let text = &block[..end];
        blocks.push(PemBlock { label, text });
        rest = &block[end..];
    }
    if blocks.is_empty() {
        return Err(KeyFault::NotPem);
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests;
