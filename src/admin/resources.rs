//! The list of all resources, from which the router, `GET /` and `openapi.json` are made: what is
//! not in it does not exist, and what exists is described.

mod messages;
mod sessions;

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::IntoResponse;
use axum::routing::MethodFilter;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::admin::gateway::VERSION;
use crate::admin::openapi::document;
use crate::admin::page::Paging;
use crate::admin::resolve::{Asked, Explanation};
use crate::admin::resource::Resource;
use crate::admin::{Gateway, Page};
use crate::admin::{
    backends, cache, certificates, config, credentials, departures, events, findings, log, metrics,
    preview, quotas, rebalance, resolve, revocations, routes, scale_in, scaling, sources, status,
    tokens, traffic, ui, upstreams, whoami,
};
use crate::control::rebalancer::RebalanceView;
use crate::control::supervisor::preview::Preview;

pub(super) fn resources() -> Vec<Resource> {
    let mut all = process();
    all.extend(gateway());
    all.extend(configuration());
    all.extend(traffic());
    all.extend(cache::resources());
    all.extend(sessions::many());
    all.extend(messages::all());
    all.extend(sessions::one());
    all.extend(rights());
    all.extend(leaving());
    all.extend(ui::resources());
    all.extend(past());
    all
}

/// What programs ask of any process: probes, metrics, the description of this API.
fn process() -> Vec<Resource> {
    vec![
        Resource::get("/", index, "All resources.").answers::<Index>(),
        Resource::get(
            "/livez",
            status::livez,
            "Whether the process answers. Needs no token.",
        )
        .answers::<status::Liveness>(),
        Resource::get(
            "/readyz",
            status::readyz,
            "Whether it takes clients. Needs no token.",
        )
        .answers::<status::Readiness>()
        .statuses(&[200, 503]),
        Resource::get(
            "/metrics",
            metrics::metrics,
            "Numbers in Prometheus' text format.",
        ),
        Resource::get("/openapi.json", show_openapi, "This description."),
    ]
}

/// The gateway as a whole.
fn gateway() -> Vec<Resource> {
    let put = (MethodFilter::PUT, Method::PUT);
    vec![
        Resource::get(
            "/v1/status",
            status::status,
            "Node, table, listeners, workers.",
        )
        .answers::<status::StatusView>(),
        Resource::get(
            whoami::PATH,
            whoami::show,
            "The identity and the role of this request. Needs no token.",
        )
        .answers::<whoami::Identity>(),
        Resource::get(
            "/v1/findings",
            findings::list,
            "What is wrong, the worst first, with what to do about it.",
        )
        .answers::<Page<findings::Finding>>(),
        Resource::get(
            "/v1/certificates",
            certificates::list,
            "The certificates that are shown, the first to end first.",
        )
        .answers::<Page<certificates::CertificateView>>(),
        Resource::get(
            "/v1/credentials",
            credentials::list,
            "Authenticators: sessions whose right ends soon, and the keys of issuers.",
        )
        .query::<credentials::CredentialsQuery>()
        .answers::<Page<credentials::CredentialView>>()
        .statuses(&[200, 400]),
        Resource::get(
            "/v1/credentials/tokens",
            tokens::list,
            "Tokens of the configuration that have an end, the first to end first.",
        )
        .answers::<Page<tokens::TokenView>>(),
        Resource::get("/v1/log", log::show, "The level of the log.")
            .answers::<log::LogView>()
            .statuses(&[200, 409]),
        Resource::new(
            put,
            "/v1/log",
            log::set,
            "Changes the level of the log at once.",
        )
        .body::<log::LogView>()
        .answers::<log::LogView>()
        .statuses(&[200, 400, 409]),
    ]
}

