//! The hand-over of a gateway to the next process: first its listening sockets, so that no client
//! is refused, then its sessions. `take` is the new process, `give` the old one.
//! A process takes when it starts, and gives when it is replaced. `step` waits for one message.

mod give;
mod outcome;
mod send_messages;
mod send_session;
mod step;
mod take;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::addr::ListenAddr;
use crate::control::exposed;
use crate::control::messages::Messages;
use crate::control::ticket_keys::TicketKeyStore;
use crate::io::net::listener::{self, BindError, Owner};
use crate::live::Live;
use crate::telemetry::metrics::NodeMetrics;

pub use outcome::HandoverOutcome;
pub use take::{Inherited, OperatorOrders, Predecessor, TakeError};

/// A hand-over by `--take-over`, and its state.
#[derive(Debug)]
pub struct HandoverRequest {
    path: PathBuf,
    predecessor: Option<Predecessor>,
    /// Sockets of the previous process, for the listeners, and its ticket keys.
    pub inherited: Inherited,
}

impl HandoverRequest {
    /// Asks the process that listens on `path`, if one does, for everything it has.
    ///
    /// # Errors
    /// When there is one and it refuses, or does not answer.
    pub async fn make(path: &Path) -> Result<Self, TakeError> {
        let (predecessor, inherited) = Predecessor::call(path).await?.unzip();
        Ok(Self {
            path: path.to_owned(),
            predecessor,
            inherited: inherited.unwrap_or_default(),
        })
    }

    /// This process cannot replace the other, which continues.
    pub async fn give_up(&mut self, reason: String) {
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.give_up(reason).await;
        }
    }

    /// Everything is bound; `sockets` are second handles to all of it.
    ///
    /// # Errors
    /// When the path cannot be listened on, if it is not inherited.
    pub fn settle(
        &mut self,
        mut sockets: Vec<(Owner, listener::Bound)>,
        ticket_keys: Arc<TicketKeyStore>,
    ) -> Result<Handover, SettleError> {
        let door = match self.inherited.sockets.take_for(&Owner::Handover) {
            Some(left) => left.listen_on()?,
            None => {
                if let Some(directory) = self.path.parent().and_then(exposed::open_directory) {
                    let directory = directory.display();
                    tracing::warn!(
                        %directory, path = %self.path.display(),
                        "every user of this machine may write to the hand-over socket's directory"
                    );
                }
                listener::bind_private(&self.path)?
            }
        };
        sockets.push((Owner::Handover, door.share().map_err(SettleError::Share)?));
        Ok(Handover {
            predecessor: self.predecessor.take(),
            door,
            sockets,
            ticket_keys,
        })
    }
}

/// The hand-over socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// It cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Out of descriptors.
    #[error("cannot keep a second handle to the hand-over socket")]
    Share(#[source] io::Error),
}

/// A gateway that takes over, then waits for the process that will take over from it.
#[derive(Debug)]
pub struct Handover {
    predecessor: Option<Predecessor>,
    door: listener::Bound,
    sockets: Vec<(Owner, listener::Bound)>,
    ticket_keys: Arc<TicketKeyStore>,
}

/// A hand-over that runs beside the gateway.
#[derive(Debug)]
pub struct Running {
    task: JoinHandle<Option<HandoverOutcome>>,
    stop: watch::Sender<bool>,
}

impl Handover {
    /// Whether a process before this one still has sessions.
    pub fn takes_over(&self) -> bool {
        self.predecessor.is_some()
    }

    /// The address at which a process that takes over connects.
    pub fn address(&self) -> &ListenAddr {
        self.door.address()
    }

    /// The process before this one.
    pub fn predecessor_pid(&self) -> Option<u32> {
        self.predecessor.as_ref().map(Predecessor::pid)
    }

    /// Begins; the gateway accepts already.
    pub fn start(
        self,
        live: Arc<Live>,
        (operator_orders, messages): (OperatorOrders, Option<Arc<Messages>>),
        node: Arc<NodeMetrics>,
        ready: impl FnOnce() + Send + 'static,
    ) -> Running {
        let (stop, mut stopped) = watch::channel(false);
        let takes_over = self.takes_over();
        operator_orders
            .drainer
            .elsewhere()
            .set_handing_over(takes_over);
        if let Some(messages) = &messages {
            messages.set_elsewhere(Arc::clone(operator_orders.drainer.elsewhere()));
        }
        let mut ready = Some(ready);
        let mut ready = move || {
            if let Some(ready) = ready.take() {
                ready();
            }
        };
        let task = tokio::spawn(async move {
            if let Some(predecessor) = self.predecessor {
                let kept = (&operator_orders, messages.as_deref());
                let taken = predecessor.take(&live, kept, &node, &mut stopped, &mut ready);
                let taken = taken.await;
                if let Some(messages) = &messages {
                    messages.history_came().await;
                }
                match taken {
                    Ok(()) => {}
                    Err(TakeError::Interrupted) => return None,
                    Err(error) => return Some(HandoverOutcome::NotTaken(error.to_string())),
                }
            }
            for (_, socket) in &self.sockets {
                socket.keep_file();
            }
            ready();
            let offer = give::HandoverOffer {
                live,
                node,
                messages,
                drainer: operator_orders.drainer,
                tickets: Arc::clone(operator_orders.revocations.tickets()),
                ticket_keys: self.ticket_keys,
                sockets: self.sockets,
            };
            offer.wait(self.door, &mut stopped).await
        });
        Running { task, stop }
    }
}

impl Running {
    /// Waits until the hand-over ends with an outcome; for ever if it has none.
    pub async fn outcome(&mut self) -> HandoverOutcome {
        match (&mut self.task).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => std::future::pending().await,
            Err(error) => {
                tracing::error!(%error, "hand-over is off; please report it");
                std::future::pending().await
            }
        }
    }

    /// Ends it at a moment when every session has one owner.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if !self.task.is_finished() {
            // The error has been logged already.
            let _ = self.task.await;
        }
    }
}
