//! What the credentials of an explained request are judged by.

use crate::core::auth::{IssuerKeys, Revocations};

/// What credentials are judged by.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'g> {
    pub(super) keys: &'g IssuerKeys,
    pub(super) revocations: &'g Revocations,
}
