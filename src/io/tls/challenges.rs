//! What a certificate authority that verifies names is answered: by a certificate in a TLS
//! handshake (RFC 8737), by a text over HTTP (RFC 8555, section 8.3). The control plane replaces
//! the answers; handshakes and requests read them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, version};
use serde::{Deserialize, Serialize};

use crate::io::tls::provider;
use crate::io::tls::secrets::SecretSlot;

/// The protocol of these handshakes, as ALPN names it. Nothing is spoken over it.
pub const ALPN_ACME: &[u8] = b"acme-tls/1";
/// Challenges at once: names of a certificate, for the certificates of a fleet.
const ANSWERS_MAX: usize = 1_000;
/// Bytes of a token or of a name.
const TEXT_MAX: usize = 256;

/// The answer to one challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    /// The name that is verified.
    pub name: String,
    /// The authority's token.
    pub token: String,
    /// Token and thumbprint of the account's key: what HTTP answers, and what the certificate has
    /// the hash of.
    pub key_authorization: String,
}

impl ChallengeAnswer {
    /// Whether its texts are such as an authority sends.
    pub fn is_plausible(&self) -> bool {
        let short = |text: &str| (1..=TEXT_MAX).contains(&text.len());
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let thumbprint = self.key_authorization.strip_prefix(&self.token);
        let thumbprint = thumbprint.and_then(|rest| rest.strip_prefix('.'));
        short(&self.name)
            && short(&self.token)
            && self.token.bytes().all(letter)
            && thumbprint.is_some_and(|text| short(text) && text.bytes().all(letter))
    }
}

/// The answers in force, and by whom they were put there.
#[derive(Debug, Default)]
pub struct Challenges {
    answers: ArcSwap<Answers>,
    owners: Mutex<BTreeMap<String, Vec<ChallengeAnswer>>>,
}

#[derive(Debug, Default)]
struct Answers {
    /// For these the gateway alone answers over HTTP.
    names: BTreeSet<Arc<str>>,
    http: HashMap<String, ChallengeAnswer>,
    tls: HashMap<String, Arc<ServerConfig>>,
}

impl Challenges {
    /// Answers for these names, none yet.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let answers = Answers {
            names: names.into_iter().collect(),
            ..Answers::default()
        };
        Self {
            answers: ArcSwap::from_pointee(answers),
            owners: Mutex::default(),
        }
    }

    /// Puts these answers in the place of those that `owner` has given before. Those for other
    /// names, and those that are no answers, are left out.
    pub fn replace(&self, owner: &str, answers: Vec<ChallengeAnswer>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let before = owners.get(owner).map_or(&[][..], Vec::as_slice);
        if before == answers {
            return;
        }
        owners.insert(owner.to_owned(), answers);
        let mut made = Answers {
            names: self.answers.load().names.clone(),
            ..Answers::default()
        };
        for answer in owners.values().flatten().take(ANSWERS_MAX) {
            let name = answer.name.as_str();
            if !made.names.contains(name) || !answer.is_plausible() {
                continue;
            }
            match config(answer) {
                Ok(config) => drop(made.tls.insert(answer.name.clone(), config)),
                Err(error) => tracing::error!(name, %error, "no challenge certificate"),
            }
            made.http.insert(answer.token.clone(), answer.clone());
        }
        self.answers.store(Arc::new(made));
    }

    /// Whether the gateway alone answers challenges over HTTP for this name.
    pub fn owns(&self, name: &str) -> bool {
        self.answers.load().names.contains(name)
    }

    /// What the authority reads over HTTP under this token, for this name.
    pub fn over_http(&self, name: &str, token: &str) -> Option<String> {
        let answers = self.answers.load();
        let answer = answers
            .http
            .get(token)
            .filter(|answer| answer.name == name)?;
        Some(answer.key_authorization.clone())
    }

    /// The configuration of a handshake that is a challenge: one that offers its protocol alone,
    /// for a name that is being verified.
    pub(super) fn config_for(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        let alone = offered.next() == Some(ALPN_ACME) && offered.next().is_none();
        let name = hello.server_name().filter(|_| alone)?;
        let answers = self.answers.load();
        answers.tls.get(&name.to_ascii_lowercase()).map(Arc::clone)
    }
}

/// A reason in rcgen's or rustls' words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoConfig(String);

/// A configuration whose certificate is for this name alone and has the hash of the answer.
fn config(answer: &ChallengeAnswer) -> Result<Arc<ServerConfig>, NoConfig> {
    let fault = |error: &dyn std::fmt::Display| NoConfig(error.to_string());
    let hash = digest(&SHA256, answer.key_authorization.as_bytes());
    let params = CertificateParams::new(vec![answer.name.clone()]);
    let mut params = params.map_err(|error| fault(&error))?;
    let extension = CustomExtension::new_acme_identifier(hash.as_ref());
    params.custom_extensions.push(extension);
    let key = KeyPair::generate().map_err(|error| fault(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| fault(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| fault(&error))?;
    // Not rustls' own check of the pair, which refuses the extension.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| fault(&error))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![ALPN_ACME.to_vec()];
    config.send_tls13_tickets = 0;
    // As for every other handshake: the gateway's own records follow it.
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(SecretSlot);
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, token: &str) -> ChallengeAnswer {
        ChallengeAnswer {
            name: name.to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.thumb-print"),
        }
    }

    #[test]
    fn only_names_of_the_gateway_are_answered_for() {
        let challenges = Challenges::new(["a.test".into()]);
        challenges.replace("one", vec![answer("a.test", "t1"), answer("b.test", "t2")]);
        challenges.replace("two", vec![answer("a.test", "t3")]);
        assert!(challenges.over_http("a.test", "t3").is_some());
        let shown = challenges.over_http("a.test", "t1");
        assert_eq!(shown.as_deref(), Some("t1.thumb-print"));
        assert_eq!(challenges.over_http("b.test", "t2"), None);
        assert_eq!(
            challenges.over_http("b.test", "t1"),
            None,
            "of another name"
        );
        assert!(challenges.owns("a.test") && !challenges.owns("b.test"));
        challenges.replace("one", Vec::new());
        assert_eq!(challenges.over_http("a.test", "t1"), None);
    }

    #[test]
    fn i12_what_is_no_answer_is_left_out() {
        let bad = [
            ChallengeAnswer {
                key_authorization: "t1.<script>".to_owned(),
                ..answer("a.test", "t1")
            },
            ChallengeAnswer {
                key_authorization: "t2.thumb".to_owned(),
                ..answer("a.test", "t1")
            },
            answer("a.test", "../x"),
            answer("a.test", ""),
            answer("a.test", &"t".repeat(TEXT_MAX + 1)),
        ];
        for one in bad {
            assert!(!one.is_plausible(), "{one:?}");
            let challenges = Challenges::new(["a.test".into()]);
            let token = one.token.clone();
            challenges.replace("one", vec![one]);
            assert_eq!(challenges.over_http("a.test", &token), None);
        }
    }
}
