//! Every panel of `deploy/grafana/` is a query that Prometheus understands, and shows a gateway
//! under load. An exemplar leads from a histogram to a session.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// The expressions of a dashboard, by the title of their panel, as Grafana sends them.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title").to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let written = target["expr"].as_str().expect("an expression");
            let mut sent = written.replace("$__rate_interval", "10s");
            for variable in ["$instance", "$route", "$upstream"] {
                sent = sent.replace(variable, ".*");
            }
            assert!(!sent.contains('$'), "an unknown variable: {written}");
            found.push((title.clone(), sent));
        }
    }
    found
}

const ORIGINS: &str = "origins = [\"same\"]";

/// Panels that a gateway shows which has sessions and nothing else.
const SHOWN: [&str; 12] = [
    "Live sessions",
    "Handshakes: request to 101",
    "Refusals by reason",
    "Messages",
    "Open files",
    "Processor",
    "p99 by upstream",
    "p99 by backend",
    "Sessions by backend",
    "Share of backends that are healthy",
    "Configuration refused",
    "Version and age of each gateway",
];

#[tokio::test]
async fn every_panel_is_a_query_and_exemplars_lead_to_sessions() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", ORIGINS)).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    prometheus.wait_until_evaluated(1).await;
    let load = async {
        loop {
            let mut client = Client::connect(gateway.address(), "/?k=1").await;
            client.echo("hello").await;
            client.close().await;
            let strange = Dial::new("/").header("origin", "https://example.com");
            assert!(strange.connect(gateway.address()).await.is_err());
        }
    };
    let looked = async {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana");
        let mut shown = Vec::new();
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            for (title, expression) in expressions(&dashboard) {
                let answer = prometheus.query(&expression).await;
                answer.unwrap_or_else(|error| panic!("{title}: {expression}: {error}"));
                if SHOWN.contains(&&*title) {
                    shown.push(title.clone());
                    eventually(&format!("{title} shows something"), async || {
                        let series = prometheus.query(&expression).await.unwrap();
                        !series.is_empty()
                    })
                    .await;
                }
            }
        }
        for title in SHOWN {
            assert!(shown.iter().any(|one| one == title), "no panel {title}");
        }
        session_of_an_exemplar(&prometheus).await
    };
    let session = tokio::select! {
        session = looked => session,
        () = load => unreachable!("the load goes on"),
    };
    eventually("the session has its record", async || {
        gateway.records().iter().any(|record| record.id == session)
    })
    .await;
}

/// The session that Prometheus shows beside the p99 of a backend.
async fn session_of_an_exemplar(prometheus: &Prometheus) -> String {
    let mut session = String::new();
    eventually("an exemplar is stored", async || {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (start, end) = ((now - 60).to_string(), (now + 5).to_string());
        let query = [
            ("query", "sessile_backend_handshake_seconds_bucket"),
            ("start", &*start),
            ("end", &*end),
        ];
        let found = prometheus.ask("query_exemplars", &query).await.unwrap();
        let exemplar = &found[0]["exemplars"][0];
        session = exemplar["labels"]["session_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        !session.is_empty()
    })
    .await;
    session
}
