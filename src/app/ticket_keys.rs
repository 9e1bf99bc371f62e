//! Ticket keys while the gateway runs: rotated, and followed where they come from elsewhere.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::config::snapshot::{Snapshot, TicketKeySource};
use crate::control::ticket_keys::TicketKeyStore;

pub(super) fn keep_ticket_keys(
    background: &mut JoinSet<()>,
    keys: &Arc<TicketKeyStore>,
    snapshot: &Snapshot,
) {
    background.spawn(Arc::clone(keys).keep());
    let listeners = snapshot.listeners.iter().filter_map(|one| one.tls.as_ref());
    let publish = snapshot
        .publish
        .iter()
        .filter_map(|publish| publish.tls.as_ref());
    let mut all = listeners.chain(&snapshot.admin.tls).chain(publish);
    let shared = all.any(|tls| tls.ticket_keys == TicketKeySource::Etcd);
    if let Some(settings) = snapshot.sources.etcd.clone().filter(|_| shared) {
        #[cfg(feature = "etcd")]
        {
            use crate::control::etcd::ticket_keys::follow;
            background.spawn(follow(settings, keys.of(&TicketKeySource::Etcd)));
        }
        #[cfg(not(feature = "etcd"))]
        {
            let _ = settings;
            unreachable!("validation refuses the table in a build without etcd");
        }
    }
}
