//! The table against a linear scan that shares no code with it, and what a swap keeps.

mod failover;
mod matching;
mod previewing;
mod spelling;
mod swapping;

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::config::limits::NodeLimits;
use crate::config::snapshot::{
    Access, Admin, Dns, Log, LogFormat, Node, Route, Shutdown, Snapshot, Sources, Upstream,
};
use crate::core::routing::RoutingTable;

/// A table of redirects.
fn table(routes: &[Route], previous: Option<&RoutingTable>) -> RoutingTable {
    RoutingTable::compile(&snapshot(routes, &[]), previous, 1, clock::now())
}

fn snapshot(routes: &[Route], upstreams: &[Upstream]) -> Snapshot {
    let named = |upstream: &Upstream| (upstream.name.clone(), Arc::new(upstream.clone()));
    Snapshot {
        node: Node {
            name: "edge".into(),
            pin_workers: false,
            workers: 1,
            state_dir: None,
            tls_records: Default::default(),
        },
        admin: Admin {
            listen: "127.0.0.1:0".parse().expect("an address"),
            socket_mode: 0o600,
            token: None,
            read_token: None,
            tls: None,
            operators: Vec::new(),
            fleet: Default::default(),
        },
        zone: None,
        discovery: Default::default(),
        functions: Default::default(),
        events: Default::default(),
        publish: None,
        memberships: Default::default(),
        log: Log {
            level: "info".to_owned(),
            format: LogFormat::Text,
            access: Access::default(),
        },
        limits: NodeLimits::default(),
        shutdown: Shutdown {
            delay: Duration::ZERO,
            grace: Duration::from_secs(30),
            per_second: None,
            jitter: 0.5,
        },
        tracing: None,
        admission: None,
        state: None,
        broker: None,
        sources: Sources {
            watch_file: false,
            dns: Dns::default(),
            consul: None,
            kubernetes: None,
            etcd: None,
            protect: Vec::new(),
        },
        listeners: Vec::new(),
        authenticators: std::collections::BTreeMap::new(),
        revocations: Arc::default(),
        upstreams: upstreams.iter().map(named).collect(),
        routes: routes.iter().cloned().map(Arc::new).collect(),
    }
}
