//! Documents: parts of the configuration that a source outside the file holds, each under a key of
//! its own, such as a route in etcd. What is in one is checked by `overlay`.

use std::sync::Arc;

use crate::base::revocation::Revocation;
use crate::base::source_id::SourceId;
use crate::config::document_key::DocumentKey;
use crate::config::snapshot::{Authenticator, Backend, Route, Upstream};

/// A document as its source holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is called.
    pub key: DocumentKey,
    /// JSON, in the schema of gateway.toml.
    pub text: Arc<str>,
    /// The time of writing: a number that grows with each change of the source. Of two documents
    /// that exclude each other, the one that was written first stays.
    pub revision: i64,
}

/// The content of a document without faults.
#[derive(Clone, Debug)]
pub enum Item {
    /// Without what documents of its backends add.
    Upstream(Arc<Upstream>),
    /// A backend of the upstream in its key.
    Backend(Backend),
    /// Names in it need not resolve.
    Authenticator(Authenticator),
    /// Names in it need not resolve.
    Route(Arc<Route>),
    /// In force until its time, if it has one.
    Revocation(Arc<Revocation>),
}

/// A document that was added, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is this now.
    Put(Document),
    /// It was deleted.
    Delete(DocumentKey),
}

/// Changes that belong together: all of them are in force, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its source.
    pub source: SourceId,
    /// At which the newest of them was made.
    pub revision: i64,
    /// In any order, at most one for each key.
    pub changes: Vec<Change>,
}
