//! What documents are checked against.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::addr::OwnAddresses;
use crate::base::names::FunctionName;
use crate::base::source_id::SourceId;
use crate::config::model;
use crate::config::overlay::protection::FileProtection;
use crate::config::snapshot::{Broker, Function};
use crate::config::validate::Environment;

/// What documents are checked against.
pub struct CheckContext<'a> {
    /// The file's own authenticators, as written.
    pub authenticators: &'a BTreeMap<String, model::Authenticator>,
    /// Relative paths are relative to it.
    pub directory: &'a Path,
    /// Where the gateway itself listens; no backend is there.
    pub own: OwnAddresses,
    /// The file's broker.
    pub broker: Option<&'a Broker>,
    /// The file's functions. Routes may name no others.
    pub functions: &'a BTreeMap<FunctionName, Arc<Function>>,
    /// The world outside, as documents of a source may see it.
    pub outside: &'a dyn Fn(SourceId) -> &'a dyn Environment,
    /// What the file protects and guards.
    pub protection: &'a FileProtection<'a>,
}
