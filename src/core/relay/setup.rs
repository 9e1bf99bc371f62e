//! What a relay starts with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::relay::liveness::Keepalive;
use crate::core::relay::throttle::Throttle;
use crate::core::session::wheel::Tick;
use crate::core::wire::in_band::InBandMatcher;
use crate::core::wire::tracker::Rules;

/// The bounds of a session in time, in ticks of the worker's wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Longest silence; then the session ends.
    pub idle: Option<Tick>,
    /// When its lifetime ends.
    pub lifetime_at: Option<Tick>,
    /// When its credential expires.
    pub expires_at: Option<Tick>,
    /// How long an end may take without any progress.
    pub close: Tick,
}

impl Times {
    /// When the session ends at the latest.
    pub(super) fn last_at(&self) -> Option<Tick> {
        let ends = [self.lifetime_at, self.expires_at];
        ends.into_iter().flatten().min()
    }
}

/// What a relay starts with.
#[derive(Debug)]
pub struct Setup {
    /// What the client may send.
    pub client_rules: Rules,
    /// What the backend may send.
    pub backend_rules: Rules,
    /// Bytes of the client that arrived behind its request.
    pub client_early: Vec<u8>,
    /// Bytes of the backend that arrived behind its 101.
    pub backend_early: Vec<u8>,
    /// Its bounds in time.
    pub times: Times,
    /// Close code for the client when the backend is lost.
    pub backend_lost_code: u16,
    /// Bytes that are held for the next backend, where the session may move to one.
    pub hold: Option<usize>,
    /// The sides that are pinged.
    pub keepalive: Option<Keepalive>,
    /// How fast the client may send.
    pub throttle: Option<Box<Throttle>>,
    /// The message to the client before its credential expires.
    pub warning: Option<Box<Warning>>,
    /// Finds the messages by which the client renews its credential.
    pub in_band: Option<InBandMatcher>,
}

impl Setup {
    /// A relay that only relays, in both directions by the same rules: it does not move, ping,
    /// throttle or warn, and no message is for the gateway.
    pub fn plain(rules: Rules, times: Times) -> Self {
        Self {
            client_rules: rules,
            backend_rules: rules,
            client_early: Vec::new(),
            backend_early: Vec::new(),
            times,
            backend_lost_code: 1011,
            hold: None,
            keepalive: None,
            throttle: None,
            warning: None,
            in_band: None,
        }
    }
}

/// The message to a client before its credential expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    /// How long before.
    pub before: Tick,
    /// The text; `{seconds}` in it is replaced by the seconds that are left.
    pub message: Arc<str>,
    /// Milliseconds of a tick.
    pub tick: u32,
    /// It was sent for the present credential.
    #[serde(rename = "said")]
    pub sent: bool,
}

impl Warning {
    /// When it is due for a credential that expires then.
    pub(super) fn due(&self, expires_at: Option<Tick>) -> Option<Tick> {
        let expires_at = expires_at.filter(|_| !self.sent)?;
        Some(expires_at.saturating_sub(self.before))
    }

    /// The text, if it is due now; it is then not due again.
    pub(super) fn take_text(&mut self, expires_at: Option<Tick>, now: Tick) -> Option<String> {
        let due = self.due(expires_at)?;
        let left = expires_at?.saturating_sub(now);
        if now < due || left == 0 {
            return None;
        }
        self.sent = true;
        let seconds = u64::from(left) * u64::from(self.tick) / 1000;
        Some(self.message.replace("{seconds}", &seconds.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning() -> Warning {
        Warning {
            before: 300,
            message: "in {seconds} s".into(),
            tick: 100,
            sent: false,
        }
    }

    #[test]
    fn a_warning_is_due_once_before_the_credential_expires() {
        let mut warning = warning();
        assert_eq!(warning.due(Some(1_000)), Some(700));
        assert_eq!(warning.due(Some(200)), Some(0), "as soon as possible");
        assert_eq!(warning.due(None), None);
        assert_eq!(warning.take_text(Some(1_000), 699), None);
        let text = warning.take_text(Some(1_000), 705);
        assert_eq!(text.as_deref(), Some("in 29 s"));
        assert_eq!(
            (
                warning.take_text(Some(1_000), 706),
                warning.due(Some(1_000))
            ),
            (None, None)
        );
    }

    #[test]
    fn an_expired_credential_is_not_warned_of() {
        assert_eq!(warning().take_text(Some(1_000), 1_000), None);
        assert_eq!(warning().take_text(Some(1_000), 1_200), None);
    }

    #[test]
    fn a_session_ends_at_the_first_of_its_ends() {
        let times = |lifetime_at, expires_at| Times {
            idle: None,
            lifetime_at,
            expires_at,
            close: 1,
        };
        assert_eq!(times(None, None).last_at(), None);
        assert_eq!(times(Some(5), None).last_at(), Some(5));
        assert_eq!(times(Some(5), Some(3)).last_at(), Some(3));
    }
}
