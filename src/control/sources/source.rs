//! What every source of the configuration offers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::base::source_id::SourceId;
use crate::control::sources::status::{NameStatuses, ServiceStatuses, SourceStatus};
use crate::control::sources::writer::Writer;

/// Work that belongs to a source.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A source of configuration.
pub trait Source: fmt::Debug + Send + Sync {
    /// Which source, and so which precedence it has.
    fn id(&self) -> SourceId;

    /// Its status now.
    fn status(&self) -> SourceStatus;

    /// Keeps what is in force in step with it. It is called once, and does not return unless there
    /// is nothing to follow.
    fn follow(self: Arc<Self>) -> Work<()>;

    /// Waits until what it has is in force, but not for long; returns whether it is. Before that no
    /// client is served.
    fn first_answer(&self) -> Work<bool> {
        Box::pin(std::future::ready(true))
    }

    /// What it does before the gateway ends.
    fn leave(&self) -> Work<()> {
        Box::pin(std::future::ready(()))
    }

    /// Writes documents to it; `None` if it cannot be written to.
    fn writer(&self) -> Option<&Writer> {
        None
    }

    /// The names in DNS that it follows; `None` for other sources.
    fn names(&self) -> Option<NameStatuses> {
        None
    }

    /// The services of a registry that it follows; `None` for other sources.
    fn services(&self) -> Option<ServiceStatuses> {
        None
    }

    /// Lets documents go whose absence is in doubt; returns how many, or `None` for a source that
    /// is always believed.
    fn accept(&self) -> Option<usize> {
        None
    }
}
