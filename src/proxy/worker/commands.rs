//! Commands to a worker. An answer that fails to be sent is dropped: the asker has given up
//! waiting.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::live::{SessionQuery, Slice, Sliced, WorkerCommand};
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::{adopt, pack, release, renew_all, revoke_all};

/// Carries out one command.
pub(crate) fn carry_out(sessions: &Rc<Sessions>, command: WorkerCommand) {
    match command {
        WorkerCommand::Sessions {
            query,
            limit,
            slice,
            answer,
        } => visit(sessions, &query, slice, answer, |found| {
            sessions.views(found, limit)
        }),
        WorkerCommand::Close {
            query,
            order,
            given,
            slice,
            answer,
        } => visit(sessions, &query, slice, answer, |found| {
            sessions.close(found, &order, given.as_ref())
        }),
        WorkerCommand::Renew {
            query,
            renewal,
            slice,
            answer,
        } => visit(sessions, &query, slice, answer, |found| {
            renew_all(sessions, found, &renewal)
        }),
        WorkerCommand::Revoke { slice, answer } => {
            let all = SessionQuery::default();
            visit(sessions, &all, slice, answer, |found| {
                revoke_all(sessions, found)
            });
        }
        WorkerCommand::Briefs {
            query,
            slice,
            answer,
        } => visit(sessions, &query, slice, answer, |found| {
            sessions.briefs(found)
        }),
        WorkerCommand::Leave { ids, order, answer } => {
            let _ = answer.send(sessions.leave(&ids, &order));
        }
        WorkerCommand::Gather { slice, answer } => gather(sessions, slice, answer),
        WorkerCommand::Pack {
            after,
            limit,
            tls,
            answer,
        } => {
            let _ = answer.send(pack(sessions, after, limit, tls));
        }
        WorkerCommand::Release {
            taken,
            resume,
            answer,
        } => {
            let _ = answer.send(release(sessions, &taken, resume));
        }
        WorkerCommand::Adopt {
            transfers,
            go,
            answer,
        } => {
            let _ = answer.send(adopt(sessions, transfers, go));
        }
        WorkerCommand::Shutdown { answer, .. } => {
            let _ = answer.send(0);
        }
    }
}

/// Answers about the sessions of a slice that match `query`.
fn visit<A>(
    sessions: &Sessions,
    query: &SessionQuery,
    slice: Slice,
    answer: oneshot::Sender<Sliced<A>>,
    of: impl FnOnce(&[Rc<Session>]) -> A,
) {
    let found = sessions.slice(query, slice);
    let _ = answer.send(found.map(|found| of(&found)));
}

/// Adds the counts of a slice's sessions to the metrics.
fn gather(sessions: &Sessions, slice: Slice, answer: oneshot::Sender<Sliced<()>>) {
    let gathered = sessions.slice(&SessionQuery::default(), slice);
    let gathered = gathered.map(|found| found.iter().for_each(|one| one.gather()));
    if gathered.next.is_none() {
        sessions.worker().drop_stale_metrics();
    }
    let _ = answer.send(gathered);
}
