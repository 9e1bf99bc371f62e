//! The new process: requests the sockets, reports when it serves, and takes over the sessions.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use zeroize::Zeroizing;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::control::drainer::Drainer;
use crate::control::handover::step::{ANSWER_MAX, StepError, receive};
use crate::control::messages::Messages;
use crate::control::revocations::RevocationStore;
use crate::control::ticket_keys::HandedKeys;
use crate::control::tickets::UsedOf;
use crate::core::session::staying::{StayReason, Staying};
use crate::io::handover::{
    FromNew, FromOld, PROTOCOL, STATE_NEWEST, STATE_OLDEST, VERSION, Wire, WireError,
};
use crate::io::net::listener::{Inheritance, InheritedSocket};
use crate::live::{EndTransfer, Live, SessionTransfer, TakenOver, TakingOver, WorkerCommand};
use crate::telemetry::events::{Fields, Kind};
use crate::telemetry::metrics::{Handing, NodeMetrics};

/// For the old process' first answer: it may be busy with another one's request.
const WELCOME_MAX: Duration = Duration::from_secs(30);
/// Between two messages with sessions: the old process waits for handshakes that are under way.
const SESSIONS_MAX: Duration = Duration::from_secs(60);
/// Sessions of one batch at most; the old process sends far fewer.
const BATCH_MAX: usize = 4096;
/// Bytes of a reason why a session is not taken.
pub(super) const REASON_MAX: usize = 120;

/// Orders of operators that are in force, for the process that takes over.
#[derive(Clone, Debug)]
pub struct OperatorOrders {
    /// The revocations.
    pub revocations: Arc<RevocationStore>,
    /// The admin states of backends.
    pub drainer: Arc<Drainer>,
}

/// Nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// There is a socket, and no way to it.
    #[error("cannot reach the process that listens on {}", .0.display())]
    Connect(PathBuf, #[source] io::Error),
    /// The peer belongs to another user, who could hand over anything.
    #[error("the process that listens on {} runs as another user ({uid})", .path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Of that process.
        uid: u32,
    },
    /// The old process refuses.
    #[error("the running process refuses the hand-over: {0}")]
    Refused(String),
    /// The old process continues, and nothing was taken.
    #[error("the running process goes on serving: {0}")]
    CalledOff(String),
    /// It does not speak as it should.
    #[error("the hand-over broke off: {0}")]
    Broken(String),
    /// This process was stopped meanwhile.
    #[error("this process is stopping")]
    Interrupted,
}

