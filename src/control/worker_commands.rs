//! Commands of the control plane to the sessions of all workers.

use std::sync::Arc;

use crate::base::session_id::SessionId;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::EndOrder;
use crate::live::{LeaveCounts, Live, SLICE_MAX, SessionBrief, SessionQuery, WorkerCommand};

/// What is known of the sessions that `query` takes.
pub(super) async fn briefs(live: &Live, query: &SessionQuery) -> Vec<SessionBrief> {
    let briefs = live.workers().walk(|slice, answer| WorkerCommand::Briefs {
        query: query.clone(),
        slice,
        answer,
    });
    briefs.await.answers.into_iter().flatten().collect()
}

/// Makes these sessions leave their backends, as many at a time as a worker looks at in one go.
pub(super) async fn leave(live: &Live, ids: Arc<[SessionId]>, order: &LeaveOrder) -> LeaveCounts {
    let mut sum = LeaveCounts::default();
    for some in ids.chunks(SLICE_MAX) {
        let some: Arc<[SessionId]> = some.into();
        let counts = live.workers().ask(|answer| WorkerCommand::Leave {
            ids: Arc::clone(&some),
            order: order.clone(),
            answer,
        });
        for one in counts.await {
            sum.moving += one.moving;
            sum.closing += one.closing;
        }
    }
    sum
}

/// Closes the sessions that `query` takes, whose records then show the order that was `given`;
/// returns how many.
pub(super) async fn close(
    live: &Live,
    query: &SessionQuery,
    order: &CloseOrder,
    given: Option<&Arc<EndOrder>>,
) -> usize {
    let closed = live.workers().walk(|slice, answer| WorkerCommand::Close {
        query: query.clone(),
        order: order.clone(),
        given: given.cloned(),
        slice,
        answer,
    });
    closed.await.answers.into_iter().sum()
}

/// Ends the sessions whose right is revoked; returns how many.
pub(super) async fn revoke(live: &Live) -> usize {
    let workers = live.workers();
    let ended = workers.walk(|slice, answer| WorkerCommand::Revoke { slice, answer });
    ended.await.answers.into_iter().sum()
}
