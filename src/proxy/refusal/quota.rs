//! The quotas of clients: texts, labels, and when there may be room again.

use std::time::Duration;

/// For a client that has to close something before it may have more.
const RETRY_QUOTA: Duration = Duration::from_secs(10);

/// Which quota, and when there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// `handshakes_per_address`
    HandshakesPerAddress(Duration),
    /// `sessions_per_address`
    SessionsPerAddress,
    /// `handshakes_per_principal`
    HandshakesPerPrincipal(Duration),
    /// `sessions_per_principal`
    SessionsPerPrincipal,
    /// `sessions_max` of the route.
    SessionsOfRoute,
    /// Passwords that are being verified.
    PasswordsPerAddress,
}

impl Quota {
    /// The text of the answer.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::HandshakesPerAddress(_) => "handshakes from this address",
            Self::SessionsPerAddress => "sessions of this address",
            Self::HandshakesPerPrincipal(_) => "handshakes of this user",
            Self::SessionsPerPrincipal => "sessions of this user",
            Self::SessionsOfRoute => "sessions of this route",
            Self::PasswordsPerAddress => "passwords from this address at once",
        }
    }

    /// The label in metrics and records.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::HandshakesPerAddress(_) => "handshakes_per_address",
            Self::SessionsPerAddress => "sessions_per_address",
            Self::HandshakesPerPrincipal(_) => "handshakes_per_principal",
            Self::SessionsPerPrincipal => "sessions_per_principal",
            Self::SessionsOfRoute => "route_sessions_max",
            Self::PasswordsPerAddress => "passwords_per_address",
        }
    }

    /// When there may be room again.
    pub(crate) fn retry_after(self) -> Duration {
        match self {
            Self::HandshakesPerAddress(wait) | Self::HandshakesPerPrincipal(wait) => wait,
            Self::PasswordsPerAddress => Duration::from_secs(2),
            Self::SessionsPerAddress | Self::SessionsPerPrincipal | Self::SessionsOfRoute => {
                RETRY_QUOTA
            }
        }
    }
}
