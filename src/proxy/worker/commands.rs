//! Commands to a worker. An answer that fails to be sent is dropped: the asker has given up
//! waiting.

use std::rc::Rc;

use crate::live::{SessionQuery, WorkerCommand};
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
        } => {
            let found = sessions.slice(&query, slice);
            let _ = answer.send(found.map(|found| sessions.views(&found, limit)));
        }
        WorkerCommand::Close {
            query,
            order,
            given,
            slice,
            answer,
        } => {
            let found = sessions.slice(&query, slice);
            let closed = found.map(|found| sessions.close(&found, &order, given.as_ref()));
            let _ = answer.send(closed);
        }
        WorkerCommand::Renew {
            query,
            renewal,
            slice,
            answer,
        } => {
            let found = sessions.slice(&query, slice);
            let _ = answer.send(found.map(|found| renew_all(sessions, &found, &renewal)));
        }
        WorkerCommand::Revoke { slice, answer } => {
            let found = sessions.slice(&SessionQuery::default(), slice);
            let _ = answer.send(found.map(|found| revoke_all(sessions, &found)));
        }
        WorkerCommand::Briefs {
            query,
            slice,
            answer,
        } => {
            let found = sessions.slice(&query, slice);
            let _ = answer.send(found.map(|found| sessions.briefs(&found)));
        }
        WorkerCommand::Leave { ids, order, answer } => {
            let _ = answer.send(sessions.leave(&ids, &order));
        }
        WorkerCommand::Gather { slice, answer } => {
            let gathered = sessions.slice(&SessionQuery::default(), slice);
            let gathered = gathered.map(|found| found.iter().for_each(|one| one.gather()));
            if gathered.next.is_none() {
                sessions.worker().drop_stale_metrics();
            }
            let _ = answer.send(gathered);
        }
        command @ (WorkerCommand::Pack { .. }
        | WorkerCommand::Release { .. }
        | WorkerCommand::Adopt { .. }
        | WorkerCommand::Shutdown { .. }) => hand_over(sessions, command),
    }
}

/// Carries out a command of a hand-over or of the shutdown.
fn hand_over(sessions: &Rc<Sessions>, command: WorkerCommand) {
    match command {
        WorkerCommand::Pack {
            after,
            limit,
            answer,
        } => {
            let _ = answer.send(pack(sessions, after, limit));
        }
        WorkerCommand::Release {
            taken,
            resume,
            answer,
        } => {
            let _ = answer.send(release(sessions, &taken, resume));
        }
        WorkerCommand::Adopt {
            parcels,
            go,
            answer,
        } => {
            let _ = answer.send(adopt(sessions, parcels, go));
        }
        WorkerCommand::Shutdown { answer, .. } => {
            let _ = answer.send(0);
        }
        _ => unreachable!("`carry_out` handles the others"),
    }
}
