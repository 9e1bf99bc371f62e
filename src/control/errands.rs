//! What the plans of sessions ask of the workers, all of them at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::base::session_id::SessionId;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::live::{Departures, Leavers, Live, SessionBrief, SessionQuery, WorkerCommand};

/// A worker that takes longer is stuck, and is asked again at the next look.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What is known of the sessions that `query` takes.
pub(super) async fn briefs(live: &Live, query: &SessionQuery) -> Vec<SessionBrief> {
    let ask = |answer| WorkerCommand::Briefs {
        query: query.clone(),
        answer,
    };
    ask_all(live, ask).await.into_iter().flatten().collect()
}

/// Makes these sessions leave their backends.
pub(super) async fn leave(live: &Live, ids: Arc<[SessionId]>, order: &LeaveOrder) -> Departures {
    let ask = |answer| WorkerCommand::Leave {
        which: Leavers::Ids(Arc::clone(&ids)),
        order: order.clone(),
        answer,
    };
    let all = ask_all(live, ask).await;
    all.into_iter()
        .fold(Departures::default(), |sum, one| Departures {
            moving: sum.moving + one.moving,
            closing: sum.closing + one.closing,
        })
}

/// Closes whatever `query` takes; answers how many.
pub(super) async fn close(live: &Live, query: &SessionQuery, order: &CloseOrder) -> usize {
    let ask = |answer| WorkerCommand::Close {
        query: query.clone(),
        order: order.clone(),
        given: None,
        answer,
    };
    ask_all(live, ask).await.into_iter().sum()
}

/// Ends sessions whose right was taken away; answers how many.
pub(super) async fn revoke(live: &Live) -> usize {
    let ask = |answer| WorkerCommand::Revoke { answer };
    ask_all(live, ask).await.into_iter().sum()
}

async fn ask_all<A>(live: &Live, command: impl Fn(oneshot::Sender<A>) -> WorkerCommand) -> Vec<A> {
    let command = &command;
    let asked = live.workers().iter().map(|worker| async move {
        let answer = worker.ask(command);
        tokio::time::timeout(ANSWER_MAX, answer)
            .await
            .ok()
            .flatten()
    });
    join_all(asked).await.into_iter().flatten().collect()
}
