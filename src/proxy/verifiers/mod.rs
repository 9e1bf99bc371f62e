//! Verification of credentials: by keys, password hashes and external services. All workers share
//! it, except connections to services.

pub(crate) mod cache;
pub(crate) mod conditions;
pub(crate) mod forward_auth;
pub(crate) mod passwords;
pub(crate) mod services;
pub(crate) mod text;

use crate::proxy::verifiers::forward_auth::ForwardError;
use crate::proxy::verifiers::passwords::Passwords;
use crate::proxy::verifiers::services::Services;

/// The verifiers of one gateway that need more than an authenticator's keys.
#[derive(Default)]
pub struct CredentialVerifiers {
    pub(crate) passwords: Passwords,
    pub(crate) services: Services,
}

/// Why a credential could not be verified either way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotVerified {
    /// The issuer has not been reached since the start.
    #[error("authenticator `{0}` has no keys yet")]
    NoKeys(String),
    /// Too many passwords wait to be verified.
    #[error("too many passwords are being verified")]
    TooMany,
    /// The service that decides failed.
    #[error("authenticator `{0}`")]
    Forward(String, #[source] ForwardError),
}
