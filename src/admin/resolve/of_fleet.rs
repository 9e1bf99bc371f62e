//! The backend that the fleet keeps for a sticky key without a live session on this gateway.

use crate::admin::Gateway;
use crate::admin::resolve::choice::fixed;
use crate::admin::resolve::view::Explanation;
use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::core::routing::RoutingTable;

/// Puts the fleet's choice in the place of this gateway's, if the fleet keeps a backend for the key
/// that this gateway can use.
pub(super) async fn ask_fleet(
    gateway: &Gateway,
    table: &RoutingTable,
    without: &[String],
    explanation: &mut Explanation,
) {
    let Some((key, keep)) = explanation.of_fleet.take() else {
        return;
    };
    let (Some(state), Some(choice)) = (gateway.live.state(), &explanation.choice) else {
        return;
    };
    let upstream = table.upstream(&UpstreamName::from(choice.upstream.as_str()));
    let Some(upstream) = upstream else { return };
    let note = match state.look(key, keep).await {
        None => {
            "the store of the fleet's state does not answer: this gateway chooses alone".to_owned()
        }
        Some(None) => "the fleet keeps no backend for this key yet".to_owned(),
        Some(Some(id)) => {
            let index = upstream.index_of(&BackendId::new(&*id));
            let left_out = without.iter().any(|one| **one == *id);
            let may = |index: &usize| {
                let session = explanation.request.websocket;
                upstream.may_take(*index, &[], clock::now(), session) && !left_out
            };
            match index.filter(may) {
                Some(index) => {
                    let reason = "the fleet keeps it for the key";
                    explanation.choice = Some(fixed(upstream, index, clock::now(), reason));
                    return;
                }
                None => format!("the fleet keeps {id} for this key, which this gateway cannot use"),
            }
        }
    };
    explanation.notes.push(note);
}
