//! Authenticators and what routes say about them, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::base::names::AuthenticatorName;
use crate::config::expression::{ClaimPath, Expression};
use crate::config::key_set::{Algorithm, KeySet};

/// An `[authenticators.<name>]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticator {
    /// Its key.
    pub name: AuthenticatorName,
    /// Where its credential may be; the first that is there counts.
    pub from: Vec<CredentialSource>,
    /// Whether the credential is cut out of what the backend sees.
    pub strip: bool,
    /// How a credential is judged.
    pub method: Method,
}

impl Authenticator {
    /// Names of the query's parameters that hold its credential.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.from.iter().filter_map(|source| match source {
            CredentialSource::Query(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Where a credential may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// `header:authorization`
    Header(HeaderName),
    /// `cookie:session`
    Cookie(String),
    /// `query:access_token`
    Query(String),
    /// `subprotocol:bearer`: offered as `bearer, <token>`, or as Kubernetes' clients do.
    Subprotocol(String),
}

/// How a credential is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// A signed token.
    Jwt(Box<Jwt>),
    /// Takes who brings no credential.
    Anonymous,
}

/// `type = "jwt"`
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// What signatures are verified with.
    pub keys: JwtKeys,
    /// Algorithms accepted; empty: those that a key is for.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// `aud` must hold one of these; empty: no matter.
    pub audience: Vec<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// The claim that says who it is.
    pub subject: ClaimPath,
    /// All must hold.
    pub require: Vec<Expression>,
    /// All must be in `scope` or `scp`.
    pub scopes: Vec<String>,
    /// Whether a token without `exp` is refused.
    pub expiry_required: bool,
    /// Bytes of a token at most.
    pub bytes_max: usize,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeys {
    /// From the configuration or a file beside it.
    Fixed(Arc<KeySet>),
    /// From an issuer, again and again.
    Fetched(JwksUrl),
}

/// A JWKS at a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// `https:`, or `http:` where that is allowed.
    pub url: String,
    /// PEM roots; default the system's.
    pub ca: Option<PathBuf>,
    /// Between two readings.
    pub refresh: Duration,
}

/// What a route says about who may use it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteAuth {
    /// Asked in this order; they exist. Empty: anybody.
    pub authenticate: Vec<AuthenticatorName>,
    /// All must hold.
    pub authorize: Vec<Expression>,
    /// Claims that the backend is told.
    pub claim_headers: Vec<(HeaderName, ClaimPath)>,
    /// How a WebSocket is refused.
    pub reject_with: RejectWith,
    /// How long a session outlives its credential. Default 5 s.
    pub expiry_leeway: Duration,
}

/// How a WebSocket is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RejectWith {
    /// With an HTTP status.
    #[default]
    Status,
    /// With a 101, and a close frame behind it.
    Close,
}

/// Authenticators by name.
pub type Authenticators = BTreeMap<AuthenticatorName, Authenticator>;
