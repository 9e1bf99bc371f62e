//! A finding, and what the rules look at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::credentials::CredentialView;
use crate::admin::findings::severity::Severity;
use crate::admin::rights_seen::RightsSeen;
use crate::admin::status::StatusView;
use crate::admin::tokens::TokenView;
use crate::admin::upstreams::UpstreamView;
use crate::io::system_limits::SystemLimits;

/// Something that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is, for scripts: `upstream_down`, `certificate_expires`, …
    pub kind: String,
    /// What it is about, such as `upstream chat`.
    pub subject: String,
    /// What is wrong, for people.
    pub detail: String,
    /// What to do about it: mostly a command.
    pub remedy: Option<String>,
    /// Live sessions that it concerns, where that can be counted.
    pub sessions: Option<u64>,
}

impl Finding {
    pub(in crate::admin) fn new(
        severity: Severity,
        kind: &str,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            kind: kind.to_owned(),
            subject: subject.into(),
            detail: detail.into(),
            remedy: None,
            sessions: None,
        }
    }

    pub(in crate::admin) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    pub(in crate::admin) fn of_sessions(self, sessions: u64) -> Self {
        Self {
            sessions: Some(sessions),
            ..self
        }
    }
}

/// What the rules look at.
pub(in crate::admin) struct Facts<'a> {
    pub(in crate::admin) status: &'a StatusView,
    pub(in crate::admin) upstreams: &'a [UpstreamView],
    /// The first fault of a file that is refused.
    pub(in crate::admin) file_fault: Option<&'a str>,
    /// Records that were lost.
    pub(in crate::admin) records_dropped: u64,
    /// The keys of issuers.
    pub(in crate::admin) keys: &'a [CredentialView],
    /// Tokens that have an end.
    pub(in crate::admin) tokens: &'a [TokenView],
    /// Limits of the system, and what is asked of them.
    pub(in crate::admin) limits: &'a SystemLimits,
    pub(in crate::admin) demands: &'a Demands,
    /// Rights of live sessions that end soon, as they were counted last.
    pub(in crate::admin) rights: Option<&'a RightsSeen>,
}

/// What is configured, beside the limits.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Demands {
    /// `node.sessions_max`; 0 is no limit.
    pub(in crate::admin) sessions_max: u64,
    /// Listeners with their `backlog`.
    pub(in crate::admin) backlogs: Vec<(String, u32)>,
}
