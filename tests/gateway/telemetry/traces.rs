//! Traces of handshakes at a collector of the test's own, and the trace context at the backend.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::backend::read_head;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector, and the requests that it got.
async fn collector() -> (Backend, Arc<Mutex<Vec<Value>>>) {
    let got: Arc<Mutex<Vec<Value>>> = Arc::default();
    let stored = Arc::clone(&got);
    let collector = Backend::scripted(move |mut stream| {
        let stored = Arc::clone(&stored);
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                let head = head.to_lowercase();
                assert!(
                    head.contains("content-type: application/json\r\n"),
                    "{head}"
                );
                let (_, length) = head.split_once("content-length: ").expect("a length");
                let length = length.lines().next().unwrap().parse().unwrap();
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let request = serde_json::from_slice(&body).expect("JSON");
                stored.lock().unwrap().push(request);
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                              content-length: 2\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (collector, got)
}

/// A gateway that records every handshake, or none, and believes this machine's peers or not.
async fn gateway(collector: &Backend, backend: &Backend, ratio: f64, trusting: bool) -> Gateway {
    let trusted = match trusting {
        true => "trusted_proxies = [\"127.0.0.0/8\"]\n",
        false => "",
    };
    let text = format!(
        "[tracing]\nendpoint = \"http://{}/v1/traces\"\nsample_ratio = {ratio:?}\n\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n{trusted}\n{}",
        collector.address,
        config::echo(&[backend.address], "", "origins = [\"same\"]"),
    );
    Gateway::start(&text).await
}

/// Waits for a handshake whose attribute has this value: its span, and those below it.
async fn spans(got: &Mutex<Vec<Value>>, key: &str, value: &str) -> (Value, Vec<Value>) {
    let mut found = None;
    eventually(&format!("a trace with {key} {value}"), async || {
        let got = got.lock().unwrap();
        let all: Vec<_> = got
            .iter()
            .flat_map(|one| one["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array())
            .flatten()
            .collect();
        let root = all.iter().find(|span| attribute(span, key) == value);
        found = root.map(|root| {
            let below = all
                .iter()
                .filter(|span| span["parentSpanId"] == root["spanId"]);
            (
                (**root).clone(),
                below.map(|span| (**span).clone()).collect(),
            )
        });
        found.is_some()
    })
    .await;
    found.unwrap()
}

fn attribute(span: &Value, key: &str) -> Value {
    let all = span["attributes"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|one| one["key"] == key);
    found.map_or(Value::Null, |one| {
        let value = one["value"].as_object().unwrap().values().next();
        value.unwrap().clone()
    })
}

fn time(span: &Value, key: &str) -> u64 {
    span[key].as_str().expect("text").parse().expect("a number")
}

#[tokio::test]
async fn a_handshake_is_traced_and_the_backend_goes_on_with_it() {
    let (backend, (collector, got)) = (Backend::echo().await, collector().await);
    let gateway = gateway(&collector, &backend, 1.0, false).await;
    let dial = Dial::new("/?k=1&token=hunter2")
        .header("traceparent", &format!("00-{TRACE}-{PARENT}-00"))
        .header("tracestate", "vendor=1");
    let mut client = dial.connect(gateway.address()).await.unwrap();
    let id = client.session_id().await;
    client.close().await;
    let (root, below) = spans(&got, "sessile.session_id", &id).await;
    assert_eq!(root["traceId"], TRACE);
    assert_eq!(root["parentSpanId"], PARENT);
    assert_eq!(
        (&root["name"], &root["kind"]),
        (&json!("handshake"), &json!(2))
    );
    assert_eq!(attribute(&root, "sessile.route"), "all");
    assert_eq!(attribute(&root, "sessile.upstream"), "echo");
    assert_eq!(
        attribute(&root, "sessile.backend"),
        backend.address.to_string()
    );
    assert_eq!(attribute(&root, "http.response.status_code"), "101");
    assert_eq!(attribute(&root, "url.query"), "k=1&token=***");
    let names: Vec<_> = below.iter().map(|span| span["name"].clone()).collect();
    assert_eq!(
        names,
        ["route", "authenticate", "place", "connect", "upgrade"]
    );
    for span in &below {
        assert_eq!(span["traceId"], TRACE);
        let [begin, end] =
            ["startTimeUnixNano", "endTimeUnixNano"].map(|key| (time(span, key), time(&root, key)));
        assert!(
            begin.1 <= begin.0 && begin.0 <= end.0 && end.0 <= end.1,
            "{span} in {root}"
        );
    }
    let seen = backend.last_seen();
    let span = root["spanId"].as_str().unwrap();
    let expected = format!("00-{TRACE}-{span}-01");
    assert_eq!(seen.header("traceparent"), Some(&*expected));
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));

    // A refused one, without a trace of its client's.
    let dial = Dial::new("/").header("origin", "https://example.com");
    assert!(dial.connect(gateway.address()).await.is_err());
    let (root, below) = spans(&got, "error.type", "origin").await;
    assert_eq!(attribute(&root, "http.response.status_code"), "403");
    assert_eq!(root["parentSpanId"], Value::Null);
    assert_eq!(below.len(), 1, "{below:?}");
    let resource = &got.lock().unwrap()[0]["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "sessile");
    assert_eq!(attribute(resource, "service.instance.id"), "under-test");
}

#[tokio::test]
async fn trusted_peers_decide_what_is_recorded_and_strangers_do_not() {
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    for trusting in [true, false] {
        let (backend, (collector, got)) = (Backend::echo().await, collector().await);
        let gateway = gateway(&collector, &backend, 0.0, trusting).await;
        let dial = Dial::new("/").header("traceparent", &sampled);
        let mut client = dial.connect(gateway.address()).await.unwrap();
        let id = client.session_id().await;
        client.close().await;
        let passed = backend.last_seen();
        let passed = passed.header("traceparent").unwrap().to_owned();
        assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed != sampled);
        assert_eq!(passed.ends_with("-01"), trusting, "{passed}");
        match trusting {
            true => drop(spans(&got, "sessile.session_id", &id).await),
            // Nothing was put into the queue, so there is nothing to wait for.
            false => assert!(got.lock().unwrap().is_empty()),
        }
    }
}

#[tokio::test]
async fn without_tracing_the_context_passes_unchanged() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let sent = format!("00-{TRACE}-{PARENT}-01");
    let dial = Dial::new("/").header("traceparent", &sent);
    let client = dial.connect(gateway.address()).await.unwrap();
    client.close().await;
    assert_eq!(backend.last_seen().header("traceparent"), Some(&*sent));
}

#[tokio::test]
async fn a_collector_that_is_down_costs_traces_and_nothing_else() {
    let (backend, collector) = (Backend::echo().await, Backend::echo().await);
    let gateway = gateway(&collector, &backend, 1.0, false).await;
    // It answers no POST with success.
    collector.stop().await;
    eventually("lost traces are counted", async || {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.echo("hello").await;
        client.close().await;
        gateway.metric("sessile_traces_dropped_total", &[]) > 0.0
    })
    .await;
    assert!(
        gateway.log().contains("traces are lost"),
        "{}",
        gateway.log()
    );
}