impl From<StepError> for TakeError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Stopped => Self::Interrupted,
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<WireError> for TakeError {
    fn from(error: WireError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a process has of the one before it from the beginning.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listening sockets.
    pub sockets: Inheritance,
    /// Keys of TLS tickets, if that process sent any that this one reads.
    pub ticket_keys: Option<HandedKeys>,
}

/// The process before this one, which still serves.
#[derive(Debug)]
pub struct Predecessor {
    wire: Wire,
    pid: u32,
    version: String,
}

impl Predecessor {
    /// Asks the process that listens on `path` for its listening sockets and ticket keys; `None` if
    /// none does.
    ///
    /// # Errors
    /// When there is one and it does not give them.
    pub async fn call(path: &Path) -> Result<Option<(Self, Inherited)>, TakeError> {
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) => {
                use io::ErrorKind as Kind;
                return match error.kind() {
                    Kind::NotFound | Kind::ConnectionRefused => Ok(None),
                    _ => Err(TakeError::Connect(path.to_owned(), error)),
                };
            }
        };
        let peer = stream.peer_cred();
        let uid = peer
            .map_err(|error| TakeError::Connect(path.to_owned(), error))?
            .uid();
        if !may_hand_over(uid, rustix::process::geteuid().as_raw()) {
            let path = path.to_owned();
            return Err(TakeError::Stranger { path, uid });
        }
        let mut wire = Wire::new(stream)?;
        wire.send_message(&FromNew::Hello {
            protocol: PROTOCOL,
            states: (STATE_OLDEST, STATE_NEWEST),
            version: VERSION.to_owned(),
        })
        .await?;
        let (_keep, mut never) = watch::channel(false);
        let welcome = receive(&mut wire, WELCOME_MAX, &mut never).await?;
        let ticket_keys = HandedKeys::from_bytes(&Zeroizing::new(welcome.attachment));
        let (pid, version, listeners) = match welcome.content {
            FromOld::Welcome {
                protocol: PROTOCOL,
                pid,
                version,
                listeners,
                state: STATE_OLDEST..=STATE_NEWEST,
            } => (pid, version, listeners),
            FromOld::Refused { reason } => return Err(TakeError::Refused(reason)),
            other => return Err(unexpected(&other).into()),
        };
        let mut sockets = Inheritance::default();
        for _ in 0..listeners {
            let message = receive(&mut wire, ANSWER_MAX, &mut never).await?;
            let FromOld::Listener { owner, asked } = message.content else {
                return Err(unexpected(&message.content).into());
            };
            let broken = |what: String| TakeError::Broken(what);
            let address = asked.parse().map_err(|error| broken(format!("{error}")))?;
            let descriptor = message.descriptors.into_iter().next();
            let descriptor = descriptor.ok_or_else(|| broken(format!("no socket for {asked}")))?;
            let left = InheritedSocket::new(owner, address, descriptor);
            sockets.add(left.map_err(|error| broken(format!("{asked}: {error}")))?);
        }
        let inherited = Inherited {
            sockets,
            ticket_keys,
        };
        Ok(Some((Self { wire, pid, version }, inherited)))
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) async fn give_up(mut self, reason: String) {
        // It will find out in any case; this is for its log.
        let failed = FromNew::Failed { reason };
        let _ = tokio::time::timeout(ANSWER_MAX, self.wire.send_message(&failed)).await;
    }

    /// Takes the sessions, and calls `ready` when all have arrived. If the old process disappears,
    /// this one replaces it; if it continues serving, the hand-over is called off, unless some
    /// sessions have arrived.
    ///
    /// # Errors
    /// When the old process continues serving, or this one is stopped.
    pub(super) async fn take(
        mut self,
        live: &Live,
        (operator_orders, messages): (&OperatorOrders, Option<&Messages>),
        node: &NodeMetrics,
        stop: &mut watch::Receiver<bool>,
        ready: &mut (dyn FnMut() + Send),
    ) -> Result<(), TakeError> {
        let began = clock::now();
        tracing::info!(from = self.pid, version = %self.version, "taking over");
        let mut taken = 0;
        let mut ended = self
            .receive_all(live, (operator_orders, messages), node, stop, &mut taken)
            .await;
        let elsewhere = operator_orders.drainer.elsewhere();
        if !ended.as_ref().is_ok_and(Staying::is_empty) {
            elsewhere.set_predecessor(self.pid);
        }
        elsewhere.set_handing_over(false);
        if ended.is_ok() {
            // Before the other process ends, which was the service manager's main one.
            ready();
            if let Err(error) = self.wire.send_message(&FromNew::Finished).await {
                ended = Err(error.into());
            }
        }
        let took = clock::now().duration_since(began);
        live.set_taken_over(TakenOver {
            sessions: taken,
            staying: ended.as_ref().ok().cloned().unwrap_or_default(),
            from_pid: self.pid,
            at: clock::wall(),
        });
        match ended {
            Ok(staying) => {
                node.handed_over(Handing::In, took);
                tracing::info!(
                    from = self.pid,
                    sessions = taken,
                    %staying,
                    took = %clock::readable(took),
                    "taken over"
                );
                Ok(())
            }
            Err(error @ TakeError::Interrupted) => Err(error),
            Err(error @ TakeError::CalledOff(_)) if taken == 0 => {
                node.handover_failed();
                Err(error)
            }
            Err(error) => {
                node.handover_failed();
                let failed = Fields::new(error.to_string());
                live.events().change(Kind::HandoverFailed, failed);
                tracing::error!(from = self.pid, sessions = taken, %error, "not all is taken over");
                Ok(())
            }
        }
    }

    /// Returns the sessions that stay with the old process.
    async fn receive_all(
        &mut self,
        live: &Live,
        (operator_orders, messages): (&OperatorOrders, Option<&Messages>),
        node: &NodeMetrics,
        stop: &mut watch::Receiver<bool>,
        taken: &mut usize,
    ) -> Result<Staying, TakeError> {
        let mut progress = TakingOver {
            sessions: 0,
            from_pid: self.pid,
            since: clock::wall(),
        };
        live.set_taking_over(progress);
        // If a message cannot be sent, the peer's last message has the reason.
        let _ = self.wire.send_message(&FromNew::Serving).await;
        let (mut transfers, mut orders, mut revocations) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let message = receive(&mut self.wire, SESSIONS_MAX, stop).await?;
            match message.content {
                FromOld::Session { id, tls } if transfers.len() < BATCH_MAX => {
                    let received = transfer(id, tls, &message.attachment, message.descriptors);
                    transfers.push(received?);
                }
                FromOld::Revocations {
                    revocations: some,
                    more,
                } => {
                    revocations.extend(some);
                    if !more {
                        let store = Arc::clone(&operator_orders.revocations);
                        store.adopt(std::mem::take(&mut revocations)).await;
                        // A slow disk must not delay the hand-over, during which sessions pause.
                        tokio::spawn(async move { store.save().await });
                    }
                }
                FromOld::Tickets { used } => {
                    let used = serde_json::from_value::<Vec<UsedOf>>(used);
                    let broken = |_| TakeError::Broken("used tickets that are none".to_owned());
                    operator_orders
                        .revocations
                        .tickets()
                        .adopt(&used.map_err(broken)?);
                }
                FromOld::Orders { orders: some, more } => {
                    orders.extend(some);
                    if !more {
                        let drainer = Arc::clone(&operator_orders.drainer);
                        drainer.adopt(std::mem::take(&mut orders));
                        tokio::spawn(async move { drainer.save().await });
                    }
                }
                part @ (FromOld::History | FromOld::Topics | FromOld::Ids) => {
                    adopt_messages(messages, &part, &message.attachment).await;
                }
                FromOld::Batch => {
                    let batch = std::mem::take(&mut transfers);
                    let more = adopt(&mut self.wire, live, batch).await.unwrap_or(0);
                    node.handed_sessions(Handing::In, more);
                    *taken += more;
                    progress.sessions = *taken;
                    live.set_taking_over(progress);
                }
                FromOld::Done { staying, reasons } => {
                    return Ok(reasons.unwrap_or_else(|| ending(staying)));
                }
                FromOld::Stopped {
                    reason,
                    serving: true,
                } => return Err(TakeError::CalledOff(reason)),
                FromOld::Stopped { reason, .. } => return Err(TakeError::Broken(reason)),
                other => return Err(unexpected(&other).into()),
            }
        }
    }
}

