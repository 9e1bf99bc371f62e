//! What workers share to judge credentials that need more than keys.

pub(crate) mod cache;
pub(crate) mod forward_auth;
pub(crate) mod passwords;

use crate::proxy::verifiers::forward_auth::Services;
use crate::proxy::verifiers::passwords::Passwords;

/// Of one gateway.
#[derive(Default)]
pub struct Judges {
    pub(crate) passwords: Passwords,
    pub(crate) services: Services,
}