/// What an operator wrote.
fn configuration() -> Vec<Resource> {
    vec![
        Resource::get(
            "/v1/config",
            config::show,
            "What is in force, and what was refused and why.",
        )
        .answers::<config::ConfigView>(),
        Resource::post(
            "/v1/reload",
            config::reload,
            "Reads the configuration again.",
        )
        .answers::<config::ReloadView>()
        .statuses(&[200, 422]),
        Resource::post(
            "/v1/sources/{source}/accept",
            sources::accept,
            "Takes documents out of force that a read of a source lacked and that stayed in doubt.",
        )
        .answers::<sources::Accepted>()
        .statuses(&[202, 404]),
        Resource::post(
            "/v1/preview",
            preview::preview,
            "What a change would do, before it is made.",
        )
        .takes(preview::BODY_MAX)
        .body::<preview::Candidate>()
        .answers::<Preview>()
        .statuses(&[200, 400, 403, 408, 413, 422, 503]),
        Resource::get("/v1/routes", routes::list, "Routes, by name.")
            .query::<Paging>()
            .answers::<Page<routes::RouteView>>()
            .statuses(&[200, 400]),
        Resource::post(
            "/v1/resolve",
            resolve::resolve,
            "Where a request would go, and why.",
        )
        .body::<Asked>()
        .answers::<Explanation>()
        .statuses(&[200, 400]),
        Resource::get(
            "/v1/resolve",
            resolve::session,
            "What a session, live or ended, would get now, and what differs from then.",
        )
        .query::<resolve::SessionQuestion>()
        .answers::<resolve::SessionExplanation>()
        .statuses(&[200, 400, 404, 503]),
    ]
}

/// Sessions on their way.
fn leaving() -> Vec<Resource> {
    let patch = || (MethodFilter::PATCH, Method::PATCH);
    let delete = (MethodFilter::DELETE, Method::DELETE);
    let home = "/v1/upstreams/{name}/rebalance";
    vec![
        Resource::new(
            patch(),
            "/v1/upstreams/{name}/backends/{id}",
            backends::change,
            "Drains a backend, pauses that, or takes it in again.",
        )
        .body::<backends::Change>()
        .answers::<upstreams::BackendView>()
        .statuses(&[200, 202, 400, 404, 409]),
        Resource::get(
            "/v1/upstreams/{name}/backends/{id}/departures",
            departures::departures,
            "Who would leave a backend if it were drained, and where to.",
        )
        .answers::<departures::Departures>()
        .statuses(&[200, 404]),
        Resource::post(
            "/v1/upstreams/{name}/scale-in",
            scale_in::scale_in,
            "Drains the backends with the fewest sessions, or lists those that would drain.",
        )
        .body::<scale_in::Asked>()
        .answers::<scale_in::ScaleIn>()
        .statuses(&[200, 202, 400, 404, 409]),
        Resource::get(
            home,
            rebalance::show,
            "The rebalancing that is under way, or the last one.",
        )
        .answers::<RebalanceView>()
        .statuses(&[200, 404]),
        Resource::post(
            home,
            rebalance::begin,
            "Brings sessions home whose key belongs to another backend now.",
        )
        .body::<rebalance::Asked>()
        .answers::<RebalanceView>()
        .statuses(&[200, 202, 400, 404, 409]),
        Resource::new(
            patch(),
            home,
            rebalance::change,
            "Holds a rebalancing, or lets it go on.",
        )
        .body::<rebalance::PauseRequest>()
        .answers::<RebalanceView>()
        .statuses(&[200, 400, 404]),
        Resource::new(
            delete,
            home,
            rebalance::stop,
            "Ends a rebalancing; who has moved stays where it is.",
        )
        .answers::<RebalanceView>()
        .statuses(&[200, 404]),
    ]
}

