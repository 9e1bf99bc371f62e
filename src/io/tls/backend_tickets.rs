//! Tickets of backends, by which a later connection resumes the TLS session of an earlier one. They
//! are kept apart by backend: those that share a name need not share keys, and a ticket is worth a
//! full handshake only where it was given.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::base::addr::BackendAddr;

/// Backends of one upstream whose tickets are kept, at least; at most twice as many. A backend has
/// eight tickets at most.
const BACKENDS_KEPT: usize = 512;
/// What rustls has kept for one name.
const TICKETS_MAX: usize = 8;

/// The tickets of an upstream's backends, in memory. Each backend has a configuration of its own,
/// which differs in its tickets only.
#[derive(Debug, Default)]
pub(super) struct BackendTickets(Mutex<Generations>);

/// Two maps, so that what was not used lately is forgotten at once: when the young one is full it
/// becomes the old one.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<BackendAddr, Arc<ClientConfig>>,
    old: HashMap<BackendAddr, Arc<ClientConfig>>,
}

impl BackendTickets {
    /// The configuration for a dial of `backend`, made from `base` at the first.
    pub(super) fn config_for(
        &self,
        backend: &BackendAddr,
        base: &ClientConfig,
    ) -> Arc<ClientConfig> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.young.get(backend) {
            return Arc::clone(known);
        }
        let config = kept.old.remove(backend).unwrap_or_else(|| {
            let mut own = base.clone();
            own.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
            Arc::new(own)
        });
        if kept.young.len() >= BACKENDS_KEPT {
            kept.old = mem::take(&mut kept.young);
        }
        kept.young.insert(backend.clone(), Arc::clone(&config));
        config
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;

    use super::*;
    use crate::io::tls::provider;

    fn base() -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    }

    fn backend(port: usize) -> BackendAddr {
        format!("127.0.0.1:{port}").parse().expect("an address")
    }

    #[test]
    fn each_backend_keeps_its_own_tickets() {
        let (tickets, base) = (BackendTickets::default(), base());
        let first = tickets.config_for(&backend(1), &base);
        assert!(Arc::ptr_eq(&first, &tickets.config_for(&backend(1), &base)));
        assert!(!Arc::ptr_eq(
            &first,
            &tickets.config_for(&backend(2), &base)
        ));
    }

    #[test]
    fn i8_tickets_of_few_backends_are_kept_and_those_in_use_are_among_them() {
        let (tickets, base) = (BackendTickets::default(), base());
        let used = tickets.config_for(&backend(1), &base);
        let unused = tickets.config_for(&backend(2), &base);
        for port in 3..3 * BACKENDS_KEPT {
            tickets.config_for(&backend(port), &base);
            tickets.config_for(&backend(1), &base);
            let kept = tickets.0.lock().expect("no panic");
            assert!(kept.young.len() + kept.old.len() <= 2 * BACKENDS_KEPT);
        }
        assert!(Arc::ptr_eq(&used, &tickets.config_for(&backend(1), &base)));
        assert!(!Arc::ptr_eq(
            &unused,
            &tickets.config_for(&backend(2), &base)
        ));
    }
}
