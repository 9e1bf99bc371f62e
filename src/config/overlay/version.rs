//! A version of a document that may be in force.

use crate::base::source_id::SourceId;
use crate::config::documents::{Document, Item};

/// A version of a document that may be in force.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) source: SourceId,
    pub(super) document: Document,
    pub(super) item: Item,
}
