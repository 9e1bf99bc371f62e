//! What clients may ask for.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::admin::problem::Problem;
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::telemetry::events::{Class, EventId, Filter, Kind};

/// Filters of the stream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct StreamQuery {
    /// The id of the last event that the client has, as `Last-Event-ID`; `0` begins with the oldest
    /// event in memory. Without it, the stream begins with the next event.
    pub(super) after: Option<String>,
    /// Only of these classes, separated by commas: `sessions`, `refusals`, `changes`.
    class: Option<String>,
    /// Only of these kinds, separated by commas.
    kind: Option<String>,
    /// Only of this session.
    session: Option<String>,
    /// Only of this principal.
    principal: Option<String>,
    /// Only of this route.
    route: Option<String>,
    /// Only of this upstream.
    upstream: Option<String>,
    /// Only of this backend.
    backend: Option<String>,
    /// Only of this client: its address, with or without the port.
    client: Option<String>,
    /// Only by this operator.
    operator: Option<String>,
}

impl StreamQuery {
    pub(super) fn filter(self) -> Result<Filter, Problem> {
        Ok(Filter {
            classes: list("class", self.class.as_deref())?,
            kinds: list("kind", self.kind.as_deref())?,
            session: session("session", self.session.as_deref())?,
            principal: self.principal,
            route: self.route,
            upstream: self.upstream,
            backend: self.backend,
            client: self.client,
            operator: self.operator,
            ..Filter::default()
        })
    }
}

/// Filters of the history.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct HistoryQuery {
    /// Of these classes, separated by commas: `changes` if not given, `sessions`, `refusals`.
    class: Option<String>,
    /// Only of these kinds, separated by commas.
    kind: Option<String>,
    /// Only of this route.
    route: Option<String>,
    /// Only of this upstream.
    upstream: Option<String>,
    /// Only of this backend.
    backend: Option<String>,
    /// Only of this session.
    session: Option<String>,
    /// Only of this principal.
    principal: Option<String>,
    /// Only of this client: its address, with or without the port.
    client: Option<String>,
    /// Only by this operator.
    operator: Option<String>,
    /// Not before this: a time (RFC 3339), or how long ago, such as `1h`.
    since: Option<String>,
    /// Events at most; 1 to 1000, 100 if not given.
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
}

impl HistoryQuery {
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let kinds: Vec<Kind> = list("kind", self.kind.as_deref())?;
        let mut classes = list("class", self.class.as_deref())?;
        if classes.is_empty() && kinds.is_empty() {
            classes.push(Class::Changes);
        }
        Ok(Filter {
            classes,
            kinds,
            since: since(self.since.as_deref())?,
            session: session("session", self.session.as_deref())?,
            principal: self.principal.clone(),
            route: self.route.clone(),
            upstream: self.upstream.clone(),
            backend: self.backend.clone(),
            client: self.client.clone(),
            operator: self.operator.clone(),
            ..Filter::default()
        })
    }
}

/// Filters of ended sessions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct EndedQuery {
    /// Only the session with this id.
    id: Option<String>,
    /// Only of this principal.
    principal: Option<String>,
    /// Only of this route.
    route: Option<String>,
    /// Only of this upstream.
    upstream: Option<String>,
    /// Only on this backend at their end.
    backend: Option<String>,
    /// Only of this client: its address, with or without the port.
    client: Option<String>,
    /// Only from the request with this id.
    request_id: Option<String>,
    /// Only those that ended for this cause, such as `kicked`.
    cause: Option<String>,
    /// Only those that this operator ended.
    operator: Option<String>,
    /// `true`: only those that lost messages, of the client with a backend or published ones.
    lost: Option<bool>,
    /// Not before this: a time (RFC 3339), or how long ago, such as `1d`.
    since: Option<String>,
    /// Sessions at most; 1 to 1000, 100 if not given.
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
}

impl EndedQuery {
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            kinds: vec![Kind::SessionEnded],
            since: since(self.since.as_deref())?,
            session: session("id", self.id.as_deref())?,
            principal: self.principal.clone(),
            route: self.route.clone(),
            upstream: self.upstream.clone(),
            backend: self.backend.clone(),
            client: self.client.clone(),
            request_id: self.request_id.clone(),
            cause: self.cause.clone(),
            operator: self.operator.clone(),
            lost: self.lost == Some(true),
            ..Filter::default()
        })
    }
}

/// Filters of refusals.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct RefusalQuery {
    /// Only of the request with this id.
    request_id: Option<String>,
    /// Only of this client: its address, with or without the port.
    client: Option<String>,
    /// Only of this principal.
    principal: Option<String>,
    /// Only of this route.
    route: Option<String>,
    /// Only of this upstream.
    upstream: Option<String>,
    /// Only of this backend.
    backend: Option<String>,
    /// Only with this reason, such as `credential_expired`.
    reason: Option<String>,
    /// Not before this: a time (RFC 3339), or how long ago, such as `10m`.
    since: Option<String>,
    /// Refusals at most; 1 to 1000, 100 if not given.
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
}

impl RefusalQuery {
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            classes: vec![Class::Refusals],
            since: since(self.since.as_deref())?,
            request_id: self.request_id.clone(),
            client: self.client.clone(),
            principal: self.principal.clone(),
            route: self.route.clone(),
            upstream: self.upstream.clone(),
            backend: self.backend.clone(),
            reason: self.reason.clone(),
            ..Filter::default()
        })
    }
}

fn list<T: FromStr<Err = String>>(name: &str, text: Option<&str>) -> Result<Vec<T>, Problem> {
    let parts = text.into_iter().flat_map(|text| text.split(','));
    let parts = parts.filter(|part| !part.is_empty());
    let parts = parts.map(|part| part.parse().map_err(|error| named(name, error)));
    parts.collect()
}

fn session(name: &str, text: Option<&str>) -> Result<Option<SessionId>, Problem> {
    let id = text.map(|text| text.parse::<SessionId>());
    id.transpose()
        .map_err(|error| named(name, error.to_string()))
}

fn since(text: Option<&str>) -> Result<Option<SystemTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let ago = |ago: Duration| clock::wall().checked_sub(ago);
    let time = humantime::parse_duration(text).ok().and_then(ago);
    let time = time.or_else(|| humantime::parse_rfc3339_weak(text).ok());
    let fault = || named("since", format!("`{text}` is no time, such as `1h`"));
    time.map(Some).ok_or_else(fault)
}

pub(super) fn cursor(text: Option<&str>) -> Result<Option<EventId>, Problem> {
    let id = text.map(|text| text.parse::<EventId>());
    id.transpose()
        .map_err(|error| named("cursor", error.to_string()))
}

fn named(name: &str, fault: String) -> Problem {
    Problem::bad_request(format!("{name}: {fault}"))
}
