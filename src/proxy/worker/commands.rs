//! Commands to a worker. An answer that fails to be sent is dropped: the asker has given up
//! waiting.

use std::rc::Rc;

use crate::live::WorkerCommand;
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::{adopt, pack, release, renew_all, revoke_all};

/// Carries out one command.
pub(crate) fn carry_out(sessions: &Rc<Sessions>, command: WorkerCommand) {
    match command {
        WorkerCommand::Sessions {
            query,
            limit,
            answer,
        } => {
            let _ = answer.send(sessions.list(&query, limit));
        }
        WorkerCommand::Close {
            query,
            order,
            given,
            answer,
        } => {
            let _ = answer.send(sessions.close(&query, &order, given.as_ref()));
        }
        WorkerCommand::Renew {
            query,
            renewal,
            answer,
        } => {
            let _ = answer.send(renew_all(sessions, &query, &renewal));
        }
        WorkerCommand::Revoke { answer } => {
            let _ = answer.send(revoke_all(sessions));
        }
        WorkerCommand::Briefs { query, answer } => {
            let _ = answer.send(sessions.briefs(&query));
        }
        WorkerCommand::Leave {
            which,
            order,
            answer,
        } => {
            let _ = answer.send(sessions.leave(&which, &order));
        }
        WorkerCommand::Gather { answer } => {
            sessions.gather();
            sessions.worker().drop_stale_metrics();
            let _ = answer.send(());
        }
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
    }
}
