//! Commands to a worker.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::live::{LookCommand, OperatorCommand, SessionQuery, Slice, Sliced, WorkerCommand};
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::{adopt, pack, release, renew_all, resume, revoke_all, rights};
use crate::proxy::session::{message_commands, orders};

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
        WorkerCommand::Look(command) => look(sessions, command),
        WorkerCommand::Operate(command) => operate(sessions, command),
        WorkerCommand::Messages(command) => message_commands::carry_out(sessions, command),
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
        WorkerCommand::Leave { ids, order, answer } => reply(answer, sessions.leave(&ids, &order)),
        WorkerCommand::Gather { slice, answer } => gather(sessions, slice, answer),
        WorkerCommand::Pack {
            after,
            limit,
            reads,
            answer,
        } => reply(answer, pack(sessions, after, limit, reads)),
        WorkerCommand::Release { taken, answer } => reply(answer, release(sessions, &taken)),
        WorkerCommand::Resume { slice, answer } => reply(answer, resume(sessions, slice)),
        WorkerCommand::Adopt {
            transfers,
            go,
            answer,
        } => reply(answer, adopt(sessions, transfers, go)),
        WorkerCommand::Shutdown { answer, .. } => reply(answer, 0),
    }
}

fn look(sessions: &Sessions, command: LookCommand) {
    match command {
        LookCommand::Samples {
            query,
            sort,
            slice,
            answer,
        } => visit(sessions, &query, slice, answer, |found| {
            sessions.samples(found, sort)
        }),
        LookCommand::Rights {
            until,
            slice,
            answer,
        } => visit(sessions, &SessionQuery::default(), slice, answer, |found| {
            rights(found, until)
        }),
        LookCommand::Views { ids, answer } => reply(answer, sessions.views_of(&ids)),
    }
}

fn operate(sessions: &Sessions, command: OperatorCommand) {
    match command {
        OperatorCommand::Move {
            id,
            to,
            order,
            answer,
        } => reply(answer, orders::move_one(sessions, id, to, &order)),
        OperatorCommand::Send {
            query,
            message,
            to,
            slice,
            answer,
        } => visit(sessions, &query, slice, answer, |found| {
            orders::send(found, to, &message)
        }),
        OperatorCommand::Tap {
            id,
            reporter,
            payload_max,
            answer,
        } => reply(answer, orders::tap(sessions, id, reporter, payload_max)),
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
    reply(answer, found.map(|found| of(&found)));
}

/// Adds the counts of a slice's sessions to the metrics.
fn gather(sessions: &Sessions, slice: Slice, answer: oneshot::Sender<Sliced<()>>) {
    let gathered = sessions.slice(&SessionQuery::default(), slice);
    let gathered = gathered.map(|found| found.iter().for_each(|one| one.gather()));
    if gathered.next.is_none() {
        sessions.worker().drop_stale_metrics();
    }
    reply(answer, gathered);
}

/// Sends an answer. It is dropped if the receiver has given up waiting.
fn reply<A>(answer: oneshot::Sender<A>, value: A) {
    drop(answer.send(value));
}
