//! Responses in memory: how much they take, and their removal.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{Method, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::Parameters;
use crate::admin::problem::Problem;
use crate::admin::resource::Resource;
use crate::base::host;
use crate::telemetry::metrics::{Reading, table};

/// Responses in memory.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CacheView {
    /// URIs with responses.
    entries: usize,
    /// Memory that they take.
    bytes: u64,
    /// Memory that they may take (`node.cache_memory`).
    bytes_max: u64,
    /// Requests that wait for the response to another one.
    waiting: usize,
}

/// What is removed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    /// As the client sees scheme and host, and as the backend gets path and query:
    /// `https://www.example.com/prices?page=2`. None: everything is removed.
    url: Option<String>,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Purged {
    /// URIs.
    removed: usize,
}

pub(super) fn resources() -> Vec<Resource> {
    let delete = (axum::routing::MethodFilter::DELETE, Method::DELETE);
    vec![
        Resource::get("/v1/cache", look, "Responses in memory.").answers::<CacheView>(),
        Resource::new(delete, "/v1/cache", purge, "Removes responses from memory.")
            .query::<Purge>()
            .answers::<Purged>()
            .statuses(&[200, 400]),
    ]
}

async fn look(State(gateway): State<Arc<Gateway>>) -> Json<CacheView> {
    let responses = &gateway.live.responses;
    Json(CacheView {
        entries: responses.len(),
        bytes: responses.bytes(),
        bytes_max: responses.bytes_max(),
        waiting: responses.flights.waiting(),
    })
}

async fn purge(
    State(gateway): State<Arc<Gateway>>,
    Parameters(asked): Parameters<Purge>,
) -> Result<Json<Purged>, Problem> {
    let responses = &gateway.live.responses;
    let Some(url) = asked.url else {
        let removed = responses.len();
        responses.forget_all();
        return Ok(Json(Purged { removed }));
    };
    let uri = key(&url).ok_or_else(|| {
        Problem::bad_request(format!(
            "`{url}` is no URL; write `https://www.example.com/prices`"
        ))
    })?;
    let removed = usize::from(responses.forget(&uri));
    Ok(Json(Purged { removed }))
}

/// Adds the gauges.
pub(super) fn read(gateway: &Gateway, reading: &mut Reading) {
    let responses = &gateway.live.responses;
    reading.single(&table::CACHE_ENTRIES, responses.len() as f64);
    reading.single(&table::CACHE_BYTES, responses.bytes() as f64);
    reading.single(&table::CACHE_BYTES_MAX, responses.bytes_max() as f64);
    reading.single(&table::CACHE_WAITING, responses.flights.waiting() as f64);
}

/// The URI in the form in which responses are stored.
fn key(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let host = host::canonical(uri.authority()?.as_str())?;
    let target = uri.path_and_query()?;
    Some(format!("{scheme}://{host}{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_brought_to_the_form_in_which_responses_are_stored() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(key(url).as_deref(), expected, "{url}");
        };
        check(
            "https://WWW.example.com/a?b=1",
            Some("https://www.example.com/a?b=1"),
        );
        check("http://localhost:8080", Some("http://localhost:8080/"));
        check("wss://www.example.com/", None);
        check("/a", None);
        check("not a url", None);
    }
}
