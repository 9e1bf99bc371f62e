//! Settings that take effect at the next start only, and what serves until then.

use std::sync::Arc;

use crate::base::names::ListenerName;
use crate::config::snapshot::{Listener, Snapshot, Sources};
use crate::control::load::Loaded;
use crate::control::supervisor::pending;

/// What serves once `loaded` is in force: what waits for a restart goes on being what it was.
pub(super) fn serving(before: &Loaded, loaded: Loaded, restart_for: &[String]) -> Loaded {
    let masked = pending::serving(&before.masked, &loaded.masked, restart_for);
    let snapshot = Snapshot {
        node: before.snapshot.node.clone(),
        admin: before.snapshot.admin.clone(),
        listeners: with_addresses(&before.snapshot.listeners, &loaded.snapshot.listeners),
        publish: before.snapshot.publish.clone(),
        memberships: before.snapshot.memberships,
        log: before.snapshot.log.clone(),
        events: loaded
            .snapshot
            .events
            .with_files_of(&before.snapshot.events),
        tracing: before.snapshot.tracing.clone(),
        admission: before.snapshot.admission,
        sources: Sources {
            dns: before.snapshot.sources.dns.clone(),
            kubernetes: before.snapshot.sources.kubernetes.clone(),
            consul: before.snapshot.sources.consul.clone(),
            etcd: before.snapshot.sources.etcd.clone(),
            ..loaded.snapshot.sources
        },
        broker: before.snapshot.broker.clone(),
        state: before.snapshot.state.clone(),
        ..loaded.snapshot
    };
    Loaded {
        snapshot,
        masked: Arc::new(masked),
        ..loaded
    }
}

/// Listeners as they were, but for the addresses that may connect and those that are trusted, which
/// change at once.
pub(super) fn with_addresses(before: &[Listener], after: &[Listener]) -> Vec<Listener> {
    let of = |name: &ListenerName| after.iter().find(|listener| listener.name == *name);
    let mut listeners = before.to_vec();
    for listener in &mut listeners {
        if let Some(after) = of(&listener.name) {
            listener.addresses = after.addresses.clone();
            listener.trusted_proxies = after.trusted_proxies.clone();
        }
    }
    listeners
}

/// Settings that are read once.
pub(super) fn restart_needs(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut keys = Vec::new();
    let mut differs = |key: &str, same: bool| {
        if !same {
            keys.push(key.to_owned());
        }
    };
    differs("node", before.node == after.node);
    differs("admin", before.admin == after.admin);
    let publish = |one: &Snapshot| (one.publish.clone(), one.memberships);
    differs("publish", publish(before) == publish(after));
    differs("log", before.log == after.log);
    let files = [before, after].map(|one| one.events.files.is_some());
    differs("events.persist", files[0] == files[1]);
    differs("tracing", before.tracing == after.tracing);
    differs("admission", before.admission == after.admission);
    let now = with_addresses(&before.listeners, &after.listeners);
    differs("listeners", now == after.listeners);
    differs("broker", before.broker == after.broker);
    differs("state", before.state == after.state);
    differs("sources.dns", before.sources.dns == after.sources.dns);
    let kubernetes = |one: &Snapshot| one.sources.kubernetes.clone();
    differs(
        "sources.kubernetes",
        kubernetes(before) == kubernetes(after),
    );
    let consul = |one: &Snapshot| one.sources.consul.clone();
    differs("sources.consul", consul(before) == consul(after));
    differs("sources.etcd", before.sources.etcd == after.sources.etcd);
    keys
}
