//! The loop of a worker's thread.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval};

use crate::base::clock;
use crate::io::net::listener::Bound;
use crate::live::{WorkerCommand, WorkerHandle};
use crate::proxy::clock::TICK;
use crate::proxy::context::shared::Shared;
use crate::proxy::context::worker::Worker;
use crate::proxy::session::delivery;
use crate::proxy::session::registry::Sessions;
use crate::proxy::worker::accept::{self, Arrival, PeerWorker};
use crate::proxy::worker::commands::carry_out;
use crate::proxy::worker::shutdown::shut_down;
use crate::proxy::worker::turn::turn;

/// For functions to be called with the ends of the last sessions.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// What one worker needs to run.
pub(crate) struct Startup {
    pub(crate) index: usize,
    pub(crate) handle: WorkerHandle,
    pub(crate) commands: mpsc::Receiver<WorkerCommand>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) sockets: Vec<(usize, Bound)>,
}

/// Runs a worker until it is shut down, or until its handles are gone.
pub(crate) async fn run(shared: Shared, startup: Startup, peers: Vec<PeerWorker>) {
    let worker = Worker::new(startup.index, shared, startup.handle.load.clone());
    let sessions = Sessions::new(worker);
    let peers: Rc<[PeerWorker]> = peers.into();
    let mut acceptors = JoinSet::new();
    for (listener, socket) in startup.sockets {
        match socket.start() {
            Ok(acceptor) => {
                let (sessions, peers) = (Rc::clone(&sessions), Rc::clone(&peers));
                acceptors.spawn_local(accept::accept(sessions, peers, listener, acceptor));
            }
            Err(error) => tracing::error!(%error, "a listening socket cannot be watched"),
        }
    }
    tokio::task::spawn_local(delivery::run(Rc::clone(&sessions)));
    let (mut commands, mut arrivals) = (startup.commands, startup.arrivals);
    let mut ticker = interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut more_due = false;
    loop {
        tokio::select! {
            Some(arrival) = arrivals.recv() => accept::serve(&sessions, arrival),
            command = commands.recv() => match command {
                Some(WorkerCommand::Shutdown {
                    grace,
                    profile,
                    answer,
                }) => {
                    acceptors.abort_all();
                    let queues = (&mut commands, &mut arrivals);
                    let cut = shut_down(&sessions, queues, (grace, profile)).await;
                    sessions.worker().functions.settled(LAST_CALLS).await;
                    // The receiver may have given up waiting.
                    let _ = answer.send(cut);
                    return;
                }
                Some(command) => {
                    let began = clock::now();
                    carry_out(&sessions, command);
                    let node = &sessions.worker().shared.node;
                    node.command_took(clock::now().duration_since(began));
                }
                None => return,
            },
            _ = ticker.tick() => more_due = turn(&sessions),
            // Sessions are served between two slices.
            () = yield_now(), if more_due => more_due = sessions.expire(sessions.worker().tick()),
        }
    }
}
