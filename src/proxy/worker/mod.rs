//! Workers: a thread each, with a runtime that never leaves it. A worker accepts connections,
//! carries out commands, advances its clock, and closes its sessions when the gateway stops.

mod accept;
mod commands;
mod shutdown;
mod thread;
mod turn;

#[cfg(test)]
mod tests;

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::io::cpus;
use crate::io::net::listener::Bound;
use crate::live::WorkerHandle;
use crate::proxy::worker::accept::{ARRIVALS_MAX, PeerWorker};
use crate::proxy::worker::thread::{Startup, run};

pub use crate::proxy::context::ejections::Ejections;
pub use crate::proxy::context::shared::{ListenerContext, Shared};

/// Starts the workers. Sockets, each with the index of its listener in `shared.listeners`, are
/// spread over them; the connections are not bound to the worker that accepts them. The workers
/// stay on `cores`, one after the other; if there are none, the system places them.
///
/// # Errors
/// When the system gives no more threads.
pub fn start(
    shared: &Shared,
    (workers, cores): (usize, &[usize]),
    sockets: Vec<(usize, Bound)>,
) -> io::Result<(Vec<WorkerHandle>, Vec<JoinHandle<()>>)> {
    let mut startups = Vec::new();
    let mut peers = Vec::new();
    for index in 0..workers {
        let (handle, commands) = WorkerHandle::new();
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        peers.push(PeerWorker {
            load: handle.load.clone(),
            arrivals: sender,
        });
        startups.push(Startup {
            index,
            handle,
            commands,
            arrivals,
            sockets: Vec::new(),
        });
    }
    for (place, socket) in sockets.into_iter().enumerate() {
        startups[place % workers].sockets.push(socket);
    }
    let handles = startups.iter().map(|one| one.handle.clone()).collect();
    let threads = startups.into_iter().map(|startup| {
        let (shared, peers) = (shared.clone(), peers.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let core = cores.iter().cycle().nth(startup.index).copied();
        std::thread::Builder::new()
            .name(format!("worker-{}", startup.index))
            .spawn(move || {
                pin(core);
                let local = LocalSet::new();
                local.block_on(&runtime, run(shared, startup, peers));
            })
    });
    let threads = threads.collect::<io::Result<_>>()?;
    Ok((handles, threads))
}

/// A worker that cannot be kept on its core serves all the same.
fn pin(core: Option<usize>) {
    if let Some(core) = core
        && let Err(error) = cpus::pin(core)
    {
        tracing::warn!(core, %error, "a worker is not pinned");
    }
}
