//! The old process: waits for its successor, sends it the listening sockets, then the sessions, and
//! continues as before if the successor fails at any step.

use std::os::fd::AsFd as _;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::control::drainer::Drainer;
use crate::control::handover::outcome::HandoverOutcome;
use crate::control::handover::send_messages::{SentMessages, send_topics};
use crate::control::handover::send_session::send_session;
use crate::control::handover::step::{ANSWER_MAX, StepError, receive};
use crate::control::messages::Messages;
use crate::control::revocations;
use crate::control::ticket_keys::TicketKeyStore;
use crate::control::tickets::{Tickets, UsedOf};
use crate::core::session::drain::BackendOrder;
use crate::core::session::staying::{StayReason, Staying};
use crate::io::handover::{
    FromNew, FromOld, PROTOCOL, STATE, STATE_FUNCTIONS, STATE_TLS, VERSION, Wire, WireError, agree,
};
use crate::io::net::listener::{self, Owner};
use crate::io::net::socket::Detached;
use crate::live::{HandingOver, Live, TransferBatch, WorkerCommand};
use crate::telemetry::events::{Fields, Kind};
use crate::telemetry::metrics::{Handing, NodeMetrics};

/// Time for the first message of a peer.
const HELLO_MAX: Duration = Duration::from_secs(5);
/// For the new process to bind and to start its workers.
const START_MAX: Duration = Duration::from_secs(60);
/// Handshakes and requests that are under way have this long to become a session or to end; what
/// is left then ends with this process, over its grace time.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// Between looks at those.
const FOLLOW_EVERY: Duration = Duration::from_millis(20);
/// Sessions of one worker that neither process moves at once.
const BATCH: usize = 32;
/// Sessions of one batch, of all workers, so that the answer fits into one message.
const BATCH_ALL: usize = 256;
/// Revocations of one message, each of them a KiB or two at most.
const REVOCATIONS: usize = 16;
/// Used tickets of one message, each of them a KiB at most.
const TICKETS: usize = 32;
/// Orders of one message, each of them a few hundred bytes at most.
const ORDERS: usize = 100;

/// Everything that a process can leave.
pub(super) struct HandoverOffer {
    pub(super) live: Arc<Live>,
    pub(super) node: Arc<NodeMetrics>,
    pub(super) messages: Option<Arc<Messages>>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) ticket_keys: Arc<TicketKeyStore>,
    pub(super) drainer: Arc<Drainer>,
    pub(super) sockets: Vec<(Owner, listener::Bound)>,
}

/// Sessions that were handed over, and those that stay.
#[derive(Debug, Default)]
struct Moved {
    sessions: usize,
    staying: Staying,
}

