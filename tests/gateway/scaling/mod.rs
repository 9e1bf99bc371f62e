//! What an autoscaler is told, how an upstream shrinks, and how clients find gateways.

mod discovery;
mod examples;
mod load;
mod shrink;

use std::fmt::Write as _;

use crate::support::{Backend, Client, Gateway, config};

/// Backends, and a gateway that places by `least_sessions`.
async fn world(count: usize, upstream: &str) -> (Vec<Backend>, Gateway) {
    let mut backends = Vec::new();
    for _ in 0..count {
        backends.push(Backend::echo().await);
    }
    let addresses: Vec<_> = backends.iter().map(|one| one.address).collect();
    let upstream = format!("policy = \"least_sessions\"\n{upstream}");
    let route = "on_backend_loss = \"reconnect\"";
    let gateway = Gateway::start(&config::echo(&addresses, &upstream, route)).await;
    (backends, gateway)
}

async fn clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    clients
}

async fn close(clients: Vec<Client>) {
    for client in clients {
        client.close().await;
    }
}

/// The `scaling` table of an upstream.
fn scaling(target: u64, after: &str, more: &str) -> String {
    let mut text = format!("scaling = {{ sessions_target = {target}, scale_in_after = \"{after}\"");
    write!(text, "{more} }}").unwrap();
    text
}
