//! A fleet that counts together: limits and sticky keys over two gateways and a real store.

mod ends;
mod limits;
mod outage;
mod sticks;
mod values;

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::stores::StoreServer;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// A listener that takes its clients' addresses from PROXY headers.
const PROXIED: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
    proxy_protocol = { from = [\"127.0.0.0/8\"] }\n";

/// A gateway that is connected to the store. `state` and `route` are further lines of `[state]` and
/// of the one route.
async fn node(
    name: &str,
    store: &StoreServer,
    backends: &[&Backend],
    (state, upstream, route): (&str, &str, &str),
) -> Gateway {
    let backends: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let echo = config::echo(&backends, upstream, route);
    // The machine is shared: what is slow there is not to be decided without the store.
    let patience = match state.contains("decision_timeout") {
        true => "",
        false => "decision_timeout = \"1s\"\n",
    };
    let text = format!(
        "{}{PROXIED}{echo}",
        store.config(&format!("{patience}{state}"))
    );
    let gateway = Gateway::start_named(name, &text).await;
    wait_for_store(&gateway, true).await;
    gateway
}

async fn wait_for_store(gateway: &Gateway, answers: bool) {
    let wanted = if answers { 1.0 } else { 0.0 };
    eventually("the store answers, or not", async || {
        gateway.metric("sessile_state_connected", &[]) == wanted
    })
    .await;
}

/// A session of this client, or the status instead.
async fn session(gateway: &Gateway, client: &str, target: &str) -> Result<Client, u16> {
    session_at(gateway.address(), client, target).await
}

async fn session_at(edge: SocketAddr, client: &str, target: &str) -> Result<Client, u16> {
    let header = format!("PROXY TCP4 {client} 127.0.0.1 1234 80\r\n");
    let dial = Dial::new(target).prelude(header.as_bytes());
    dial.connect(edge).await.map_err(|refused| refused.status)
}

/// How many decisions this gateway has made so.
fn decisions(gateway: &Gateway, decision: &str, outcome: &str) -> f64 {
    let labels = [
        format!("decision=\"{decision}\""),
        format!("outcome=\"{outcome}\""),
    ];
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    gateway.metric("sessile_state_decisions_total", &labels)
}
