//! Orders go to one gateway. An order for a session that another gateway holds is refused, and the
//! refusal names that gateway.

use http::StatusCode;
use serde_json::Value;

use crate::base::session_id::SessionId;
use crate::cli::client::{Client, ClientError};
use crate::cli::listed::Listed;
use crate::cli::print::visible;

impl Client {
    /// The error of an order for a session; where another gateway holds the session, it shows how
    /// the order gets there.
    pub(in crate::cli) fn with_holder(&self, id: SessionId, error: ClientError) -> ClientError {
        let ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            detail,
            rendered,
        } = error
        else {
            return error;
        };
        let detail = match self.holder(id) {
            Some((node, Some(admin))) => {
                format!("session {id} is not on this gateway, it is on {node}: add --admin {admin}")
            }
            Some((node, None)) => format!("session {id} is not on this gateway, it is on {node}"),
            None => detail,
        };
        ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            detail,
            rendered,
        }
    }

    /// The gateway that holds a session, and where its admin API is.
    fn holder(&self, id: SessionId) -> Option<(String, Option<String>)> {
        let target = format!("/v1/sessions/{id}?scope=fleet");
        let found: Listed<Value> = self.get(&target).ok()?;
        let node = found.items.into_iter().find_map(|item| item.node)?;
        let mut nodes = found.nodes.into_iter();
        let admin = nodes.find(|one| one.node == node).and_then(|one| one.admin);
        Some((visible(&node), admin.map(|at| visible(&at))))
    }
}
