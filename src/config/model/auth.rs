//! `[authenticators.NAME]`, and the access rules of routes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::{SecretSource, Size, Time};

/// A method of authentication. Routes list the ones that they accept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authenticator {
    /// Required. `jwt` is a signed token, `api_key` a long-lived key, `basic` a name and a
    /// password, `mtls` a client certificate, `signed_url` a ticket in the URL, `forward` asks an
    /// HTTP service, `anonymous` admits clients without a credential.
    #[serde(rename = "type")]
    pub kind: Option<AuthenticatorType>,
    /// `jwt`, `api_key`: where the credential may be, the first that is there counts:
    /// `header:NAME`, `cookie:NAME`, `query:NAME`, `subprotocol:MARKER`. Default:
    /// `header:authorization`; of `api_key` `header:x-api-key`.
    pub from: Option<Vec<String>>,
    /// Whether the credential is cut out of what the backend sees. Out of subprotocols it is always
    /// cut.
    pub strip: Option<bool>,
    /// `jwt`: secret of the HS algorithms, or `public_key` or `jwks`. `signed_url`: required, the
    /// key of the tickets. At least 32 bytes.
    pub secret: Option<SecretSource>,
    /// `jwt`: PEM file with one public key or several.
    pub public_key: Option<String>,
    /// `jwt`: a JWKS file, or the `https:` URL of one, which is read again every `refresh` and when
    /// a token names a key that is not in it.
    pub jwks: Option<String>,
    /// `jwt`, `forward`: PEM file with the roots to trust. Default: the system's.
    pub ca: Option<String>,
    /// `jwt`, `forward`: whether a URL may be `http:` although it leads off this machine.
    pub plain_http: Option<bool>,
    /// `jwt`: between two readings of a JWKS URL. Default: 5 minutes.
    pub refresh: Option<Time>,
    /// `jwt`: the signature algorithms accepted. Default: those that the keys are for, HS256 for
    /// a secret.
    pub algorithms: Option<Vec<String>>,
    /// `jwt`: what `iss` must be.
    pub issuer: Option<String>,
    /// `jwt`: `aud` must hold one of these.
    pub audience: Option<Vec<String>>,
    /// `jwt`, `signed_url`: how far clocks may be apart. Default: 5 s, and 0 for tickets.
    pub leeway: Option<Time>,
    /// `jwt`: the claim that has the subject. Default: `sub`. `mtls`: the name of the certificate
    /// that is the subject: `cn`, `dns`, `email` or `uri`. Default: the first present of `uri`,
    /// `email`, `dns`, `cn`.
    pub subject: Option<String>,
    /// `jwt`: conditions on the claims, written like a route's `authorize`.
    pub require: Option<Vec<String>>,
    /// `jwt`: words that must all be in `scope` or `scp`.
    pub scopes: Option<Vec<String>>,
    /// `jwt`: whether a token without `exp` is refused. Default: it is.
    pub expiry_required: Option<bool>,
    /// `jwt`, `signed_url`: bytes of a credential at most. Default: 8 KiB.
    pub bytes_max: Option<Size>,
    /// `api_key`: the keys.
    pub keys: Option<Vec<ApiKey>>,
    /// `api_key`: a file with a line `SHA256 SUBJECT` for each key.
    pub keys_file: Option<String>,
    /// `basic`: required. A file with a line `NAME:HASH` for each user, hashed with bcrypt or
    /// argon2 (`htpasswd -B`).
    pub htpasswd: Option<String>,
    /// `basic`: the realm that browsers show. Default: `sessile`.
    pub realm: Option<String>,
    /// `signed_url`: the parameter of the query that holds the ticket. Default: `ticket`.
    pub parameter: Option<String>,
    /// `signed_url`: a path of the gateway's own that mints a ticket for a `POST` with a credential
    /// of `mint_for`. Default: none, only other holders of the secret mint tickets.
    pub mint: Option<String>,
    /// `signed_url`: the authenticators that let a page have a ticket. Required with `mint`.
    pub mint_for: Option<Vec<String>>,
    /// `signed_url`: pages that may ask for a ticket, written like a route's `origins` and with the
    /// same default, by the credentials of `mint_for`.
    pub mint_origins: Option<Vec<String>>,
    /// `signed_url`: how long a ticket that the gateway gives is good for. Default: 30 s.
    pub ttl: Option<Time>,
    /// `signed_url`: how many used tickets are remembered until they expire; with more the gateway
    /// refuses. Default: 100,000.
    pub used_max: Option<usize>,
    /// `forward`: required. The `http:` or `https:` URL of the service: a 2xx admits, 401 and 403
    /// refuse, anything else is a failure.
    pub url: Option<String>,
    /// `forward`: for one question. Default: 2 s.
    pub timeout: Option<Time>,
    /// `forward`: headers of the client's that the service is shown. Default: `authorization` and
    /// `cookie`.
    pub request_headers: Option<Vec<String>>,
    /// `forward`: headers of the service's answer that the backend is shown in place of the
    /// client's.
    pub response_headers: Option<Vec<String>>,
    /// `forward`: the header of the answer that has the subject. Default: `x-auth-subject`.
    pub subject_header: Option<String>,
    /// `forward`: how long an admitting answer is cached for the same headers, URL and client
    /// address. Default: 0, the service is asked each time.
    pub cache: Option<Time>,
    /// `forward`: answers kept at most. Default: 10,000.
    pub cache_max: Option<usize>,
}

