//! `[discovery]`: gateways that clients find by themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The list of gateways for clients that choose one themselves: `GET /.well-known/sessile` at
/// listeners with `discovery = true`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// Where clients reach this gateway: `"wss://edge-1.example.com"`. It is listed by the others
    /// that follow the same etcd. Default: this gateway is in no list.
    pub url: Option<String>,
    /// Hosts of other gateways that are listed here: `["*.edge.example.com"]`. Their addresses come
    /// from etcd, where every tenant that may write there can put any. Default: none.
    pub hosts: Vec<String>,
}
