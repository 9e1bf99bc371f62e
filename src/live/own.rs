//! What a process is to itself: where it listens, and what it calls itself on requests.

use crate::base::addr::OwnAddresses;
use crate::live::Live;

/// Where a gateway itself listens, as bound.
#[derive(Debug, Default)]
pub struct Own {
    /// Everywhere; no backend is there.
    pub all: OwnAddresses,
    /// For operators; nothing that a configuration names is there.
    pub admin: OwnAddresses,
}

impl Live {
    /// What this process calls itself on the requests that it forwards; another one each time.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Sets where this gateway itself listens, once and before anything is dialled.
    pub fn set_own(&self, own: Own) {
        let _ = self.own.set(own);
    }

    /// Where this gateway itself listens.
    pub fn own(&self) -> &Own {
        static NOWHERE: Own = Own {
            all: OwnAddresses::new(Vec::new()),
            admin: OwnAddresses::new(Vec::new()),
        };
        self.own.get().unwrap_or(&NOWHERE)
    }
}
