//! Sessions that stay in their process when it hands over.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a session stays.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StayReason {
    /// It is about to end.
    Ending,
    /// rustls opens and seals its records (`node.tls_records`), or those of its backend.
    TlsOfRustls,
    /// It has TLS, and the new process is of a version that cannot continue it.
    TlsNotUnderstood,
    /// The system did not give another handle to its sockets.
    Sockets,
    /// The new process did not take it.
    Refused,
    /// A function has a message of its client, and has not answered yet.
    FunctionAnswers,
}

impl StayReason {
    /// The name in metrics and the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ending => "ending",
            Self::TlsOfRustls => "tls_of_rustls",
            Self::TlsNotUnderstood => "tls_not_understood",
            Self::Sockets => "sockets",
            Self::Refused => "refused",
            Self::FunctionAnswers => "function_answers",
        }
    }
}

/// How many sessions stay, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Staying(BTreeMap<StayReason, usize>);

impl Staying {
    /// Adds sessions.
    pub fn add(&mut self, reason: StayReason, sessions: usize) {
        if sessions > 0 {
            *self.0.entry(reason).or_default() += sessions;
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        for (reason, sessions) in other.iter() {
            self.add(reason, sessions);
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Those that stay for this reason.
    pub fn of(&self, reason: StayReason) -> usize {
        self.0.get(&reason).copied().unwrap_or(0)
    }

    /// The same with the reasons that a process knows: one that `knows_functions` or not.
    pub fn as_known(&self, knows_functions: bool) -> Self {
        let mut known = Self::default();
        for (reason, sessions) in self.iter() {
            let reason = match reason {
                StayReason::FunctionAnswers if !knows_functions => StayReason::Refused,
                known => known,
            };
            known.add(reason, sessions);
        }
        known
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reason by reason.
    pub fn iter(&self) -> impl Iterator<Item = (StayReason, usize)> {
        self.0.iter().map(|(reason, sessions)| (*reason, *sessions))
    }
}

impl fmt::Display for Staying {
    /// `3 (2 ending, 1 refused)`, or `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total().fmt(f)?;
        let mut separator = " (";
        for (reason, sessions) in self.iter() {
            write!(f, "{separator}{sessions} {}", reason.as_str())?;
            separator = ", ";
        }
        f.write_str(if self.is_empty() { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_added_up_and_shown() {
        let mut staying = Staying::default();
        assert_eq!(staying.to_string(), "0");
        staying.add(StayReason::Refused, 0);
        assert!(staying.is_empty());
        staying.add(StayReason::Refused, 1);
        let mut more = Staying::default();
        more.add(StayReason::Ending, 2);
        more.add(StayReason::Refused, 3);
        staying.merge(&more);
        assert_eq!(staying.to_string(), "6 (2 ending, 4 refused)");
        let json = serde_json::to_value(&staying).expect("plain data");
        assert_eq!(json, serde_json::json!({ "ending": 2, "refused": 4 }));
    }
}
