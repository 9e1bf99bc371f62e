//! Authentication and authorisation. Credentials are verified here against keys and times passed as
//! arguments; other modules fetch keys and hash passwords.

mod authenticator;
mod claims;
mod issuer_keys;
mod json;
mod jwt;
mod methods;
mod revocations;
mod rules;
mod ticket;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};

use crate::base::clock;
use crate::base::names::AuthenticatorName;
use crate::base::right::Right;

pub use authenticator::{Authenticator, Minted};
pub use claims::{Claims, header_text};
pub use issuer_keys::{IssuerKeys, KeyRefresh, ReadKeys};
pub use methods::{certificate_holder, password_matches, user_and_password};
pub use revocations::{Revocations, TooManyRevocations};
pub use rules::{RequestValue, Values, first_unmet};
pub use ticket::UsedTicket;
pub use token::parse as parse_token;

/// Longest subject, in bytes: it goes into records, headers and the admin API.
pub const SUBJECT_MAX: usize = 512;

/// Who a request is from, as an authenticator found it.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Which one found it.
    pub authenticator: AuthenticatorName,
    /// Who it is.
    pub subject: Arc<str>,
    /// All claims of the credential, with the subject as `sub`.
    pub claims: Claims,
    /// When the right ends.
    pub expires: Option<SystemTime>,
    /// When the credential was made, or the one that it was made from.
    pub issued: Option<SystemTime>,
    /// The credential's own name.
    pub token_id: Option<Arc<str>>,
    /// The name of the credential that this one was made from.
    pub origin_id: Option<Arc<str>>,
    /// Headers for the backend in addition to the claims.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Principal {
    /// What a session keeps of it, with the route's leeway.
    pub fn right(&self, leeway: Duration) -> Right {
        Right {
            authenticator: self.authenticator.clone(),
            subject: Arc::clone(&self.subject),
            token_id: self.token_id.clone(),
            origin_id: self.origin_id.clone(),
            issued: self.issued,
            expires: self.expires,
            leeway,
        }
    }
}

/// Why a credential does not count. No text here holds any of it. The texts are for operators;
/// [`CredentialFault::answer`] is what clients get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CredentialFault {
    /// There is none.
    #[error("no credential was presented")]
    Missing,
    /// Not what such a credential looks like.
    #[error("the credential is malformed")]
    Malformed,
    /// There are two where one may be.
    #[error("the credential was presented twice")]
    Ambiguous,
    /// Beyond the bound.
    #[error("the credential is too large")]
    TooLarge,
    /// `none`, one that is not accepted, or one that the key is not for.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The token requires an unknown extension (`crit`).
    #[error("the token has a critical extension")]
    Critical,
    /// No key of that id.
    #[error("the token's key is not known")]
    UnknownKey,
    /// It was not made with that key.
    #[error("the signature is not valid")]
    Signature,
    /// Past `exp`.
    #[error("the credential expired {} ago", clock::readable(*.ago))]
    Expired {
        /// How long ago, in whole seconds.
        ago: Duration,
    },
    /// Before `nbf`.
    #[error("the credential is not valid yet")]
    NotYetValid,
    /// No `exp` where one is needed.
    #[error("the token has no expiry")]
    NoExpiry,
    /// Another's `iss`.
    #[error("the token is from another issuer")]
    Issuer,
    /// For another audience.
    #[error("the token is for another audience")]
    Audience,
    /// It has no subject.
    #[error("the credential names no subject")]
    NoSubject,
    /// Unknown key, user or certificate.
    #[error("the credential is not known")]
    Unknown,
    /// A ticket that was used before.
    #[error("the ticket was used before")]
    Used,
    /// No room to remember used tickets.
    #[error("too many tickets are in use")]
    TooMany,
    /// Taken away.
    #[error("the credential has been revoked")]
    Revoked,
    /// The forward-auth service refused.
    #[error("the credential was refused")]
    Refused,
}

impl CredentialFault {
    /// Of a credential that was good until `expires`.
    pub fn expired(expires: SystemTime, now: SystemTime) -> Self {
        let ago = now.duration_since(expires).unwrap_or_default();
        Self::Expired {
            ago: Duration::from_secs(ago.as_secs()),
        }
    }

    /// The reason of the refusal that it leads to. These are the kinds of 401 that call for
    /// different actions.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "credential_missing",
            Self::Expired { .. } => "credential_expired",
            Self::Revoked => "credential_revoked",
            _ => "credential_invalid",
        }
    }

    /// The text for the client. It depends on what the client sent, and not on how the credential
    /// was verified: that would help to guess one.
    pub const fn answer(self) -> &'static str {
        match self {
            Self::Missing => "no credential was presented",
            Self::Ambiguous => "the credential was presented twice",
            _ => "the credential is not accepted",
        }
    }

    /// The label in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Ambiguous => "ambiguous",
            Self::TooLarge => "too_large",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired { .. } => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoExpiry => "no_expiry",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::NoSubject => "no_subject",
            Self::Unknown => "unknown",
            Self::Used => "used",
            Self::TooMany => "too_many",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
        }
    }
}

/// Why an authenticator refuses a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Its credential does not count.
    #[error("{0}")]
    Credential(#[from] CredentialFault),
    /// The credential of this subject is valid, and does not entitle to this.
    #[error("the credential lacks `{lacks}`")]
    Insufficient {
        /// Whose it is.
        subject: Arc<str>,
        /// The condition that it does not meet.
        lacks: String,
    },
}
