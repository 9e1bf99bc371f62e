//! Certificates that the gateway orders: where they are kept, and the listeners that show them.

use std::sync::Arc;

use crate::base::names::ListenerName;
use crate::config::snapshot::{Acme, ListenerTls, Snapshot};
use crate::control::acme::{AcmeCertificates, Store};
use crate::control::state_dir::StateDir;
use crate::io::tls::challenges::Challenges;
use crate::io::tls::server::Resolver;

/// Answers for the names of all certificates that are ordered.
pub(super) fn challenges(snapshot: &Snapshot) -> Arc<Challenges> {
    let acme = snapshot
        .listeners
        .iter()
        .filter_map(|one| one.tls.as_ref()?.acme.as_ref());
    Arc::new(Challenges::new(acme.flat_map(|acme| acme.names.clone())))
}

/// Opens what was kept of them.
pub(super) fn open(
    snapshot: &Snapshot,
    certificates: &[(ListenerName, ListenerTls, Arc<Resolver>)],
    challenges: &Arc<Challenges>,
    state_dir: Option<&Arc<StateDir>>,
) -> Arc<AcmeCertificates> {
    let ordered = certificates.iter().filter_map(|(_, tls, resolver)| {
        let acme: &Acme = tls.acme.as_ref()?;
        Some((acme.clone(), Arc::clone(resolver)))
    });
    let store = Store::new(
        state_dir.cloned(),
        #[cfg(feature = "etcd")]
        snapshot
            .sources
            .etcd
            .clone()
            .map(crate::control::etcd::acme::EtcdStore::new),
    );
    let _ = snapshot;
    let opened = AcmeCertificates::open(ordered.collect(), Arc::clone(challenges), store);
    Arc::new(opened)
}
