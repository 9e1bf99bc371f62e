//! `tls.acme` of a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::SecretSource;

pub use crate::config::snapshot::AcmeChallenge;

/// A certificate that the gateway orders and renews by itself (ACME, RFC 8555).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Required. The names of the certificate, each of which must lead to this gateway.
    pub names: Vec<String>,
    /// Required. `true` accepts the authority's terms of service; they are linked in its directory.
    pub terms_accepted: bool,
    /// The authority's directory. Default: Let's Encrypt.
    pub directory: String,
    /// PEM file with the roots that the directory's server is verified by. Default: the system's.
    pub ca: Option<String>,
    /// Where the authority reaches the operator: `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// How the authority verifies the names: `tls-alpn-01` at port 443, by TLS listeners, or
    /// `http-01` at port 80, by listeners without TLS.
    pub challenge: AcmeChallenge,
    /// Binds the account to one that the authority knows already, for authorities that ask for it.
    pub external_account: Option<ExternalAccount>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            terms_accepted: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            ca: None,
            contact: Vec::new(),
            challenge: AcmeChallenge::TlsAlpn01,
            external_account: None,
        }
    }
}

/// An account that the authority knows.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalAccount {
    /// Required. Its key identifier.
    pub id: Option<String>,
    /// Required. Its HMAC key in base64url.
    pub secret: Option<SecretSource>,
}