/// Takes what the old process has of published messages, if this one has a part in them.
async fn adopt_messages(messages: Option<&Messages>, part: &FromOld, attachment: &[u8]) {
    let Some(messages) = messages else {
        return;
    };
    match part {
        FromOld::History => messages.adopt_history(attachment).await,
        FromOld::Topics => messages.adopt_topics(attachment),
        FromOld::Ids => messages.adopt_ids(attachment),
        _ => {}
    }
}

/// So many sessions of an older process, which gives no reasons.
fn ending(sessions: usize) -> Staying {
    let mut staying = Staying::default();
    staying.add(StayReason::Ending, sessions);
    staying
}

/// A session as the old process sent it: the TLS states follow its own in the attachment.
fn transfer(
    id: SessionId,
    tls: Option<(usize, usize)>,
    attachment: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<SessionTransfer, TakeError> {
    let broken = |what: &str| TakeError::Broken(format!("a session {what}"));
    let (client, backend) = tls.unwrap_or_default();
    let states = client.checked_add(backend);
    let own = states.and_then(|states| attachment.len().checked_sub(states));
    let own = own.ok_or_else(|| broken("with states longer than its attachment"))?;
    let (state, states) = attachment.split_at(own);
    let (client, backend) = states.split_at(client);
    let keys = |state: &[u8]| (!state.is_empty()).then(|| Zeroizing::new(state.to_vec()));
    let mut sockets = descriptors.into_iter();
    let end = |socket, tls: &[u8]| EndTransfer {
        socket,
        tls: keys(tls),
    };
    let socket = sockets.next().ok_or_else(|| broken("without a socket"))?;
    Ok(SessionTransfer {
        id,
        state: Zeroizing::new(state.to_vec()),
        client: end(socket, client),
        backend: sockets.next().map(|socket| end(socket, backend)),
    })
}

/// Whether a process of user `own` takes anything from one of user `uid`.
fn may_hand_over(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

fn unexpected(content: &FromOld) -> StepError {
    StepError::Unexpected(content.name().to_owned())
}

/// Takes over a batch: the workers prepare it, the old process is notified, and only then do its
/// sessions start. Returns their number. This future must not be dropped halfway.
async fn adopt(
    wire: &mut Wire,
    live: &Live,
    transfers: Vec<SessionTransfer>,
) -> Result<usize, WireError> {
    let mut taken: Vec<SessionId> = Vec::with_capacity(transfers.len());
    let mut refused = Vec::new();
    let mut gos = Vec::new();
    for (worker, transfers) in spread(live, transfers) {
        let ids: Vec<_> = transfers.iter().map(|transfer| transfer.id).collect();
        let (go, wait) = oneshot::channel();
        let mut given = Some((transfers, wait));
        let adopted = live.workers().ask_each(ANSWER_MAX, |place, answer| {
            let (transfers, go) = given.take_if(|_| place == worker)?;
            Some(WorkerCommand::Adopt {
                transfers,
                go,
                answer,
            })
        });
        match adopted.await.into_iter().next() {
            Some(adopted) => {
                taken.extend(adopted.ready);
                let refusals = adopted.refused.into_iter();
                refused.extend(refusals.map(|(id, why)| (id, short(why))));
                gos.push(go);
            }
            None => refused.extend(
                ids.into_iter()
                    .map(|id| (id, "a worker is gone".to_owned())),
            ),
        }
    }
    let count = taken.len();
    wire.send_message(&FromNew::Taken { taken, refused })
        .await?;
    for go in gos {
        // A worker that is gone has ended its sessions, with their records.
        let _ = go.send(());
    }
    Ok(count)
}

/// The beginning of a reason: those of a whole batch must fit into one message.
fn short(mut why: String) -> String {
    let end = (0..=REASON_MAX).rev().find(|at| why.is_char_boundary(*at));
    why.truncate(end.unwrap_or(0));
    why
}

/// Gives each to the worker that has the fewest connections.
fn spread(live: &Live, transfers: Vec<SessionTransfer>) -> Vec<(usize, Vec<SessionTransfer>)> {
    let loads = live.workers().loads();
    let mut loads: Vec<_> = loads
        .map(|load| load.connections.load(Ordering::Relaxed))
        .collect();
    let mut piles: Vec<_> = loads.iter().map(|_| Vec::new()).enumerate().collect();
    for transfer in transfers {
        let fewest = (0..loads.len()).min_by_key(|at| loads[*at]).unwrap_or(0);
        loads[fewest] += 1;
        piles[fewest].1.push(transfer);
    }
    piles.retain(|(_, pile)| !pile.is_empty());
    piles
}

#[cfg(test)]
mod tests {
    use super::may_hand_over;

    #[test]
    fn only_the_same_user_and_root_hand_over() {
        assert!(may_hand_over(1000, 1000) && may_hand_over(0, 1000) && may_hand_over(0, 0));
        // A user's process could feed one of root with sessions of its own making.
        assert!(!may_hand_over(1000, 0) && !may_hand_over(1001, 1000));
    }
}
