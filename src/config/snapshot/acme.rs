//! `tls.acme`, checked.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// A certificate that the gateway orders and renews. Equal settings share one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Canonical names, at least one; the first is shown.
    pub names: Vec<Arc<str>>,
    /// The authority's directory.
    pub directory: Arc<str>,
    /// Roots of the directory's server. Default: the system's.
    pub ca: Option<PathBuf>,
    /// URLs of the operator.
    pub contact: Vec<Arc<str>>,
    /// How names are verified.
    pub challenge: AcmeChallenge,
    /// An account that the authority knows, with its key.
    pub external_account: Option<(Arc<str>, Secret)>,
}

/// How an authority verifies that a name leads to this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AcmeChallenge {
    /// By a TLS handshake at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a request at port 80 (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
}
