//! The Gateway API, translated into documents of routes and upstreams, and into statuses. Nothing
//! here does I/O. Tenants of the cluster write the objects, so all of it is bounded, and an object
//! at fault concerns no other.

mod collection;
mod election;
mod facts;
mod gateways;
mod grants;
mod hosts;
mod matches;
mod names;
mod objects;
mod owners;
mod policies;
mod quota;
mod report;
mod routes;
mod rules;
mod statuses;
mod translate;

pub use collection::{Namespaces, Objects, ObjectsByKey};
pub use election::{Election, LeaseChange};
pub use facts::Facts;
pub use objects::Kind;
pub use report::{Reports, ServiceFaults};
pub use statuses::{Patch, patches};
pub use translate::{Translation, World, translate};

#[cfg(test)]
mod tests;
