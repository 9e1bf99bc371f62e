//! Orders that end a session or make it leave its backend. They are plain data: the control plane
//! and the admin API write them, the relay carries them out.

use std::sync::Arc;

use crate::core::session::record::{Cause, EndOrder};
use crate::core::session::resume::ResumeReason;

/// Closes a session: the client gets a close frame at the next frame boundary.
#[derive(Clone, Debug)]
pub struct CloseOrder {
    /// Close code; one that browsers accept on receipt.
    pub code: u16,
    /// Close reason; at most 123 bytes are sent.
    pub reason: Arc<str>,
    /// Cause in the session record.
    pub cause: Cause,
}

/// Makes a session leave its backend.
#[derive(Clone, Debug)]
pub struct LeaveOrder {
    /// Close code: for the backend if the session moves, for the client if it cannot move.
    pub code: u16,
    /// Close reason; at most 123 bytes are sent.
    pub reason: Arc<str>,
    /// Cause in the session record if the order ends the session.
    pub cause: Cause,
    /// Reason that the next backend receives.
    pub resume: ResumeReason,
    /// The operator who gave it, if one did.
    pub operator: Option<Arc<str>>,
}

impl LeaveOrder {
    /// The order for a session that cannot move.
    pub fn close(&self) -> CloseOrder {
        CloseOrder {
            code: self.code,
            reason: Arc::clone(&self.reason),
            cause: self.cause,
        }
    }

    /// What the record of a session that it ends says of it, if an operator gave it.
    pub fn given(&self) -> Option<Arc<EndOrder>> {
        let operator = self.operator.clone()?;
        Some(Arc::new(EndOrder {
            operator: Some(operator),
            ..EndOrder::default()
        }))
    }
}
