//! A generation: everything that decides about requests, as one immutable value. One pointer
//! publishes it, so that no reader sees a part of one generation beside a part of another.

use std::sync::Arc;

use crate::core::auth::{IssuerKeys, Revocations};
use crate::core::routing::RoutingTable;
use crate::io::tls::client::BackendTls;
use crate::live::edge::Edge;

/// What is in force at one time. Cheap to clone: generations share what a change leaves alone.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Routes, upstreams, authenticators.
    pub table: Arc<RoutingTable>,
    /// TLS to the backends of the table's upstreams.
    pub backend_tls: Arc<BackendTls>,
    /// What is asked of clients before a route is known.
    pub edge: Arc<Edge>,
    /// Keys of the issuers of the table's authenticators.
    pub keys: IssuerKeys,
    /// Rights that are revoked.
    pub revocations: Arc<Revocations>,
}

impl From<RoutingTable> for Generation {
    /// A table alone: nothing is limited or revoked, no backend speaks TLS.
    fn from(table: RoutingTable) -> Self {
        Self {
            table: Arc::new(table),
            backend_tls: Arc::default(),
            edge: Arc::default(),
            keys: IssuerKeys::default(),
            revocations: Arc::default(),
        }
    }
}

impl Generation {
    /// Replaces the table. Keys of authenticators that it lacks are dropped.
    pub fn set_table(&mut self, table: Arc<RoutingTable>) {
        let authenticators = table.authenticators();
        let issued =
            authenticators.filter_map(|one| Some((&one.config.name, one.refresh()?.as_ref())));
        self.keys.retain(issued);
        self.table = table;
    }
}

/// One change of what is in force: everything that follows swaps is given both generations.
#[derive(Clone, Debug)]
pub struct Swap {
    /// In force before.
    pub old: Arc<Generation>,
    /// In force now.
    pub new: Arc<Generation>,
}

impl Swap {
    /// Whether it replaced the table.
    pub fn replaced_table(&self) -> bool {
        !Arc::ptr_eq(&self.old.table, &self.new.table)
    }
}
