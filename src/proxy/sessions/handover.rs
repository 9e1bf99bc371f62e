//! Sessions between two processes: taken out of this one's hands, given back, let go, and made of
//! what another process gave. Who owns one when is told in `io::handover`.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::session::record::Facts;
use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::io::net::socket::Detached;
use crate::io::relay::{Relay, RelayState, Unsound};
use crate::live::{Adopted, Packed, Parcel};
use crate::proxy::context::{ConnectionSeat, Standing, Worker};
use crate::proxy::place::BackendSeat;
use crate::proxy::sessions::{Custody, Session, enter};

/// All of a session but its two sockets, as another process reads it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    facts: Arc<Facts>,
    /// Since the 101.
    age: Duration,
    key: Option<Key>,
    relay: RelayState,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Key(#[serde(with = "crate::base::blob")] Vec<u8>);

/// No session can be made of a parcel.
#[derive(Debug, thiserror::Error)]
enum ParcelError {
    #[error("its state is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error(transparent)]
    Unsound(#[from] Unsound),
    #[error("its sockets cannot be used: {0}")]
    Sockets(#[from] io::Error),
    #[error("a session with this id is here already")]
    Known,
}

impl Worker {
    /// Holds sessions that can go to another process, see `WorkerCommand::Pack`.
    pub(in crate::proxy) fn pack(&self, after: Option<SessionId>, limit: usize) -> Packed {
        self.stand(Standing::HandingOver);
        let mut packed = Packed::default();
        let live = self.sessions.live.borrow();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, session) in live.range((after, Bound::Unbounded)) {
            if packed.parcels.len() == limit {
                break;
            }
            packed.next = Some(*id);
            match session.pack(self.tick()) {
                Ok(Some(parcel)) => {
                    session.gather();
                    session.custody.set(Custody::Held);
                    self.sessions.held.borrow_mut().push(Rc::clone(session));
                    packed.parcels.push(parcel);
                }
                Ok(None) => packed.staying += 1,
                Err(error) => {
                    tracing::warn!(session = %id, %error, "a session stays");
                    packed.staying += 1;
                }
            }
        }
        let last = live.last_key_value().map(|(id, _)| *id);
        packed.next = packed.next.filter(|next| Some(*next) < last);
        let connections = self.load.connections.load(Ordering::Relaxed);
        let sessions = self.load.sessions.load(Ordering::Relaxed);
        packed.coming = connections.saturating_sub(sessions);
        packed
    }

    /// Lets go of those that another process has, see `WorkerCommand::Release`.
    pub(in crate::proxy) fn release(&self, taken: &[SessionId], resume: bool) -> usize {
        let taken: HashSet<_> = taken.iter().collect();
        let held = self.sessions.held.take();
        let mut went = 0;
        for session in held {
            if taken.contains(&session.facts.id) {
                session.custody.set(Custody::Gone);
                self.forget(&session);
                went += 1;
            } else {
                session.custody.set(Custody::Stays);
                self.sessions.arm(&session);
            }
            session.relay.borrow().wake();
        }
        if resume {
            for session in self.sessions.live.borrow().values() {
                if session.custody.get() == Custody::Stays {
                    session.custody.set(Custody::Here);
                }
            }
            self.stand(Standing::Open);
        }
        went
    }

    /// Makes sessions of parcels, see `WorkerCommand::Adopt`.
    pub(in crate::proxy) fn adopt(
        self: &Rc<Self>,
        parcels: Vec<Parcel>,
        go: oneshot::Receiver<()>,
    ) -> Adopted {
        let mut adopted = Adopted::default();
        let mut sessions = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let id = parcel.id;
            match self.unpack(parcel) {
                Ok(session) => {
                    adopted.ready.push(id);
                    sessions.push(session);
                }
                Err(error) => adopted.refused.push((id, error.to_string())),
            }
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Without the word they are the other process' still, which has their records.
            if go.await.is_ok() {
                for session in sessions {
                    session.metrics.came();
                    enter(&worker, Rc::new(session));
                }
            }
        });
        adopted
    }

    fn unpack(&self, parcel: Parcel) -> Result<Session, ParcelError> {
        let State {
            facts,
            age,
            key,
            relay,
        } = serde_json::from_slice(&parcel.state)?;
        if self.sessions.find(facts.id).is_some() {
            return Err(ParcelError::Known);
        }
        let (client, backend) = (attach(parcel.client)?, attach(parcel.backend)?);
        let relay = Relay::from_state(client, backend, relay, self.tick())?;
        let now = clock::now();
        let gathered = (relay.to_backend(), relay.to_client());
        Ok(Session {
            relay: RefCell::new(relay),
            // No session is older than the system's clock.
            began: now.checked_sub(age).unwrap_or(now),
            backend: BackendSeat::inherit(self, &facts.upstream, &facts.backend),
            metrics: self.route_metrics(&facts.route, &facts.upstream),
            gathered: Cell::new(gathered),
            key: key.map(|key| key.0.into_boxed_slice()),
            armed: Cell::new(Tick::MAX),
            custody: Cell::new(Custody::Here),
            _connection: ConnectionSeat::inherit(&self.shared, &facts.listener, &self.load),
            facts,
        })
    }

    /// A session that has gone leaves no record here. Its task ends when it is next polled.
    fn forget(&self, session: &Session) {
        self.sessions.live.borrow_mut().remove(&session.facts.id);
        self.load.sessions.fetch_sub(1, Ordering::Relaxed);
        session.metrics.left();
    }
}

impl Session {
    /// The session for another process, with second handles to its sockets; `None` if it has to
    /// stay.
    fn pack(&self, now: Tick) -> io::Result<Option<Parcel>> {
        if self.custody.get() != Custody::Here {
            return Ok(None);
        }
        let relay = self.relay.borrow();
        let (client, backend) = relay.streams();
        // What TLS has negotiated cannot be told to another process.
        let (Some(client), Some(backend)) = (client.as_plain_fd(), backend.as_plain_fd()) else {
            return Ok(None);
        };
        let Some(state) = relay.state(now) else {
            return Ok(None);
        };
        // No `..`: whoever adds a field decides here how it gets across.
        let Self {
            facts,
            relay: _,
            began,
            backend: _seat,
            metrics: _,
            gathered: _,
            key,
            armed: _,
            custody: _,
            _connection,
        } = self;
        let state = State {
            facts: Arc::clone(facts),
            age: clock::now().duration_since(*began),
            key: key.as_ref().map(|key| Key(key.to_vec())),
            relay: state,
        };
        Ok(Some(Parcel {
            id: facts.id,
            state: serde_json::to_vec(&state)?,
            client: client.try_clone_to_owned()?,
            backend: backend.try_clone_to_owned()?,
        }))
    }
}

/// Settles a socket from another process on this worker.
fn attach(descriptor: OwnedFd) -> io::Result<Carrier> {
    let socket = socket2::Socket::from(descriptor);
    // Both processes share this setting; it is what it was.
    socket.set_nonblocking(true)?;
    let socket = match socket.domain()? {
        socket2::Domain::UNIX => Detached::Unix(socket.into()),
        _ => Detached::Tcp(socket.into()),
    };
    socket.attach().map(Carrier::from)
}
