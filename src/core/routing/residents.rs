//! Session counts of all backends, including backends that are no longer in the current table. All
//! tables of a gateway share one register, so that the sessions of a backend that is removed and
//! returns stay counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::base::addr::BackendAddr;
use crate::base::names::{BackendId, UpstreamName};
use crate::core::health::Occupancy;

/// Occupancies by upstream and id, as long as a table with the backend or a session on it holds
/// them.
#[derive(Debug, Default)]
pub struct Residents(Mutex<BTreeMap<(UpstreamName, BackendId), Resident>>);

#[derive(Debug)]
struct Resident {
    address: Option<BackendAddr>,
    occupancy: Weak<Occupancy>,
}

/// A backend that is no longer a member but still has sessions.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its upstream, which may have been removed too.
    pub upstream: UpstreamName,
    /// Its id.
    pub id: BackendId,
    /// Where it was last; `None` if its sessions came from another process.
    pub address: Option<BackendAddr>,
    /// Its session counts.
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
                let occupancy = Arc::new(Occupancy::new(id.clone()));
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

    /// Removes entries whose occupancy is no longer held.
    pub(super) fn prune(&self) {
        self.lock()
            .retain(|_, resident| resident.occupancy.strong_count() > 0);
    }

    /// All backends that have sessions, ordered by upstream and id.
    pub(super) fn occupied(&self) -> Vec<Removed> {
        let residents = self.lock();
        let occupied = residents.iter().filter_map(|((upstream, id), resident)| {
            let occupancy = resident.occupancy.upgrade()?;
            (occupancy.sessions() > 0).then(|| Removed {
                upstream: upstream.clone(),
                id: id.clone(),
                address: resident.address.clone(),
                occupancy,
            })
        });
        occupied.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(UpstreamName, BackendId), Resident>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
