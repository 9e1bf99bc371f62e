//! Consul as a source, and what it may do without an outage: the table of docs/consul.md, a test
//! for each row. The server is the tests' own (`support/consul.rs`).

mod keys;
mod outage;
mod services;

use serde_json::Value;

use crate::support::Gateway;
use crate::support::consul::{Consul, instance};
use crate::support::etcd_world::has_members;
use crate::support::{Backend, eventually};

/// A configuration that follows this Consul, with short timeouts.
fn source(url: &str, more: &str) -> String {
    format!(
        "[sources.file]\nwatch = false\n\n[sources.consul]\nendpoints = [\"{url}\"]\nwait = \"2s\"\n\
         timeouts = {{ dial = \"500ms\", answer = \"1s\" }}\n{more}\n"
    )
}

/// An upstream whose backends are the instances of `echo`.
fn following(url: &str, more: &str) -> String {
    let source = source(url, more);
    format!(
        "{source}\n[upstreams.echo]\nconsul = \"echo\"\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n"
    )
}

/// A gateway that has found these backends, and the Consul that has them.
async fn found(backends: &[&Backend]) -> (Consul, Gateway) {
    let server = Consul::with(&instances(backends));
    let gateway = Gateway::start(&following(&server.url(), "")).await;
    has_members(&gateway, backends).await;
    (server, gateway)
}

fn instances(backends: &[&Backend]) -> Vec<Value> {
    let numbered = backends.iter().enumerate();
    let each = numbered.map(|(number, one)| instance(&format!("i{number}"), one.address));
    each.collect()
}

/// How Consul stands in `/v1/status`.
fn status(gateway: &Gateway) -> Value {
    gateway.get("/v1/status")["sources"]["consul"].clone()
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
