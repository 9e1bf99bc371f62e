//! A gateway's place is handed to the next process: first its listening sockets, so that no client
//! is refused, then its sessions. `take` is the new process' part, `give` the old one's; a process
//! plays the one when it starts and the other when it is replaced.

mod give;
mod take;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::addr::ListenAddr;
use crate::control::drainer::Drainer;
use crate::control::exposed;
use crate::control::revocations::RevocationStore;
use crate::io::handover::{Message, Wire, WireError};
use crate::io::net::listener::{self, BindError, Inheritance, Owner};
use crate::live::Live;
use crate::telemetry::metrics::NodeMetrics;

pub use take::{Predecessor, TakeError};

/// For one message of the other process, while it has nothing else to do.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A hand-over by `--take-over`, and its state.
#[derive(Debug)]
pub struct HandoverRequest {
    path: PathBuf,
    predecessor: Option<Predecessor>,
    /// Sockets of the previous process, for the listeners.
    pub inheritance: Inheritance,
}

impl HandoverRequest {
    /// Asks the process that listens on `path`, if one does, for everything it has.
    ///
    /// # Errors
    /// When there is one and it refuses, or does not answer.
    pub async fn make(path: &Path) -> Result<Self, TakeError> {
        let (predecessor, inheritance) = Predecessor::call(path).await?.unzip();
        Ok(Self {
            path: path.to_owned(),
            predecessor,
            inheritance: inheritance.unwrap_or_default(),
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
    ) -> Result<Handover, SettleError> {
        let door = match self.inheritance.take_for(&Owner::Handover) {
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
}

/// Operators' orders, for the successor.
#[derive(Clone, Debug)]
pub struct OperatorOrders {
    /// Rights that are taken away.
    pub revocations: Arc<RevocationStore>,
    /// States of backends.
    pub drainer: Arc<Drainer>,
}

/// How the place of this process ended, if not by a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Another process has it, with so many sessions; so many stay here to their end.
    Given {
        /// With the other process.
        sessions: usize,
        /// Here.
        staying: usize,
    },
    /// It never began: the previous process continues serving.
    NotTaken(String),
}

/// A hand-over that runs beside the gateway.
#[derive(Debug)]
pub struct Running {
    task: JoinHandle<Option<Parting>>,
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
        operator_orders: OperatorOrders,
        node: Arc<NodeMetrics>,
        ready: impl FnOnce() + Send + 'static,
    ) -> Running {
        let (stop, mut stopped) = watch::channel(false);
        let takes_over = self.takes_over();
        operator_orders
            .drainer
            .elsewhere()
            .set_handing_over(takes_over);
        let mut ready = Some(ready);
        let mut ready = move || {
            if let Some(ready) = ready.take() {
                ready();
            }
        };
        let task = tokio::spawn(async move {
            if let Some(predecessor) = self.predecessor {
                let taken =
                    predecessor.take(&live, &operator_orders, &node, &mut stopped, &mut ready);
                match taken.await {
                    Ok(()) => {}
                    Err(TakeError::Interrupted) => return None,
                    Err(error) => return Some(Parting::NotTaken(error.to_string())),
                }
            }
            for (_, socket) in &self.sockets {
                socket.keep_file();
            }
            ready();
            let offer = give::HandoverOffer {
                live,
                node,
                drainer: operator_orders.drainer,
                tickets: Arc::clone(operator_orders.revocations.tickets()),
                sockets: self.sockets,
            };
            offer.wait(self.door, &mut stopped).await
        });
        Running { task, stop }
    }
}

impl Running {
    /// Waits until this process has lost its place; for ever if it does not.
    pub async fn parted(&mut self) -> Parting {
        match (&mut self.task).await {
            Ok(Some(parting)) => parting,
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

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the other process is gone")]
    Gone,
    #[error("the other process did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the other process said something else: {0}")]
    Unexpected(String),
    #[error("this process was told to stop")]
    Stopped,
}

/// The next message, within `limit`, unless this process is stopped.
async fn hear<T: DeserializeOwned>(
    wire: &mut Wire,
    limit: Duration,
    stop: &mut watch::Receiver<bool>,
) -> Result<Message<T>, StepError> {
    tokio::select! {
        heard = tokio::time::timeout(limit, wire.receive()) => {
            heard.map_err(|_| StepError::Silent(limit))??.ok_or(StepError::Gone)
        }
        // A sender that is gone is as good as its word.
        _ = stop.wait_for(|stop| *stop) => Err(StepError::Stopped),
    }
}
