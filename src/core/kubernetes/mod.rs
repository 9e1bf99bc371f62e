//! What Kubernetes' API says: lists of EndpointSlices, the events of a watch, ports of a Service.
//! Everything in an answer is untrusted and bounded here.

pub mod gateway;

mod listed;
mod objects;
mod port;
mod slices;

pub use listed::{AnswerFault, Happened, Listed};
pub use objects::failure;
pub use port::port_name;
pub use slices::Slices;
