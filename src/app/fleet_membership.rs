//! This gateway among those that follow the same etcd.

use std::sync::Arc;

use crate::base::addr::ListenAddr;
#[cfg(feature = "etcd")]
use crate::control::etcd::announce::{self, Joined};
use crate::control::fleet::Fleet;
use crate::control::sources::Sources;
use crate::control::supervisor::Supervisor;
use crate::live::Live;

/// This gateway among those that follow the same etcd.
pub(super) struct FleetMembership {
    #[cfg(feature = "etcd")]
    joined: Option<Joined>,
}

impl FleetMembership {
    #[cfg(feature = "etcd")]
    pub(super) fn join(
        supervisor: &Supervisor,
        live: &Arc<Live>,
        admin: &ListenAddr,
        sources: &Sources,
    ) -> Self {
        let configured = supervisor.loaded();
        let settings = configured.snapshot.sources.etcd.as_ref();
        let node = &configured.snapshot.node.name;
        let joined = settings.map(|settings| {
            let settings_of_api = &configured.snapshot.admin;
            let advertised = settings_of_api.fleet.advertise;
            let admin = advertised.map_or_else(|| admin.to_string(), |address| address.to_string());
            let admin = match settings_of_api.tls {
                Some(_) => format!("https://{admin}"),
                None => admin,
            };
            announce::join(settings, live, node, admin, sources.clone())
        });
        Self { joined }
    }

    #[cfg(feature = "etcd")]
    pub(super) fn fleet(&self) -> Option<Arc<Fleet>> {
        Some(Arc::clone(&self.joined.as_ref()?.fleet))
    }

    #[cfg(feature = "etcd")]
    pub(super) async fn leave(self) {
        if let Some(joined) = self.joined {
            joined.leave().await;
        }
    }
}

/// A build without etcd has no fleet.
#[cfg(not(feature = "etcd"))]
impl FleetMembership {
    pub(super) fn join(_: &Supervisor, _: &Arc<Live>, _: &ListenAddr, _: &Sources) -> Self {
        Self {}
    }

    pub(super) fn fleet(&self) -> Option<Arc<Fleet>> {
        None
    }

    pub(super) async fn leave(self) {}
}
