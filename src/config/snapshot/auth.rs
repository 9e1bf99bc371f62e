//! Authenticators and the rules of routes, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::base::names::AuthenticatorName;
use crate::base::revocation::Revocation;
use crate::base::secret::{GuardedUrl, Secret};
use crate::config::expression::{ClaimPath, Expression};
use crate::config::key_set::{Algorithm, KeySet};
use crate::config::origin::OriginRule;

/// An `[authenticators.<name>]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticator {
    /// Its key.
    pub name: AuthenticatorName,
    /// Where its credential may be; the first that is there counts.
    pub from: Vec<CredentialSource>,
    /// Whether the credential is cut out of what the backend sees.
    pub strip: bool,
    /// How a credential is verified.
    pub method: Method,
}

impl Authenticator {
    /// How the gateway itself gives its credentials, if it does.
    pub fn mint(&self) -> Option<&Mint> {
        match &self.method {
            Method::SignedUrl(signed) => signed.mint.as_ref(),
            _ => None,
        }
    }

    /// Headers in which its credential may be.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        let own = self.from.iter().filter_map(|source| match source {
            CredentialSource::Header(name) => Some(name),
            _ => None,
        });
        let shown: &[HeaderName] = match &self.method {
            Method::Forward(forward) => &forward.request_headers,
            _ => &[],
        };
        own.chain(shown)
    }

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

/// How a credential is verified.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// A signed token.
    Jwt(Box<Jwt>),
    /// A long-lived key.
    ApiKey(ApiKeys),
    /// A name and a password.
    Basic(Basic),
    /// A client certificate.
    Mtls(Option<CertificateName>),
    /// A ticket in the URL.
    SignedUrl(Box<SignedUrl>),
    /// An HTTP service decides.
    Forward(Box<Forward>),
    /// Admits clients without a credential.
    Anonymous,
}

/// `type = "api_key"`: by the key's SHA-256.
#[derive(Clone, Default, PartialEq)]
pub struct ApiKeys(pub BTreeMap<[u8; 32], KeyHolder>);

impl fmt::Debug for ApiKeys {
    /// Without the hashes: with one a guess of a key can be checked (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.values()).finish()
    }
}

/// Who has a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyHolder {
    /// Who it is.
    pub subject: String,
    /// Further claims.
    pub claims: BTreeMap<String, String>,
}

/// `type = "basic"`
#[derive(Clone, Debug, PartialEq)]
pub struct Basic {
    /// Hashes of passwords by name.
    pub users: BTreeMap<String, Secret>,
    /// The realm that browsers show.
    pub realm: String,
}

/// A name of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name.
    Cn,
    /// The first DNS name.
    Dns,
    /// The first mail address.
    Email,
    /// The first URI.
    Uri,
}

/// `type = "signed_url"`
#[derive(Clone, Debug, PartialEq)]
pub struct SignedUrl {
    /// Key of the tickets.
    pub secret: Secret,
    /// Parameter of the query.
    pub parameter: String,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Bytes of a ticket at most.
    pub bytes_max: usize,
    /// Used tickets remembered.
    pub used_max: usize,
    /// Where the gateway itself gives tickets.
    pub mint: Option<Mint>,
}

/// Tickets that the gateway gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Mint {
    /// The path at which tickets are minted.
    pub path: String,
    /// Who may have one; they exist.
    pub authenticate: Vec<AuthenticatorName>,
    /// Which pages may ask.
    pub origins: OriginRule,
    /// How long one is good for.
    pub ttl: Duration,
}

/// `type = "forward"`
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The service.
    pub url: GuardedUrl,
    /// PEM roots, with a fingerprint of what is in the file; default the system's.
    pub ca: Option<(PathBuf, u128)>,
    /// For one question.
    pub timeout: Duration,
    /// Headers that the service is shown.
    pub request_headers: Vec<HeaderName>,
    /// Headers of the answer that the backend is shown.
    pub response_headers: Vec<HeaderName>,
    /// The header of the answer that has the subject.
    pub subject_header: HeaderName,
    /// How long an answer is good for.
    pub cache: Duration,
    /// Answers kept.
    pub cache_max: usize,
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
    /// The claim that has the subject.
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

/// Sources of keys.
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
    pub url: GuardedUrl,
    /// PEM roots; default the system's.
    pub ca: Option<PathBuf>,
    /// Between two readings.
    pub refresh: Duration,
}

/// The access rules of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteAuth {
    /// Asked in this order; they exist. Empty: no authentication.
    pub authenticate: Vec<AuthenticatorName>,
    /// All must hold.
    pub authorize: Vec<Expression>,
    /// Claims for the backend.
    pub claim_headers: Vec<(HeaderName, ClaimPath)>,
    /// How a WebSocket is refused.
    pub reject_with: RejectWith,
    /// Where a client extends its session's right.
    pub renew: Option<String>,
    /// How long a session outlives its credential. Default 5 s.
    pub expiry_leeway: Duration,
    /// The warning before expiry.
    pub warning: Option<ExpiryWarning>,
    /// How a client renews its right inside the session.
    pub renewal: Option<Renewal>,
}

/// The warning before a session's credential expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryWarning {
    /// How long before.
    pub before: Duration,
    /// The text, with `{seconds}`.
    pub message: Arc<str>,
}

/// Renewal by a message inside the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// What the message begins with; not empty.
    pub prefix: String,
    /// Its bytes at most. Default 8 KiB.
    pub bytes_max: usize,
    /// The message to the client on success, with `{seconds}`.
    pub renewed: Option<String>,
    /// The message to the client on failure, with `{reason}`.
    pub refused: Option<String>,
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

/// Revocations by name.
pub type Revocations = BTreeMap<Arc<str>, Arc<Revocation>>;
