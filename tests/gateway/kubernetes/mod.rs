//! Kubernetes as a source, and what it may do without an outage: the table of docs/kubernetes.md, a
//! test for each row. The API is the tests' own (`support/kubernetes.rs`).

mod gateway_api;
mod lease;
mod outage;
mod rights;
mod services;

use serde_json::Value;

use crate::support::etcd_world::has_members;
use crate::support::kubernetes::{Cluster, Pod, pod};
use crate::support::{Backend, Gateway, eventually};

/// An upstream whose backends are the pods of `shop/echo`, with short timeouts.
fn following(url: &str, more: &str) -> String {
    format!(
        "[sources.file]\nwatch = false\n\n[sources.kubernetes]\nserver = \"{url}\"\nwait = \"2s\"\n\
         timeouts = {{ dial = \"500ms\", answer = \"1s\" }}\n{more}\n\n\
         [upstreams.echo]\nkubernetes = \"shop/echo:ws\"\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n"
    )
}

/// A gateway that has found these pods, and the cluster that has them.
async fn found(backends: &[&Backend]) -> (Cluster, Gateway) {
    let cluster = Cluster::with(&ready(backends));
    let gateway = Gateway::start(&following(&cluster.url(), "")).await;
    has_members(&gateway, backends).await;
    (cluster, gateway)
}

/// `echo-0` and so on, all ready.
fn ready(backends: &[&Backend]) -> Vec<(Value, u16)> {
    let numbered = backends.iter().enumerate();
    let each =
        numbered.map(|(number, one)| pod(&format!("echo-{number}"), one.address, Pod::Ready));
    each.collect()
}

/// How the cluster stands in `/v1/status`.
fn status(gateway: &Gateway) -> Value {
    gateway.get("/v1/status")["sources"]["kubernetes"].clone()
}

/// Waits until something fails with this.
async fn fails(gateway: &Gateway, why: &str) {
    eventually(&format!("it fails: {why}"), async || {
        let fault = status(gateway)["fault"].clone();
        fault.as_str().is_some_and(|fault| fault.contains(why))
    })
    .await;
}

async fn is_well(gateway: &Gateway) {
    eventually("all is found", async || status(gateway)["fault"].is_null()).await;
}
