//! How many live sessions each authenticator has admitted, and when their rights end.

use std::collections::BTreeMap;

use crate::base::names::AuthenticatorName;

/// The sessions of each authenticator.
pub type Rights = BTreeMap<AuthenticatorName, RightCounts>;

/// The sessions of one authenticator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RightCounts {
    /// All of them.
    pub sessions: u64,
    /// Those whose right ends before the time that was asked about.
    pub expiring: u64,
    /// When the first right ends, in milliseconds since 1970; `None` if none does.
    pub first: Option<u64>,
}

impl RightCounts {
    /// Counts a session whose right ends at `expires`.
    pub fn count(&mut self, expires: Option<u64>, until: u64) {
        self.add(Self {
            sessions: 1,
            expiring: u64::from(expires.is_some_and(|expires| expires <= until)),
            first: expires,
        });
    }

    /// Adds other sessions of the authenticator.
    pub fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.expiring += other.expiring;
        self.first = match (self.first, other.first) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_the_end_of_their_right() {
        let mut counts = RightCounts::default();
        for expires in [None, Some(70), Some(50), Some(51)] {
            counts.count(expires, 50);
        }
        let expected = RightCounts {
            sessions: 4,
            expiring: 1,
            first: Some(50),
        };
        assert_eq!(counts, expected);
    }
}
