//! Why there is no certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::causes;
use crate::control::acme::store::StoreError;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The directory's server cannot be verified.
    #[error("{0}")]
    Roots(String),
    /// The authority refuses, or does not answer.
    #[error("{}", causes::chain(.0))]
    Authority(instant_acme::Error, Option<Duration>),
    /// The account that is kept is none.
    #[error("the account that is kept is damaged; remove it, and a new one is made")]
    Account,
    /// It offers no challenge of the kind that is configured.
    #[error("the authority does not offer {0} for `{1}`")]
    NoChallenge(&'static str, String),
    /// It did not reach the gateway under a name.
    #[error("the authority could not verify the names: {0}")]
    NotVerified(String),
    /// What it issued is unusable.
    #[error("the certificate that was issued is unusable: {0}")]
    Certificate(String),
    /// There is no place for it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<instant_acme::Error> for OrderError {
    fn from(error: instant_acme::Error) -> Self {
        Self::Authority(error, None)
    }
}

impl OrderError {
    /// With the wait that the authority asked for beside its refusal.
    pub(super) fn asking(self, wait: &Arc<Mutex<Option<Duration>>>) -> Self {
        match self {
            Self::Authority(error, _) => {
                let wait = *wait.lock().unwrap_or_else(PoisonError::into_inner);
                Self::Authority(error, wait)
            }
            other => other,
        }
    }

    /// That wait.
    pub(super) fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Authority(_, wait) => *wait,
            _ => None,
        }
    }
}
