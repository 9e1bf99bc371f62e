//! Taking connections in, and giving each to the worker that has the fewest. Sessions live for
//! hours, so what hashing sockets over workers (SO_REUSEPORT) makes uneven would stay uneven.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::core::limits::{LoadPermit, Permit};
use crate::io::net::listener::{Acceptor, Incoming};
use crate::live::WorkerLoad;
use crate::proxy::context::peer_admission::CutOff;
use crate::proxy::context::worker::{ConnectionSeat, Worker};
use crate::proxy::transport::connection;

/// Connections that may wait for a worker that is busy; more stay with the worker that accepted.
pub(crate) const ARRIVALS_MAX: usize = 1024;

/// A connection on its way to the worker that will have it.
pub(crate) struct Arrival {
    listener: usize,
    incoming: Incoming,
    seat: ConnectionSeat,
    /// Held while the TLS handshake is under way.
    opening: Option<LoadPermit>,
}

/// A worker as those that accept see it.
#[derive(Clone)]
pub(crate) struct Neighbour {
    pub(crate) load: Arc<WorkerLoad>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
}

/// Accepts on one socket for as long as the worker takes anything.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    neighbours: Rc<[Neighbour]>,
    listener: usize,
    mut acceptor: Acceptor,
) {
    let mut accepting = worker.live().accepting();
    loop {
        let open = *accepting.borrow_and_update();
        let accepted = tokio::select! {
            // In this order: once a command that was sent later has been carried out, nothing is
            // accepted any more. The other end is in `live`, which outlives every worker.
            biased;
            _ = accepting.changed() => continue,
            accepted = acceptor.accept(), if open => accepted,
        };
        match accepted {
            Ok(incoming) => place(&worker, &neighbours, listener, incoming),
            Err(error) => {
                worker.shared.listeners[listener]
                    .metrics
                    .accept_error(error.kind());
                tracing::warn!(%error, source = %error.source, "connections wait");
            }
        }
    }
}

fn place(worker: &Rc<Worker>, neighbours: &[Neighbour], listener: usize, incoming: Incoming) {
    let (opening, permit) = match admit(worker, listener, &incoming) {
        Ok(admitted) => admitted,
        Err(cut_off) => return worker.cut_off(cut_off),
    };
    let load = |at: usize| neighbours[at].load.connections.load(Ordering::Relaxed);
    // Of equals the accepting worker itself: the connection is here already.
    let others = 0..neighbours.len();
    let target = others.fold(
        worker.index,
        |best, at| if load(at) < load(best) { at } else { best },
    );
    let mut seat = ConnectionSeat::take(&worker.shared, listener, &neighbours[target].load);
    seat.hold(permit);
    let arrival = Arrival {
        listener,
        incoming,
        seat,
        opening,
    };
    if target == worker.index {
        serve(worker, arrival);
    } else if let Err(error) = neighbours[target].arrivals.try_send(arrival) {
        // That worker is far behind.
        let mut arrival = error.into_inner();
        arrival.seat.move_to(&worker.load);
        serve(worker, arrival);
    }
}

/// What a connection holds from its first moment on, unless it is cut off at once.
fn admit(
    worker: &Worker,
    listener: usize,
    incoming: &Incoming,
) -> Result<(Option<LoadPermit>, Option<Permit>), CutOff> {
    let opening = worker.admit_connection(listener)?;
    let context = &worker.shared.listeners[listener];
    // Of a peer that speaks for others, it is they who are asked for; it says who they are later.
    let permit = match connection::expects_proxy_header(context, incoming.peer) {
        true => None,
        false => worker.admit_peer(listener, incoming.peer)?,
    };
    Ok((opening, permit))
}

/// Gives a connection its task on this worker.
pub(crate) fn serve(worker: &Rc<Worker>, arrival: Arrival) {
    let Arrival {
        listener,
        incoming,
        seat,
        opening,
    } = arrival;
    tokio::task::spawn_local(connection::serve(
        Rc::clone(worker),
        listener,
        incoming,
        seat,
        opening,
    ));
}
