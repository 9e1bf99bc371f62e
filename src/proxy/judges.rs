//! What workers share to judge credentials that need more than keys.

use crate::proxy::forward::Services;
use crate::proxy::passwords::Passwords;

/// Of one gateway.
#[derive(Default)]
pub struct Judges {
    pub(super) passwords: Passwords,
    pub(super) services: Services,
}
