mod description;
mod resolving;
mod sessions;
mod sources;
pub(crate) mod support;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::admin::guard::Guard;
use crate::admin::resources::resources;
use crate::admin::tests::support::{CONFIG, Fixture, admin, built_in, fixture, options, session};
use crate::base::traffic::Traffic;
use crate::control::supervisor::Configuration;
use crate::telemetry::metrics::{Direction, RouteMetrics};

fn router(fixture: &Fixture, token: Option<&str>) -> Router {
    let guard = Guard::new(&admin("127.0.0.1:9900", token));
    server::router(Arc::clone(&fixture.gateway), guard)
}

/// `line` is a method, a target, and maybe a body.
async fn ask(fixture: &Fixture, line: &str) -> (u16, Value) {
    let mut parts = line.splitn(3, ' ');
    let request = Request::builder()
        .method(parts.next().expect("a method"))
        .uri(parts.next().expect("a target"))
        .header("host", "127.0.0.1:9900")
        .body(Body::from(parts.next().unwrap_or_default().to_owned()))
        .expect("a request");
    let response = router(fixture, None)
        .oneshot(request)
        .await
        .expect("never fails");
    let status = response.status().as_u16();
    // The files of the dashboard hold no data.
    let is_open = line.contains(" /ui/") && status < 400;
    let kept = if is_open { "no-cache" } else { "no-store" };
    assert_eq!(response.headers()["cache-control"], kept, "{line}");
    let problem = response.headers()["content-type"] == "application/problem+json";
    assert_eq!(
        problem,
        status >= 400 && !line.ends_with("/readyz"),
        "{line}"
    );
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// Answers of several requests, in pairs with the status that is expected.
async fn check(fixture: &Fixture, expected: &[(&str, u16)]) {
    for (line, status) in expected {
        let (found, body) = ask(fixture, line).await;
        assert_eq!(found, *status, "{line}: {body}");
    }
}

#[tokio::test]
async fn status_summarises_the_gateway() {
    let fixture = fixture(built_in(), vec![vec![session(1, "rooms", None)], vec![]]);
    let (code, mut status) = ask(&fixture, "GET /v1/status").await;
    assert_eq!(code, 200);
    assert!(status["sources"]["items"][0]["age_seconds"].take().is_f64());
    for masked in ["/started", "/digest", "/sources/file/loaded"] {
        let value = status.pointer_mut(masked).expect(masked);
        assert!(
            value.as_str().is_some_and(|text| text.len() >= 24),
            "{masked}: {value}"
        );
        *value = json!("…");
    }
    assert!(status["uptime_seconds"].take().is_u64());
    let expected = json!({
        "node": "edge-1", "zone": null,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "taken_over": null,
        "taking_over": null,
        "handing_over": null,
        "broker": null,
        "state": null,
        "started": "…",
        "uptime_seconds": null,
        "phase": "ready",
        "generation": 1,
        "digest": "…",
        "listeners": [{ "name": "edge", "tls": false, "addresses": ["127.0.0.1:43211"] }],
        "certificates": [],
        "workers": [{ "sessions": 1, "connections": 0 }, { "sessions": 0, "connections": 0 }],
        "sessions": 1,
        "connections": 0,
        "sources": { "file": { "path": "gateway.toml", "loaded": "…", "refused": null },
                     "dns": null, "kubernetes": null, "consul": null, "etcd": null,
                     "items": [{ "source": "file", "precedence": 0, "current": true,
                                 "fault": null, "revision": null, "age_seconds": null,
                                 "documents": 0, "refused": 0, "waiting": 0 }] },
        "state_dir": null,
        "event_files": null,
        "restart_pending": [],
        "restart_changes": [],
        "fleet": [], "fleet_age_seconds": null, "fleet_fault": null,
    });
    assert_eq!(status, expected);
}

#[tokio::test]
async fn a_stopping_gateway_is_alive_and_not_ready() {
    let fixture = fixture(built_in(), vec![]);
    check(&fixture, &[("GET /livez", 200), ("GET /readyz", 200)]).await;
    fixture.gateway.live.enter(crate::live::Phase::Stopping);
    check(&fixture, &[("GET /livez", 200), ("GET /readyz", 503)]).await;
}

#[tokio::test]
async fn metrics_are_gathered_from_workers_and_read_from_the_table() {
    let fixture = fixture(built_in(), vec![vec![], vec![]]);
    let (code, text) = ask(&fixture, "GET /metrics").await;
    let text = text.as_str().expect("text");
    assert_eq!(
        (code, fixture.received.lock().expect("not poisoned").gathers),
        (200, 2)
    );
    for line in [
        // What the workers brought in while they were asked.
        r#"sessile_sessions_total{route="rooms",upstream="chat"} 2"#,
        "sessile_table_generation 1",
        "sessile_ready 1",
        r#"sessile_backend_healthy{upstream="chat",backend="10.0.0.1:9000"} 1"#,
        r#"sessile_backend_sessions{upstream="pages",backend="10.0.0.3:80"} 0"#,
        r#"sessile_worker_sessions{worker="1"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let help = text.lines().filter(|line| line.starts_with("# HELP"));
    let names: Vec<_> = help.filter_map(|line| line.split(' ').nth(2)).collect();
    let distinct: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(
        names.len(),
        distinct.len(),
        "a family is shown twice: {names:?}"
    );
}

#[tokio::test]
async fn upstreams_show_the_health_of_their_backends() {
    let fixture = fixture(built_in(), vec![]);
    let table = fixture.gateway.live.table();
    let chat = table.upstream("chat").expect("an upstream");
    chat.members[0]
        .state
        .observe_probe(Err("connection refused"), crate::base::clock::now());
    chat.members[0].state.session_began();

    let (_, list) = ask(&fixture, "GET /v1/upstreams").await;
    let expected = json!({
        "items": [
            { "name": "chat", "policy": "round_robin", "probe": "tcp", "members": 2,
              "bounded_load": null, "eligible": 0, "panicking": true, "sessions": 1, "spills": 0.0,
              "spilled": 0 },
            { "name": "pages", "policy": "consistent_hash", "probe": null, "members": 1,
              "bounded_load": null, "eligible": 1, "panicking": false, "sessions": 0, "spills": 0.0,
              "spilled": 0 },
        ],
        "next": null,
    });
    assert_eq!(list, expected);

    let (_, mut one) = ask(&fixture, "GET /v1/upstreams/chat").await;
    assert!(one["backends"][0]["probed_seconds"].take().is_f64());
    let expected = json!({
        "id": "10.0.0.1:9000", "address": "10.0.0.1:9000", "weight": 1, "state": "active",
        "configured": "active", "ordered": null, "drain": null, "awake": 1.0,
        "health": "unhealthy", "reason": "connection refused", "ejected": null, "stale": false,
        "sessions": 1, "sessions_total": 0, "connects": 0, "failures": 0, "share": 0.25, "probe_ms": null,
        "probed_seconds": null, "zone": "a", "priority": 0, "labels": {},
    });
    assert_eq!(one["backends"][0], expected);
    assert_eq!(one["backends"][1]["state"], "draining");
    assert_eq!(one["backends"][1]["health"], "unknown");
    let (_, page) = ask(&fixture, "GET /v1/upstreams?limit=1&cursor=chat").await;
    assert_eq!(page["items"][0]["name"], "pages", "{page}");
    let (_, page) = ask(&fixture, "GET /v1/upstreams?limit=1").await;
    assert_eq!(page["next"], "chat", "{page}");
    check(&fixture, &[("GET /v1/upstreams/none", 404)]).await;
}

#[tokio::test]
async fn traffic_has_totals_and_the_reasons_of_refusals() {
    let fixture = fixture(built_in(), vec![vec![session(1, "rooms", None)]]);
    let (code, mut traffic) = ask(&fixture, "GET /v1/traffic").await;
    assert_eq!(code, 200, "{traffic}");
    assert!(traffic["uptime_seconds"].take().is_f64());
    let none = json!({ "messages": 0, "bytes": 0 });
    let mut expected = json!({
        "uptime_seconds": null, "sessions": 1, "connections": 0, "began": 1, "ended": 0,
        "to_backend": none, "to_client": none, "refused": 0, "refusals": {}, "requests": 0,
    });
    assert_eq!(traffic, expected);
    let route = RouteMetrics::new(&fixture.gateway.metrics, "rooms", "chat");
    for (reason, times) in [("no_backend", 2), ("origin", 1)] {
        (0..times).for_each(|_| route.refused(reason));
    }
    let other = RouteMetrics::new(&fixture.gateway.metrics, "pages", "pages");
    other.refused("origin");
    let relayed = Traffic {
        bytes: 100,
        text: 3,
        binary: 2,
        ping: 9,
        ..Traffic::default()
    };
    other.traffic(Direction::ToClient, &relayed);
    route.traffic(Direction::ToClient, &relayed);
    route.traffic(Direction::ToBackend, &relayed);
    expected["to_client"] = json!({ "messages": 10, "bytes": 200 });
    expected["to_backend"] = json!({ "messages": 5, "bytes": 100 });
    (expected["refused"], expected["began"]) = (json!(4), json!(2));
    expected["refusals"] = json!({ "no_backend": 2, "origin": 2 });
    let (_, mut traffic) = ask(&fixture, "GET /v1/traffic").await;
    traffic["uptime_seconds"].take();
    assert_eq!(traffic, expected);
}

#[tokio::test]
async fn i11_no_answer_shows_a_secret() {
    let fixture = fixture(built_in(), vec![]);
    // Streams end at once.
    fixture.gateway.live.events().close();
    for resource in resources() {
        let target = resource
            .path
            .replace("{name}", "chat")
            .replace("{id}", "nonsense");
        let line = format!("{} {target} {{\"url\":\"/\"}}", resource.method);
        let (_, answer) = ask(&fixture, &line).await;
        assert!(!answer.to_string().contains("hunter2"), "{line}: {answer}");
    }
    let (_, routes) = ask(&fixture, "GET /v1/routes").await;
    let beta = json!([{ "name": "authorization", "condition": "exact" }]);
    assert_eq!(routes["items"][0]["headers"], beta, "{routes}");
    assert_eq!(
        routes["items"][1]["affinity"],
        json!(["cookie:sid", "client_address"])
    );
    let (_, config) = ask(&fixture, "GET /v1/config").await;
    assert_eq!(config["config"]["admin"]["token"], "***", "{config}");
}

#[tokio::test]
async fn i4_a_reload_reports_changes_or_faults() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, CONFIG).expect("written");
    let fixture = fixture(Configuration::File(options(&path)), vec![]);

    let changed = CONFIG
        .replace("weight = 3", "weight = 4")
        .replace("\"beta\"", "\"gamma\"");
    std::fs::write(&path, changed).expect("written");
    let (code, report) = ask(&fixture, "POST /v1/reload").await;
    assert_eq!((code, &report["generation"]), (200, &json!(2)), "{report}");
    assert_eq!(
        report["routes"],
        json!({ "added": ["gamma"], "removed": ["beta"], "changed": [] })
    );
    let upstreams = json!({ "added": [], "removed": [], "changed": ["chat"] });
    assert_eq!(
        (&report["upstreams"], &report["warnings"]),
        (&upstreams, &json!([]))
    );

    std::fs::write(&path, CONFIG.replace("\"pages\"", "\"page\"")).expect("written");
    let (code, problem) = ask(&fixture, "POST /v1/reload").await;
    assert_eq!(code, 422, "{problem}");
    let faults = problem["diagnostics"].as_array().expect("a list");
    assert!(
        faults.iter().all(|fault| fault["line"].is_u64()) && !faults.is_empty(),
        "{problem}"
    );

    let (_, status) = ask(&fixture, "GET /v1/status").await;
    assert_eq!(status["generation"], 2, "the last good one stays");
    let (_, config) = ask(&fixture, "GET /v1/config").await;
    assert_eq!(config["refused"]["diagnostics"], problem["diagnostics"]);
    assert_eq!(
        config["refused"]["at"],
        status["sources"]["file"]["refused"]
    );
}

