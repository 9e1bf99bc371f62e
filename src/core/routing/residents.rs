//! Session counts of backends, in the current table or not. All tables of a gateway share one
//! register, so that the sessions of a backend that is removed and returns stay counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::base::addr::BackendAddr;
use crate::base::names::{BackendId, UpstreamName};
use crate::core::health::Occupancy;
use crate::core::routing::RoutingTable;

/// Occupancies by upstream and id, as long as a table with the backend or a session on it holds
/// them.
#[derive(Debug, Default)]
pub struct Residents(Mutex<BTreeMap<(UpstreamName, BackendId), Resident>>);

#[derive(Debug)]
struct Resident {
    address: Option<BackendAddr>,
    occupancy: Weak<Occupancy>,
}

/// A backend that is no member any more, and that sessions live on.
#[derive(Clone, Debug)]
pub struct Removed {
    /// What it belonged to; maybe that is gone, too.
    pub upstream: UpstreamName,
    /// Its id.
    pub id: BackendId,
    /// Where it was last; `None` if its sessions came from another process.
    pub address: Option<BackendAddr>,
    /// What lives on it.
    pub occupancy: Arc<Occupancy>,
}

impl Residents {
    /// The occupancy of a backend; a new one if none is held.
    pub fn occupancy(
        &self,
        upstream: &UpstreamName,
        id: &BackendId,
        address: Option<&BackendAddr>,
    ) -> Arc<Occupancy> {
        let mut residents = self.lock();
        let key = (upstream.clone(), id.clone());
        let resident = residents.entry(key).or_insert_with(|| Resident {
            address: None,
            occupancy: Weak::new(),
        });
        if let Some(address) = address {
            resident.address = Some(address.clone());
        }
        match resident.occupancy.upgrade() {
            Some(occupancy) => occupancy,
            None => {
                let occupancy = Arc::default();
                resident.occupancy = Arc::downgrade(&occupancy);
                occupancy
            }
        }
    }

    /// The occupancy of a backend, if one is held.
    pub(super) fn look(&self, upstream: &UpstreamName, id: &BackendId) -> Option<Arc<Occupancy>> {
        let residents = self.lock();
        let resident = residents.get(&(upstream.clone(), id.clone()))?;
        resident.occupancy.upgrade()
    }

    /// Removes those that are no longer held.
    pub(super) fn prune(&self) {
        self.lock()
            .retain(|_, resident| resident.occupancy.strong_count() > 0);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(UpstreamName, BackendId), Resident>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoutingTable {
    /// Backends that sessions live on and that are not members of this table, by upstream and id.
    pub fn removed(&self) -> Vec<Removed> {
        let residents = self.residents.lock();
        let removed = residents.iter().filter_map(|((upstream, id), resident)| {
            let member = self
                .upstream(upstream)
                .and_then(|upstream| upstream.member(id));
            let occupancy = resident.occupancy.upgrade()?;
            (member.is_none() && occupancy.sessions() > 0).then(|| Removed {
                upstream: upstream.clone(),
                id: id.clone(),
                address: resident.address.clone(),
                occupancy,
            })
        });
        removed.collect()
    }

    /// The backend of that id, if it is such a one.
    pub fn removed_backend(&self, upstream: &str, id: &str) -> Option<Removed> {
        let mut removed = self.removed().into_iter();
        removed.find(|one| one.upstream.as_str() == upstream && one.id.as_str() == id)
    }

    /// Which backends sessions live on.
    pub fn residents(&self) -> &Residents {
        &self.residents
    }
}
