//! Exports traces of handshakes to a collector: OTLP over HTTP with JSON, which every collector
//! takes at `/v1/traces`. The request is small enough to write here; the SDK of OpenTelemetry would
//! bring twenty packages for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::base::addr::OwnAddresses;
use crate::config::snapshot::Tracing;
use crate::io::client::{self, Client, ClientError, ExchangeLimits, server_tls};
use crate::telemetry::traces::{Handshake, Tracer};

/// Handshakes in one request.
const BATCH_MAX: usize = 256;
/// Between two requests, unless a batch is full.
const EVERY: Duration = Duration::from_secs(1);
/// Bounds of one request.
const LIMITS: ExchangeLimits = ExchangeLimits {
    time: Duration::from_secs(10),
    body: 64 * 1024,
};
/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// A batch that was not taken.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the collector answered {0}")]
    Status(StatusCode),
}

/// Exports what the tracer records, until the tracer is gone.
pub async fn run(
    config: Tracing,
    node: Arc<str>,
    own: OwnAddresses,
    tracer: Arc<Tracer>,
    mut traces: mpsc::Receiver<Box<Handshake>>,
) {
    let mut client = None;
    let mut batch = Vec::new();
    let mut failing = false;
    while traces.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let result = export(&config, &node, &own, &mut client, &batch).await;
        match result {
            Ok(()) if failing => tracing::info!("traces are exported again"),
            Ok(()) => {}
            Err(error) => {
                tracer.lost(batch.len());
                // Another attempt reads the roots again.
                client = None;
                if !failing {
                    let source = std::error::Error::source(&error).map(tracing::field::display);
                    tracing::warn!(%error, source, "traces are lost");
                }
                failing = true;
                batch.clear();
                tokio::time::sleep(EVERY).await;
                continue;
            }
        }
        failing = false;
        let full = batch.len() == BATCH_MAX;
        batch.clear();
        if !full {
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn export(
    config: &Tracing,
    node: &str,
    own: &OwnAddresses,
    kept: &mut Option<Client>,
    batch: &[Box<Handshake>],
) -> Result<(), ExportError> {
    let url = client::url(&config.endpoint)?;
    let client = match kept {
        Some(client) => client,
        None => kept.insert(connect(config, own).await?),
    };
    let body = Bytes::from(request(node, batch).to_string());
    let request = Request::post(url).header(CONTENT_TYPE, "application/json");
    let request = request
        .body(Full::new(body))
        .map_err(ClientError::Request)?;
    let answer = client.ask(request, LIMITS).await?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(ExportError::Status(answer.status())),
    }
}

async fn connect(config: &Tracing, own: &OwnAddresses) -> Result<Client, ClientError> {
    let secure = config.endpoint.starts_with("https:");
    let tls = server_tls(secure, config.ca.clone()).await?;
    Ok(Client::new(tls, own.clone(), LIMITS.time))
}

/// An `ExportTraceServiceRequest`.
fn request(node: &str, batch: &[Box<Handshake>]) -> Value {
    let spans: Vec<_> = batch.iter().flat_map(|one| spans(one)).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&[
            ("service.name", Some("sessile")),
            ("service.instance.id", Some(node)),
            ("service.version", Some(version)),
        ]) },
        "scopeSpans": [{ "scope": { "name": "sessile", "version": version }, "spans": spans }],
    }] })
}

/// The span of a handshake, and those of its stages.
fn spans(handshake: &Handshake) -> Vec<Value> {
    let Handshake {
        context,
        parent,
        started,
        duration,
        steps,
        facts,
    } = handshake;
    let trace = format!("{:032x}", context.trace);
    let id = |span: u64| format!("{span:016x}");
    let at = |after: Duration| nanoseconds(*started + after);
    let (path, query) = match facts.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*facts.target, None),
    };
    let mut known = attributes(&[
        ("http.request.method", Some("GET")),
        ("server.address", Some(&facts.host)),
        ("url.path", Some(path)),
        ("url.query", query),
        ("client.address", Some(&facts.client)),
        ("sessile.listener", Some(&facts.listener)),
        ("sessile.request_id", Some(&facts.request)),
        ("sessile.route", facts.route.as_deref()),
        ("sessile.upstream", facts.upstream.as_deref()),
        ("sessile.backend", facts.backend.as_deref()),
        ("sessile.session_id", facts.session.as_deref()),
        ("error.type", facts.refusal),
    ]);
    known.push(json!({
        "key": "http.response.status_code",
        "value": { "intValue": facts.status.to_string() },
    }));
    let mut root = json!({
        "traceId": trace,
        "spanId": id(context.span),
        "name": "handshake",
        "kind": SERVER,
        "startTimeUnixNano": at(Duration::ZERO),
        "endTimeUnixNano": at(*duration),
        "attributes": known,
    });
    if let Some(parent) = parent {
        root["parentSpanId"] = id(*parent).into();
    }
    if facts.status >= 500 {
        let why = facts.refusal.unwrap_or_default();
        root["status"] = json!({ "code": ERROR, "message": why });
    }
    let steps = steps.iter().map(|step| {
        json!({
            "traceId": trace,
            "spanId": id(step.span),
            "parentSpanId": id(context.span),
            "name": step.name,
            "kind": INTERNAL,
            "startTimeUnixNano": at(step.begin),
            "endTimeUnixNano": at(step.end),
        })
    });
    [root].into_iter().chain(steps).collect()
}

fn attributes(pairs: &[(&str, Option<&str>)]) -> Vec<Value> {
    let known = pairs.iter().filter_map(|(key, value)| {
        let value = (*value)?;
        Some(json!({ "key": key, "value": { "stringValue": value } }))
    });
    known.collect()
}

/// 64-bit numbers are text in this JSON.
fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos().to_string()
}