/// Kinds of authenticators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AuthenticatorType {
    /// A signed token.
    Jwt,
    /// A long-lived key.
    ApiKey,
    /// A name and a password.
    Basic,
    /// A client certificate.
    Mtls,
    /// A ticket in the URL.
    SignedUrl,
    /// An HTTP service decides.
    Forward,
    /// No credential is needed.
    Anonymous,
}

/// One key. The key itself is nowhere, only what SHA-256 makes of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKey {
    /// Required. Who has it.
    pub subject: Option<String>,
    /// Required. SHA-256 of the key in hexadecimal: `printf %s "$KEY" | sha256sum`.
    pub sha256: Option<String>,
    /// Further claims, for `authorize`, `claim_headers` and `affinity`.
    pub claims: BTreeMap<String, String>,
}

/// A revocation: live sessions end with 3000, handshakes are refused. One of `subject`, `token_id`
/// and `session` selects them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Revocation {
    /// Everything of this subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The credential with this `jti`, the ticket, or the certificate with this serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// This session alone; no handshake is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// For a subject: only credentials issued before this time (RFC 3339), so that a new sign-in is
    /// admitted. Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<String>,
    /// Its end (RFC 3339); an expired one has no effect, and is no fault. Default: until its
    /// removal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a browser's script learns of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RejectWith {
    /// The HTTP status, which scripts cannot see.
    #[default]
    Status,
    /// The upgrade is accepted, then closed with code and reason.
    Close,
}

/// What happens when the right to a session ends.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expiry {
    /// How long a session outlives its credential. Default: 5 s.
    pub leeway: Option<Time>,
    /// How long before that the client is sent `warning`. Default: no warning.
    pub warn: Option<Time>,
    /// With `warn`: a text message to the client, in which `{seconds}` is the time that is left.
    pub warning: Option<String>,
    /// What a client's text message begins with by which it renews its right inside the session;
    /// the rest of it is a new credential of the same subject, for the authenticator that let the
    /// session in (`jwt`, `api_key` or `signed_url`). Such a message never reaches the backend.
    /// Sessions of the route have no extensions, so no compression. Default: all messages pass.
    pub renewal: Option<String>,
    /// With `renewal`: bytes of such a message at most. Default: 8 KiB.
    pub renewal_bytes: Option<Size>,
    /// With `renewal`: a text message to the client after a successful renewal; `{seconds}` in it
    /// is the remaining time. Default: none.
    pub renewed: Option<String>,
    /// With `renewal`: a text message to the client after a refused renewal; `{reason}` in it is
    /// the cause, such as `expired`. Default: none.
    pub refused: Option<String>,
}
