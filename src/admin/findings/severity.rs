//! How bad something is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Severity {
    /// Clients are refused, or will be at once.
    Critical,
    /// It works, with less than it should have.
    Warning,
    /// To know; nothing is wrong.
    Notice,
}
