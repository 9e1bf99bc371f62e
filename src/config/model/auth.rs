//! `[authenticators.NAME]`, and what a route says about who may use it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::{SecretSource, Size, Time};

/// A way to find out who a request is from. Routes name the ones that they accept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authenticator {
    /// Required. `jwt` is a signed token, `api_key` a long-lived key, `basic` a name and a
    /// password, `mtls` a client certificate, `signed_url` a ticket in the URL, `forward` asks an
    /// HTTP service, `anonymous` takes who brings no credential.
    #[serde(rename = "type")]
    pub kind: Option<AuthenticatorType>,
    /// `jwt`, `api_key`: where the credential may be, the first that is there counts:
    /// `header:NAME`, `cookie:NAME`, `query:NAME`, `subprotocol:MARKER`. Not given:
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
    /// `jwt`, `forward`: PEM file with the roots to trust. Not given: the system's.
    pub ca: Option<String>,
    /// `jwt`, `forward`: whether a URL may be `http:` although it leads off this machine.
    pub plain_http: Option<bool>,
    /// `jwt`: between two readings of a JWKS URL. Not given: 5 minutes.
    pub refresh: Option<Time>,
    /// `jwt`: the signature algorithms accepted. Not given: those that the keys are for, HS256 for
    /// a secret.
    pub algorithms: Option<Vec<String>>,
    /// `jwt`: what `iss` must be.
    pub issuer: Option<String>,
    /// `jwt`: `aud` must hold one of these.
    pub audience: Option<Vec<String>>,
    /// `jwt`, `signed_url`: how far clocks may be apart. Not given: 5 s, of tickets 0.
    pub leeway: Option<Time>,
    /// `jwt`: the claim that says who it is, `sub` if not given. `mtls`: the name of the
    /// certificate that does: `cn`, `dns`, `email` or `uri`; if not given, the first there is of
    /// `uri`, `email`, `dns`, `cn`.
    pub subject: Option<String>,
    /// `jwt`: conditions on the claims, written like a route's `authorize`.
    pub require: Option<Vec<String>>,
    /// `jwt`: words that must all be in `scope` or `scp`.
    pub scopes: Option<Vec<String>>,
    /// `jwt`: whether a token without `exp` is refused. Not given: it is.
    pub expiry_required: Option<bool>,
    /// `jwt`, `signed_url`: bytes of a credential at most. Not given: 8 KiB.
    pub bytes_max: Option<Size>,
    /// `api_key`: the keys.
    pub keys: Option<Vec<ApiKey>>,
    /// `api_key`: a file with a line `SHA256 SUBJECT` for each key.
    pub keys_file: Option<String>,
    /// `basic`: required. A file with a line `NAME:HASH` for each user, hashed with bcrypt or
    /// argon2 (`htpasswd -B`).
    pub htpasswd: Option<String>,
    /// `basic`: what browsers show when they ask. Not given: `sessile`.
    pub realm: Option<String>,
    /// `signed_url`: the parameter of the query that holds the ticket. Not given: `ticket`.
    pub parameter: Option<String>,
    /// `signed_url`: a path at which the gateway itself gives a ticket to who sends a `POST` and
    /// passes `mint_for`. Not given: only others who know the secret make tickets.
    pub mint: Option<String>,
    /// `signed_url`: the authenticators that let a page have a ticket. Required with `mint`.
    pub mint_for: Option<Vec<String>>,
    /// `signed_url`: how long a ticket that the gateway gives is good for. Not given: 30 s.
    pub ttl: Option<Time>,
    /// `signed_url`: how many used tickets are remembered until they expire; with more the gateway
    /// refuses. Not given: 100,000.
    pub used_max: Option<usize>,
    /// `forward`: required. The `http:` or `https:` URL that is asked: a 2xx lets in, 401 and 403
    /// refuse, anything else is a failure.
    pub url: Option<String>,
    /// `forward`: for one question. Not given: 2 s.
    pub timeout: Option<Time>,
    /// `forward`: headers of the client's that the service is shown. Not given: `authorization` and
    /// `cookie`.
    pub request_headers: Option<Vec<String>>,
    /// `forward`: headers of the service's answer that the backend is shown in place of the
    /// client's.
    pub response_headers: Option<Vec<String>>,
    /// `forward`: the header of the answer that says who it is. Not given: `x-auth-subject`.
    pub subject_header: Option<String>,
    /// `forward`: how long an answer that lets in is good for the same headers, URL and client
    /// address. Not given: 0, it is asked each time.
    pub cache: Option<Time>,
    /// `forward`: answers kept at most. Not given: 10,000.
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

/// A right that is taken away: live sessions end with 3000, handshakes are refused. One of
/// `subject`, `token_id` and `session` says whose.
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
    /// Of a subject: only credentials made before this time (RFC 3339), so that who signs in anew
    /// is let in. Not given: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<String>,
    /// When it is over (RFC 3339); what is over does nothing, and is no fault. Not given: when it
    /// is taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a browser's script is told when a session is refused.
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
    /// How long a session outlives its credential. Not given: 5 s.
    pub leeway: Option<Time>,
    /// How long before that the client is sent `warning`. Not given: it is not warned.
    pub warn: Option<Time>,
    /// With `warn`: a text message to the client, in which `{seconds}` is the time that is left.
    pub warning: Option<String>,
    /// What a client's text message begins with by which it renews its right inside the session;
    /// the rest of it is a new credential of the same subject, for the authenticator that let the
    /// session in (`jwt`, `api_key` or `signed_url`). Such a message never reaches the backend.
    /// Sessions of the route have no extensions, so no compression. Not given: all messages pass.
    pub renewal: Option<String>,
    /// With `renewal`: bytes of such a message at most. Not given: 8 KiB.
    pub renewal_bytes: Option<Size>,
    /// With `renewal`: a text message to the client when its right was renewed; `{seconds}` in it
    /// is the time that is left. Not given: it is not told.
    pub renewed: Option<String>,
    /// With `renewal`: a text message to the client when its right stays what it was; `{reason}` in
    /// it is a word that says why, such as `expired`. Not given: it is not told.
    pub refused: Option<String>,
}
