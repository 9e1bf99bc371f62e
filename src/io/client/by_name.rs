//! Clients by the name of what they are for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::io::client::Client;

/// The clients of one worker. A connection never changes threads, and is never used for another
/// configuration of the server, which may have other roots: each client is for one `T`.
#[derive(Debug)]
pub struct ClientsByName<N, T>(Mutex<HashMap<N, (Weak<T>, Client)>>);

impl<N, T> Default for ClientsByName<N, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<N: Clone + Eq + Hash, T> ClientsByName<N, T> {
    /// The client for this configuration, made at first use.
    pub fn of(&self, name: &N, server: &Arc<T>, make: impl FnOnce() -> Client) -> Client {
        let mut clients = self.lock();
        if let Some((made_for, client)) = clients.get(name)
            && Weak::as_ptr(made_for) == Arc::as_ptr(server)
        {
            return client.clone();
        }
        let client = make();
        clients.insert(name.clone(), (Arc::downgrade(server), client.clone()));
        client
    }

    /// Drops clients of servers that were replaced or removed, and their connections.
    pub fn tidy(&self) {
        self.lock()
            .retain(|_, (made_for, _)| made_for.strong_count() > 0);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<N, (Weak<T>, Client)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
