//! Counts a client connection for as long as it is open, as a request's or as a session's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::names::ListenerName;
use crate::core::limits::Permit;
use crate::live::WorkerLoad;
use crate::proxy::context::permits::{Held, SessionPermits};
use crate::proxy::context::shared::{ListenerContext, Shared};

/// Counts a client connection for as long as it is open, as a request's or as a session's.
pub(crate) struct ConnectionLease {
    load: Arc<WorkerLoad>,
    /// `None` for a session from another process whose listener this one does not have.
    listener: Option<Arc<ListenerContext>>,
    /// Its permits, as a connection and as the session that it becomes.
    permits: SessionPermits,
}

impl ConnectionLease {
    /// Counts a connection that was just accepted.
    pub(crate) fn take(shared: &Shared, listener: usize, load: &Arc<WorkerLoad>) -> Self {
        load.connections.fetch_add(1, Ordering::Relaxed);
        let listener = Arc::clone(&shared.listeners[listener]);
        listener.open.fetch_add(1, Ordering::Relaxed);
        listener.metrics.accepted();
        Self {
            load: Arc::clone(load),
            listener: Some(listener),
            permits: SessionPermits::default(),
        }
    }

    /// Counts the connection of a session that another process accepted, at the listener of this
    /// name.
    pub(crate) fn inherit(
        shared: &Shared,
        name: &ListenerName,
        load: &Arc<WorkerLoad>,
        permits: SessionPermits,
    ) -> Self {
        load.connections.fetch_add(1, Ordering::Relaxed);
        let mut listeners = shared.listeners.iter();
        let listener = listeners.find(|listener| listener.config.name == *name);
        if let Some(listener) = listener {
            listener.open.fetch_add(1, Ordering::Relaxed);
            listener.metrics.inherited();
        }
        Self {
            load: Arc::clone(load),
            listener: listener.cloned(),
            permits,
        }
    }

    /// Its permits.
    pub(crate) fn permits(&self) -> &SessionPermits {
        &self.permits
    }

    /// Holds the client's permit for as long as the connection is open.
    pub(crate) fn hold(&mut self, permit: Option<Permit>) {
        self.permits
            .add(permit.map(|permit| Held::new(permit, None)));
    }

    /// Holds the permits of the session that it becomes.
    pub(crate) fn hold_session(&mut self, permits: SessionPermits) {
        self.permits.join(permits);
    }

    /// Moves the connection to the worker with this load. Nothing else is counted again.
    pub(crate) fn move_to(&mut self, load: &Arc<WorkerLoad>) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
        load.connections.fetch_add(1, Ordering::Relaxed);
        self.load = Arc::clone(load);
    }
}

impl Drop for ConnectionLease {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(listener) = &self.listener {
            listener.open.fetch_sub(1, Ordering::Relaxed);
            listener.metrics.closed();
        }
    }
}
