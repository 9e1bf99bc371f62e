//! Revocations: the rights of a subject, a credential or a session end before they expire.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::source_id::SourceId;

/// A revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Its name.
    pub id: Arc<str>,
    /// Its source; equal names in two sources are distinct.
    pub origin: RevocationOrigin,
    /// What is revoked.
    pub what: RevokedWhat,
    /// For a subject: only credentials issued before this time. A credential without an issue time
    /// is treated as issued before it.
    pub issued_before: Option<SystemTime>,
    /// When it expires; `None` as long as its source has it.
    pub until: Option<SystemTime>,
    /// A reason for operators to read.
    pub reason: Arc<str>,
}

/// The source of a revocation, which can also remove it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RevocationOrigin {
    /// The admin API of this gateway. The revocation applies to this gateway only.
    Node,
    /// A configuration source. The revocation applies to every gateway that reads it.
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

/// The target of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedWhat {
    /// All credentials and sessions of this subject.
    Subject(Arc<str>),
    /// The credential of this id (`jti`).
    Token(Arc<str>),
    /// This session. It does not affect handshakes.
    Session(SessionId),
}

impl Revocation {
    /// Whether it revokes this right of this session.
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

    /// State files and other gateways identify origins by these names.
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
