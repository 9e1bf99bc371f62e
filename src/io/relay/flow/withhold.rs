//! Close frames of a backend that are not passed on, since another backend may go on.

use serde::{Deserialize, Serialize};

/// Which close frames are for the gateway and not for the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::io::relay) enum Withhold {
    /// None.
    #[default]
    Nothing,
    /// Those of a backend that goes away and has no quarrel with the client.
    GoingAway,
    /// Those, and what may be an answer to the gateway's own.
    Answers,
}

impl Withhold {
    pub(super) fn takes(self, code: Option<u16>) -> bool {
        match self {
            Self::Nothing => false,
            Self::GoingAway => matches!(code, Some(1001 | 1012)),
            Self::Answers => matches!(code, None | Some(1000 | 1001 | 1005 | 1012)),
        }
    }
}
