//! The stages of a request, a file each.

pub(crate) mod authenticate;
pub(crate) mod backend_headers;
pub(crate) mod endpoints;
pub(crate) mod forward;
pub(crate) mod guard;
pub(crate) mod upgrade;
