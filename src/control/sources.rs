//! The sources of the configuration as one set. Each is a layer with a precedence (`SourceId`), a
//! status, and perhaps a way to write to it; how each follows its origin is its own matter.
//! Another source (DNS, Consul, Kubernetes) implements `Source` and brings its documents to
//! `Supervisor::apply`.

pub mod file;
pub mod followed;
pub mod mirrored;
pub mod registry;
mod set;
mod source;
mod status;
mod writer;

pub use set::Sources;
pub use source::{Source, Work};
pub use status::{
    FileStatus, FollowStatus, NameStatuses, SILENCE_MAX, ServiceStatuses, SourceStatus,
};
pub use writer::{Write, Writer};
