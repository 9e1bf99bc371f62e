//! The stages of a request: a file each, free functions that take one type and make the next or
//! refuse. `pipeline` calls them in order.

pub(crate) mod admit;
pub(crate) mod answer;
pub(crate) mod authenticate;
mod backend_headers;
pub(crate) mod cached;
pub(crate) mod challenge;
pub(crate) mod discovery;
pub(crate) mod endpoints;
pub(crate) mod files;
pub(crate) mod forward;
pub(crate) mod from_memory;
pub(crate) mod guard;
mod identify;
pub(crate) mod listen;
pub(crate) mod local_grant;
pub(crate) mod pass_on;
pub(crate) mod place;
pub(crate) mod refuse;
pub(crate) mod route;
mod session_setup;
pub(crate) mod to_broker;
pub(crate) mod to_function;
pub(crate) mod upgrade;
pub(crate) mod wanted_permits;
