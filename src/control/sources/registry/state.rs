//! How a registry stands, for those who look at the source.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::sources::followed::FollowState;
use crate::control::sources::status::ServiceStatuses;

/// What the follower shares with those who look at it.
#[derive(Debug)]
pub struct RegistryState {
    followed: Arc<FollowState>,
    statuses: Mutex<ServiceStatuses>,
}

impl RegistryState {
    /// Nothing is known yet.
    pub fn new(followed: Arc<FollowState>) -> Self {
        Self {
            followed,
            statuses: Mutex::default(),
        }
    }

    /// The state that every followed source has.
    pub fn followed(&self) -> &FollowState {
        &self.followed
    }

    /// How each service stands.
    pub fn statuses(&self) -> MutexGuard<'_, ServiceStatuses> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
