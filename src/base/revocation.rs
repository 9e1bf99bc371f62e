//! A right that was taken away before its time: of a subject, of one credential, of one session.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::source_id::SourceId;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Its name.
    pub id: Arc<str>,
    /// Its source; equal names in two sources are distinct.
    pub origin: RevocationOrigin,
    /// Whose right.
    pub what: RevokedWhat,
    /// For a subject: only credentials issued before this time. One without an issue time counts as
    /// issued before.
    pub issued_before: Option<SystemTime>,
    /// When it expires; `None` as long as its source has it.
    pub until: Option<SystemTime>,
    /// For people.
    pub reason: Arc<str>,
}

/// The source of a revocation, which can also remove it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RevocationOrigin {
    /// In this gateway alone, by its admin API.
    Node,
    /// In a source of configuration, so at every gateway that follows it.
    #[serde(untagged)]
    Source(SourceId),
}

impl fmt::Display for RevocationOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Source(source) => source.as_str(),
        })
    }
}

/// Whose right was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedWhat {
    /// Everything of this subject.
    Subject(Arc<str>),
    /// The credential of this id (`jti`).
    Token(Arc<str>),
    /// This session; it ends no handshake.
    Session(SessionId),
}

impl Revocation {
    /// Whether it takes this right away, which this session has.
    pub fn takes(&self, session: Option<SessionId>, right: Option<&Right>) -> bool {
        match &self.what {
            RevokedWhat::Session(id) => session == Some(*id),
            RevokedWhat::Token(id) => right.is_some_and(|right| {
                let ids = [&right.token_id, &right.origin_id];
                ids.into_iter().any(|one| one.as_deref() == Some(id))
            }),
            RevokedWhat::Subject(subject) => right.is_some_and(|right| {
                let old = |before| right.issued.is_none_or(|issued| issued < before);
                right.subject == *subject && self.issued_before.is_none_or(old)
            }),
        }
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of state and other gateways have origins under these names.
    #[test]
    fn origins_keep_their_names() {
        let check = |origin: RevocationOrigin, name: &str| {
            let written = serde_json::to_value(origin).expect("plain data serialises");
            assert_eq!(written, name);
            assert_eq!(origin.to_string(), name);
            assert_eq!(
                serde_json::from_value::<RevocationOrigin>(written).ok(),
                Some(origin)
            );
        };
        check(RevocationOrigin::Node, "node");
        check(RevocationOrigin::Source(SourceId::File), "file");
        check(RevocationOrigin::Source(SourceId::Etcd), "etcd");
        let unknown = serde_json::from_value::<RevocationOrigin>("moon".into());
        assert!(unknown.is_err());
    }
}
