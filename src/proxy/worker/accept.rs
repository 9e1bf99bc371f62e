//! Accepts connections and assigns each to the worker with the fewest connections. Sessions last
//! for hours, so an uneven distribution, such as that of SO_REUSEPORT, would persist.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::core::limits::{LoadPermit, Permit};
use crate::io::net::listener::{Acceptor, Incoming};
use crate::live::WorkerLoad;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::context::peer_admission::{
    ConnectionRejected, admit_connection, admit_peer, count_rejected,
};
use crate::proxy::context::worker::Worker;
use crate::proxy::session::registry::Sessions;
use crate::proxy::transport;

/// Connections that may wait for a busy worker; further ones stay on the accepting worker.
pub(crate) const ARRIVALS_MAX: usize = 1024;

/// A connection on its way to its worker.
pub(crate) struct Arrival {
    listener: usize,
    incoming: Incoming,
    lease: ConnectionLease,
    /// Held while the TLS handshake is under way.
    opening: Option<LoadPermit>,
}

/// A worker as the accepting workers see it.
#[derive(Clone)]
pub(crate) struct PeerWorker {
    pub(crate) load: Arc<WorkerLoad>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
}

/// Accepts connections on one socket whenever accepting is enabled.
pub(crate) async fn accept(
    sessions: Rc<Sessions>,
    peers: Rc<[PeerWorker]>,
    listener: usize,
    mut acceptor: Acceptor,
) {
    let worker = sessions.worker();
    let mut accepting = worker.live().accepting();
    loop {
        let open = *accepting.borrow_and_update();
        let accepted = tokio::select! {
            // `biased` checks for a change first: after a worker has executed a command sent later
            // than the change, it accepts nothing more. `changed` cannot fail, since `live`
            // outlives every worker.
            biased;
            _ = accepting.changed() => continue,
            accepted = acceptor.accept(), if open => accepted,
        };
        match accepted {
            Ok(incoming) => place(&sessions, &peers, listener, incoming),
            Err(error) => {
                worker.shared.listeners[listener]
                    .metrics
                    .accept_error(error.kind());
                tracing::warn!(%error, source = %error.source, "connections wait");
            }
        }
    }
}

fn place(sessions: &Rc<Sessions>, peers: &[PeerWorker], listener: usize, incoming: Incoming) {
    let worker = sessions.worker();
    let (opening, permit) = match admit(worker, listener, &incoming) {
        Ok(admitted) => admitted,
        Err(rejected) => return count_rejected(worker, rejected),
    };
    let load = |at: usize| peers[at].load.connections.load(Ordering::Relaxed);
    // On a tie, keep the connection on the accepting worker.
    let others = 0..peers.len();
    let target = others.fold(
        worker.index,
        |best, at| if load(at) < load(best) { at } else { best },
    );
    let mut lease = ConnectionLease::take(&worker.shared, listener, &peers[target].load);
    lease.hold(permit);
    let arrival = Arrival {
        listener,
        incoming,
        lease,
        opening,
    };
    if target == worker.index {
        serve(sessions, arrival);
    } else if let Err(error) = peers[target].arrivals.try_send(arrival) {
        // That worker is far behind.
        let mut arrival = error.into_inner();
        arrival.lease.move_to(&worker.load);
        serve(sessions, arrival);
    }
}

/// The permits of a new connection, unless it is rejected.
fn admit(
    worker: &Worker,
    listener: usize,
    incoming: &Incoming,
) -> Result<(Option<LoadPermit>, Option<Permit>), ConnectionRejected> {
    let opening = admit_connection(worker, listener)?;
    let context = &worker.shared.listeners[listener];
    // A peer that sends PROXY headers is admitted later, by the client's address in the header.
    let permit = match context.expects_proxy_header(incoming.peer) {
        true => None,
        false => admit_peer(worker, listener, incoming.peer)?,
    };
    Ok((opening, permit))
}

/// Gives a connection its task on this worker.
pub(crate) fn serve(sessions: &Rc<Sessions>, arrival: Arrival) {
    let Arrival {
        listener,
        incoming,
        lease,
        opening,
    } = arrival;
    tokio::task::spawn_local(transport::serve(
        Rc::clone(sessions),
        listener,
        incoming,
        lease,
        opening,
    ));
}