#[tokio::test]
async fn resolve_explains_where_a_request_goes() {
    let fixture = fixture(built_in(), vec![]);
    let asked =
        r#"POST /v1/resolve {"url":"wss://chat.example.com/ws/7?k=1","client":"192.0.2.1"}"#;
    let (code, explanation) = ask(&fixture, asked).await;
    assert_eq!(code, 200, "{explanation}");
    let expected = json!({
        "request": { "method": "GET", "host": "chat.example.com", "path": "/ws/7?k=1",
                     "websocket": true, "client": "192.0.2.1" },
        "routes": [
            { "route": "rooms", "matched": true, "verdict": "matched" },
            { "route": "beta", "matched": false,
              "verdict": "header authorization does not have the value" },
            { "route": "pages", "matched": false,
              "verdict": "would match, but a more specific route does" },
        ],
        "route": "rooms",
        "parameters": { "room": "7" },
        "redirect": null,
        "refusal": null,
        "principal": null,
        "not_checked": [],
        "target": "/ws/7?k=1",
        "affinity": { "key": "7", "source": "path:room", "issued": false },
        "choice": {
            "upstream": "chat", "policy": "round_robin", "panicking": false,
            "levels": [],
            "walk": explanation["choice"]["walk"],
            "backend": "10.0.0.1:9000",
        },
        "notes": ["round_robin does not look at a key: the next request may go elsewhere"],
    });
    assert_eq!(explanation, expected);
    let walk = explanation["choice"]["walk"].as_array().expect("a walk");
    assert_eq!(walk.last().expect("a step")["verdict"], "taken");

    let (_, other) = ask(
        &fixture,
        r#"POST /v1/resolve {"path":"/x","client":"192.0.2.1"}"#,
    )
    .await;
    let affinity = json!({ "key": "192.0.2.1", "source": "client_address", "issued": false });
    assert_eq!(
        (&other["route"], &other["affinity"]),
        (&json!("pages"), &affinity)
    );
    let cookie = r#"POST /v1/resolve {"path":"/x","headers":{"Cookie":["a=b","sid=42"]}}"#;
    let (_, other) = ask(&fixture, cookie).await;
    assert_eq!(other["affinity"]["key"], "42", "{other}");
    check(
        &fixture,
        &[
            (r#"POST /v1/resolve {"url":"wss://"}"#, 400),
            (r#"POST /v1/resolve {"path":"x"}"#, 400),
            (r#"POST /v1/resolve {"method":"G T"}"#, 400),
            (r#"POST /v1/resolve {"headers":{"a b":"1"}}"#, 400),
            (r#"POST /v1/resolve {"urls":"/"}"#, 400),
            ("POST /v1/resolve", 400),
            ("DELETE /v1/resolve", 405),
        ],
    )
    .await;
    let none = r#"POST /v1/resolve {"path":"/a/../b"}"#;
    let (_, none) = ask(&fixture, none).await;
    assert_eq!(
        (&none["route"], &none["choice"]),
        (&Value::Null, &Value::Null),
        "{none}"
    );
}

#[tokio::test]
async fn clients_without_the_token_and_web_pages_are_refused() {
    let fixture = fixture(built_in(), vec![]);
    let send = async |token, header: (&str, &str), target: &str| {
        let request = Request::get(target).header("host", "127.0.0.1:9900");
        let request = request
            .header(header.0, header.1)
            .body(Body::empty())
            .expect("a request");
        router(&fixture, token)
            .oneshot(request)
            .await
            .expect("never fails")
    };
    let refused = send(Some("s3cret"), ("accept", "*/*"), "/v1/status").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let missing = send(Some("s3cret"), ("accept", "*/*"), "/nothing").await;
    assert_eq!(
        missing.status(),
        StatusCode::UNAUTHORIZED,
        "strangers learn no paths"
    );
    let bearer = ("authorization", "Bearer s3cret");
    let welcome = send(Some("s3cret"), bearer, "/v1/status").await;
    assert_eq!(welcome.status(), StatusCode::OK);
    let page = send(None, ("origin", "https://evil.example"), "/v1/status").await;
    assert_eq!(page.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn unknown_names_get_a_problem_body() {
    let fixture = fixture(built_in(), vec![]);
    let (code, problem) = ask(&fixture, "GET /v1/nothing").await;
    let detail = "no resource /v1/nothing; GET / lists them";
    assert_eq!(
        (code, problem),
        (
            404,
            json!({ "title": "Not Found", "status": 404, "detail": detail })
        )
    );
    check(
        &fixture,
        &[
            ("POST /v1/status", 405),
            ("GET /v1/log", 409),
            (r#"PUT /v1/log {"level":"info"}"#, 409),
            (r#"PUT /v1/log {"lvl":"info"}"#, 400),
        ],
    )
    .await;
}