/// What happened.
fn past() -> Vec<Resource> {
    vec![
        Resource::get(
            "/v1/events",
            events::stream,
            "What happens, as server-sent events; `Last-Event-ID` resumes.",
        )
        .query::<events::StreamQuery>()
        .statuses(&[200, 400, 503]),
        Resource::get(
            "/v1/history",
            events::history,
            "What changed, the newest first, with who did it and the difference.",
        )
        .query::<events::HistoryQuery>()
        .answers::<events::EventPage>()
        .statuses(&[200, 400]),
        Resource::get(
            "/v1/sessions/ended",
            events::ended,
            "Sessions that ended, the newest end first.",
        )
        .query::<events::EndedQuery>()
        .answers::<events::EventPage>()
        .statuses(&[200, 400]),
        Resource::get(
            "/v1/refusals",
            events::refusals,
            "Requests that were refused, the newest first, and their number by reason.",
        )
        .query::<events::RefusalQuery>()
        .answers::<events::RefusalPage>()
        .statuses(&[200, 400]),
    ]
}

/// Rights that were taken away.
fn rights() -> Vec<Resource> {
    vec![
        Resource::get(
            "/v1/revocations",
            revocations::list,
            "Rights that were taken away, by id.",
        )
        .query::<Paging>()
        .answers::<Page<revocations::RevocationView>>()
        .statuses(&[200, 400]),
        Resource::post(
            "/v1/revocations",
            revocations::add,
            "Takes a right away: ends sessions, refuses handshakes.",
        )
        .body::<revocations::Revoke>()
        .answers::<revocations::Revoked>()
        .statuses(&[201, 400, 409, 502]),
        Resource::new(
            (MethodFilter::DELETE, Method::DELETE),
            "/v1/revocations/{id}",
            revocations::remove,
            "Takes a revocation back.",
        )
        .answers::<revocations::RevocationView>()
        .statuses(&[200, 404, 409, 502]),
    ]
}

/// Backends and quotas.
fn traffic() -> Vec<Resource> {
    vec![
        Resource::get("/v1/upstreams", upstreams::list, "Upstreams, by name.")
            .query::<Paging>()
            .answers::<Page<upstreams::UpstreamSummary>>()
            .statuses(&[200, 400]),
        Resource::get(
            "/v1/upstreams/{name}",
            upstreams::one,
            "An upstream with its backends.",
        )
        .answers::<upstreams::UpstreamView>()
        .statuses(&[200, 404]),
        Resource::get(
            "/v1/scaling",
            scaling::list,
            "The load of upstreams, and how many backends each should have.",
        )
        .query::<Paging>()
        .answers::<Page<scaling::ScalingView>>()
        .statuses(&[200, 400]),
        Resource::get(
            "/v1/scaling/{name}",
            scaling::one,
            "The same of one upstream, also summed up over the fleet.",
        )
        .query::<scaling::ScalingQuery>()
        .answers::<scaling::ScalingView>()
        .statuses(&[200, 400, 404]),
        Resource::get(
            "/v1/traffic",
            traffic::show,
            "Totals of sessions, messages, bytes and refusals since the start.",
        )
        .answers::<traffic::TrafficView>(),
        Resource::get(
            "/v1/quotas",
            quotas::show,
            "What is limited, how much of it is taken, and who has the most.",
        )
        .answers::<quotas::QuotasView>(),
    ]
}

/// What `GET /` answers: where to go on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Index {
    node: String,
    version: &'static str,
    /// Where the dashboard is; browsers are sent there from here.
    dashboard: &'static str,
    resources: Vec<IndexEntry>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct IndexEntry {
    method: String,
    path: &'static str,
    summary: &'static str,
}

async fn index(State(gateway): State<Arc<Gateway>>) -> Json<Index> {
    let entries = resources().into_iter().map(|resource| IndexEntry {
        method: resource.method.to_string(),
        path: resource.path,
        summary: resource.summary,
    });
    Json(Index {
        node: gateway.node.to_string(),
        version: VERSION,
        dashboard: ui::PAGE,
        resources: entries.collect(),
    })
}

/// Made once: it takes much longer than any other answer.
static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());

async fn show_openapi() -> impl IntoResponse {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], OPENAPI.clone())
}

/// The description of the admin API (OpenAPI 3.0).
pub fn openapi() -> Value {
    document(&resources())
}