impl HandoverOffer {
    /// Serves successors until one has taken everything. `None` when the gateway stops first.
    pub(super) async fn wait(
        self,
        door: listener::Bound,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<HandoverOutcome> {
        let mut door = match door.start() {
            Ok(door) => door,
            Err(error) => {
                tracing::error!(%error, "hand-over is off: its socket cannot be watched");
                return None;
            }
        };
        loop {
            let came = tokio::select! {
                came = door.accept() => came,
                _ = stop.wait_for(|stop| *stop) => return None,
            };
            let stream = match came.map(|incoming| incoming.socket) {
                Ok(Detached::Unix(stream)) => UnixStream::from_std(stream),
                Ok(Detached::Tcp(_)) => continue,
                Err(error) => {
                    tracing::warn!(%error, source = %error.source, "hand-over");
                    continue;
                }
            };
            let wire = stream.map_err(WireError::from).and_then(Wire::new);
            let given = match wire {
                Ok(wire) => self.give(wire, stop).await,
                Err(error) => Err(error.into()),
            };
            match given {
                Ok(Moved { sessions, staying }) => {
                    let staying = staying.total();
                    for (_, socket) in &self.sockets {
                        socket.give_away();
                    }
                    return Some(HandoverOutcome::Given { sessions, staying });
                }
                Err(StepError::Stopped) => return None,
                Err(error) => {
                    self.node.handover_failed();
                    let failed = Fields::new(error.to_string());
                    self.live.events().change(Kind::HandoverFailed, failed);
                    tracing::error!(%error, "nothing was handed over; this process goes on");
                }
            }
        }
    }

    async fn give(
        &self,
        mut wire: Wire,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Moved, StepError> {
        let began = clock::now();
        let reads = match self.introduce(&mut wire, stop).await {
            Ok(newest) => newest,
            Err(error) => {
                let serving = !matches!(error, StepError::Stopped);
                call_off(&mut wire, error.to_string(), serving).await;
                return Err(error);
            }
        };
        let pid = wire.peer_pid();
        self.live.set_other_process(pid.unwrap_or(0));
        tracing::info!(
            to = pid,
            sessions = self.live.workers().sessions(),
            "handing over"
        );
        self.live.set_handing_over(Some(HandingOver {
            total: self.live.workers().sessions(),
            to_pid: pid,
            since: clock::wall(),
        }));
        self.live.accept(false);
        self.drainer.elsewhere().set_handing_over(true);
        match self.give_sessions(&mut wire, reads, stop).await {
            Ok(moved) => {
                let took = clock::now().duration_since(began);
                self.node.handed_over(Handing::Out, took);
                self.drainer.elsewhere().set_given();
                tracing::info!(
                    to = pid,
                    sessions = moved.sessions,
                    staying = %moved.staying,
                    took = %clock::readable(took),
                    "handed over"
                );
                Ok(moved)
            }
            Err(error) => {
                let serving = !matches!(error, StepError::Stopped);
                self.reclaim(wire, error.to_string(), serving).await;
                self.drainer.elsewhere().set_handing_over(false);
                self.live.set_handing_over(None);
                Err(error)
            }
        }
    }

    /// Up to where the new process serves. Nothing has changed here until then. Returns the newest
    /// version of a session's state that the new process reads.
    async fn introduce(
        &self,
        wire: &mut Wire,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<u32, StepError> {
        let (protocol, states, version) = match receive(wire, HELLO_MAX, stop).await?.content {
            FromNew::Hello {
                protocol,
                states,
                version,
            } => (protocol, states, version),
            other => return Err(unexpected(other)),
        };
        if let Err(reason) = agree(protocol, states) {
            let refused = FromOld::Refused {
                reason: reason.clone(),
            };
            send_message(wire, &refused).await?;
            return Err(StepError::Unexpected(reason));
        }
        // The new process registers in the fleet before it requests sessions.
        self.live.set_other_process(wire.peer_pid().unwrap_or(0));
        tracing::info!(to = wire.peer_pid(), version, "a process takes over");
        let welcome = FromOld::Welcome {
            protocol: PROTOCOL,
            state: STATE,
            version: VERSION.to_owned(),
            pid: process::id(),
            listeners: self.sockets.len(),
        };
        let ticket_keys = self.ticket_keys.hand_over().to_bytes();
        let attachment = [ticket_keys.as_slice()];
        let sent = wire.send(&welcome, &attachment, &[]);
        timeout(ANSWER_MAX, sent)
            .await
            .map_err(|_| StepError::Silent(ANSWER_MAX))??;
        for (owner, socket) in &self.sockets {
            let listener = FromOld::Listener {
                owner: owner.clone(),
                asked: socket.asked().to_string(),
            };
            let descriptors = [socket.as_fd()];
            let sent = wire.send(&listener, &[], &descriptors);
            timeout(ANSWER_MAX, sent)
                .await
                .map_err(|_| StepError::Silent(ANSWER_MAX))??;
        }
        match receive(wire, START_MAX, stop).await?.content {
            FromNew::Serving => Ok(states.1),
            other => Err(unexpected(other)),
        }
    }

    /// Gives every session that can go, those of handshakes under way too.
    async fn give_sessions(
        &self,
        wire: &mut Wire,
        reads: u32,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Moved, StepError> {
        let until = Instant::now() + FOLLOW_MAX;
        // The broker needs a moment for them.
        let messages = self.messages.as_deref();
        if let Some(messages) = messages {
            send_topics(wire, messages, reads).await?;
        }
        self.tell_tickets(wire).await?;
        self.tell_revocations(wire).await?;
        let orders = self.drainer.orders();
        tell_orders(wire, &orders).await?;
        let mut sent = SentMessages::default();
        if let Some(messages) = messages {
            sent.send_more(wire, messages, reads).await?;
        }
        // When all have answered, no worker accepts, and what one accepted for another is counted.
        self.pack(&vec![Some(None); self.live.workers().len()], 0, reads)
            .await;
        let mut moved = Moved::default();
        loop {
            let (staying, coming) = self.give_round(wire, reads, stop, &mut moved).await?;
            moved.staying = staying;
            let calls = moved.staying.of(StayReason::FunctionAnswers);
            if (coming == 0 && calls == 0) || Instant::now() >= until {
                break;
            }
            sleep(FOLLOW_EVERY).await;
        }
        // Clients and operators may have gone on asking this process.
        self.tell_tickets(wire).await?;
        self.tell_revocations(wire).await?;
        let last = self.drainer.orders();
        if last != orders {
            tell_orders(wire, &last).await?;
        }
        if let Some(messages) = messages {
            sent.send_rest(wire, messages, reads).await?;
        }
        // A worker that answered too late may hold sessions whose transfer was never sent.
        self.release(&[]).await;
        let done = FromOld::Done {
            staying: moved.staying.total(),
            reasons: (reads >= STATE_TLS).then(|| moved.staying.as_known(reads >= STATE_FUNCTIONS)),
        };
        send_message(wire, &done).await?;
        match receive(wire, ANSWER_MAX, stop).await?.content {
            FromNew::Finished => Ok(moved),
            other => Err(unexpected(other)),
        }
    }

    async fn tell_tickets(&self, wire: &mut Wire) -> Result<(), StepError> {
        for UsedOf {
            authenticator,
            tickets,
        } in self.tickets.all()
        {
            for some in tickets.chunks(TICKETS) {
                let used = UsedOf {
                    authenticator: authenticator.clone(),
                    tickets: some.to_vec(),
                };
                let used = serde_json::to_value([used]).expect("plain data serialises");
                send_message(wire, &FromOld::Tickets { used }).await?;
            }
        }
        Ok(())
    }

    async fn tell_revocations(&self, wire: &mut Wire) -> Result<(), StepError> {
        let own = revocations::own(&self.live);
        let mut rest = own.as_slice();
        loop {
            let (some, after) = rest.split_at(rest.len().min(REVOCATIONS));
            let (revocations, more) = (some.to_vec(), !after.is_empty());
            send_message(wire, &FromOld::Revocations { revocations, more }).await?;
            if !more {
                return Ok(());
            }
            rest = after;
        }
    }

    /// Looks at every session once; answers how many stay, and how many connections may still
    /// become sessions.
    async fn give_round(
        &self,
        wire: &mut Wire,
        reads: u32,
        stop: &mut watch::Receiver<bool>,
        moved: &mut Moved,
    ) -> Result<(Staying, usize), StepError> {
        let mut cursors: Vec<Option<Option<SessionId>>> =
            vec![Some(None); self.live.workers().len()];
        let (mut staying, mut coming) = (Staying::default(), 0);
        while cursors.iter().any(Option::is_some) {
            let batch = self.pack(&cursors, share(&cursors), reads).await;
            let mut count = 0;
            for (cursor, packed) in cursors.iter_mut().zip(&batch) {
                let Some(packed) = packed else {
                    *cursor = None;
                    continue;
                };
                staying.merge(&packed.staying);
                coming += if packed.next.is_none() {
                    packed.coming
                } else {
                    0
                };
                count += packed.transfers.len();
                *cursor = packed.next.map(Some);
            }
            if count == 0 {
                continue;
            }
            self.send_batch(wire, batch).await?;
            let content = receive(wire, ANSWER_MAX, stop).await?.content;
            let FromNew::Taken { taken, refused } = content else {
                return Err(unexpected(content));
            };
            for (id, reason) in &refused {
                tracing::warn!(session = %id, reason, "a session stays");
            }
            staying.add(StayReason::Refused, refused.len());
            let went = self.release(&taken).await;
            self.node.handed_sessions(Handing::Out, went);
            moved.sessions += went;
        }
        Ok((staying, coming))
    }

    /// Asks each worker that still has some for its next few.
    async fn pack(
        &self,
        cursors: &[Option<Option<SessionId>>],
        limit: usize,
        reads: u32,
    ) -> Vec<Option<TransferBatch>> {
        let pack = |worker: usize, answer| {
            let after = cursors[worker]?;
            Some(WorkerCommand::Pack {
                after,
                limit,
                reads,
                answer,
            })
        };
        self.live.workers().ask_each(ANSWER_MAX, pack).await.0
    }

    async fn send_batch(
        &self,
        wire: &mut Wire,
        batch: Vec<Option<TransferBatch>>,
    ) -> Result<(), StepError> {
        let transfers = batch
            .into_iter()
            .flatten()
            .flat_map(|packed| packed.transfers);
        let sent = async {
            for transfer in transfers {
                send_session(wire, &transfer).await?;
            }
            wire.send_message(&FromOld::Batch).await
        };
        timeout(ANSWER_MAX, sent)
            .await
            .map_err(|_| StepError::Silent(ANSWER_MAX))??;
        Ok(())
    }

    /// Releases sessions; returns their number.
    async fn release(&self, taken: &[SessionId]) -> usize {
        let release = |_, answer| {
            Some(WorkerCommand::Release {
                taken: taken.to_vec(),
                answer,
            })
        };
        let released = self.live.workers().ask_each(ANSWER_MAX, release);
        released.await.into_iter().sum()
    }

    /// Lets the workers go on as before.
    async fn resume(&self) {
        let resume = |slice, answer| WorkerCommand::Resume { slice, answer };
        self.live.workers().walk(resume).await;
    }

    /// Goes on serving with all that the new process did not take. What it did take is read out of
    /// a queue that it can put nothing more into.
    async fn reclaim(&self, mut wire: Wire, reason: String, serving: bool) {
        call_off(&mut wire, reason, serving).await;
        let mut gone = Vec::new();
        // Closed at both ends already: then the queue is complete as it is.
        let _ = wire.shut_receiving();
        while let Ok(Ok(Some(message))) = timeout(ANSWER_MAX, wire.receive::<FromNew>()).await {
            if let FromNew::Taken { taken, .. } = message.content {
                gone.extend(taken);
            }
        }
        let went = self.release(&gone).await;
        self.resume().await;
        if went > 0 {
            self.node.handed_sessions(Handing::Out, went);
            tracing::warn!(sessions = went, "these are with the other process");
        }
        self.live.accept(serving);
    }
}

/// How many sessions each worker that still has some gives to the next batch.
fn share(cursors: &[Option<Option<SessionId>>]) -> usize {
    let workers = cursors.iter().flatten().count();
    (BATCH_ALL / workers.max(1)).clamp(1, BATCH)
}

/// Best effort: the peer may be gone, or hang.
async fn call_off(wire: &mut Wire, reason: String, serving: bool) {
    let stopped = FromOld::Stopped { reason, serving };
    let _ = timeout(Duration::from_secs(1), wire.send_message(&stopped)).await;
}

async fn send_message(wire: &mut Wire, content: &FromOld) -> Result<(), StepError> {
    let sent = timeout(ANSWER_MAX, wire.send_message(content)).await;
    Ok(sent.map_err(|_| StepError::Silent(ANSWER_MAX))??)
}

fn unexpected(content: FromNew) -> StepError {
    match content {
        FromNew::Failed { reason } => StepError::Unexpected(format!("it gave up: {reason}")),
        other => StepError::Unexpected(other.name().to_owned()),
    }
}

async fn tell_orders(wire: &mut Wire, orders: &[BackendOrder]) -> Result<(), StepError> {
    let mut rest = orders;
    loop {
        let (some, after) = rest.split_at(rest.len().min(ORDERS));
        let (orders, more) = (some.to_vec(), !after.is_empty());
        send_message(wire, &FromOld::Orders { orders, more }).await?;
        if !more {
            return Ok(());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests;
