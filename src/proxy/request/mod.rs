//! One request on its way: a type for each stage, made from the one before. `Received` is what
//! came, `Admitted` is well-formed, `Routed` has a route, `Authenticated` a principal, `Placed` a
//! key and a target for its backend.

pub(crate) mod admitted;
pub(crate) mod authenticated;
pub(crate) mod filling;
pub(crate) mod passing;
pub(crate) mod placed;
pub(crate) mod received;
pub(crate) mod record;
pub(crate) mod routed;
pub(crate) mod target;
pub(crate) mod traced;
