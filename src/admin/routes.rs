//! The routes in force: conditions and targets. Values that headers and query parameters are
//! compared with may be secrets and are not shown (I11).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::extract::Parameters;
use crate::admin::page::Paging;
use crate::admin::{Gateway, Page};
use crate::config::snapshot::TextMatch;
use crate::core::routing::{Action, Route, RoutingTable};

/// A rule: which requests, and where to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RouteView {
    name: String,
    /// Empty means any.
    hosts: Vec<String>,
    path: String,
    /// `http` or `https`; null means either.
    scheme: Option<String>,
    /// Empty means any.
    methods: Vec<String>,
    /// Conditions on headers, all of which must hold.
    headers: Vec<ConditionView>,
    /// Conditions on query parameters, all of which must hold.
    query: Vec<ConditionView>,
    /// The client must offer one of these; empty means any.
    subprotocols: Vec<String>,
    /// The target; null for a function, a redirect and files.
    upstream: Option<String>,
    /// The function in the place of a backend.
    function: Option<String>,
    /// The status of its redirect; null for an upstream and for files.
    redirect: Option<u16>,
    /// The directory whose files it serves; null for an upstream and for a redirect.
    directory: Option<String>,
    /// Sources of the affinity key; the first one present is used.
    affinity: Vec<String>,
    /// Milliseconds without a byte before a session ends; null means never.
    idle_timeout_ms: Option<u64>,
    /// Longest life of a session in milliseconds; null means unlimited.
    lifetime_ms: Option<u64>,
    /// Longest message of a client, in bytes.
    message_bytes: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ConditionView {
    name: String,
    /// `present`, `absent`, `exact` or `prefix`.
    condition: &'static str,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(paging): Parameters<Paging>,
) -> Json<Page<RouteView>> {
    let table = gateway.live.table();
    let routes = table.routes().iter().map(|route| view(&table, route));
    Json(Page::of(routes, &paging, |route| &route.name))
}

fn view(table: &RoutingTable, route: &Route) -> RouteView {
    let config = &route.config;
    let (mut upstream, mut function, mut redirect, mut directory) = (None, None, None, None);
    match table.action(route) {
        Action::Forward(to) => upstream = Some(to.name().to_string()),
        Action::Redirect(to) => redirect = Some(to.status),
        Action::Function(name, _) => function = Some(name.to_string()),
        Action::Static(files, _) => directory = Some(files.directory.display().to_string()),
    }
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let condition = |name: &str, condition: &TextMatch| ConditionView {
        name: name.to_owned(),
        condition: condition_word(condition),
    };
    let headers = config
        .headers
        .iter()
        .map(|(name, value)| condition(name.as_str(), value));
    let query = config
        .query
        .iter()
        .map(|(name, value)| condition(name, value));
    RouteView {
        name: config.name.to_string(),
        hosts: config.hosts.iter().map(ToString::to_string).collect(),
        path: config.path.to_string(),
        scheme: config.scheme.map(|scheme| scheme.to_string()),
        methods: config.methods.iter().map(ToString::to_string).collect(),
        headers: headers.collect(),
        query: query.collect(),
        subprotocols: config.subprotocols.clone(),
        upstream,
        function,
        redirect,
        directory,
        affinity: config.affinity.iter().map(ToString::to_string).collect(),
        idle_timeout_ms: config.timeouts.idle.map(millis),
        lifetime_ms: config.timeouts.lifetime.map(millis),
        message_bytes: config.limits.message_bytes,
    }
}

const fn condition_word(condition: &TextMatch) -> &'static str {
    match condition {
        TextMatch::Present => "present",
        TextMatch::Absent => "absent",
        TextMatch::Exact(_) => "exact",
        TextMatch::Prefix(_) => "prefix",
    }
}
