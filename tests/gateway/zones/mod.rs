//! Zones and priorities: which backends get sessions, and what happens when a zone fails and
//! returns.

mod documents;
mod failover;
mod nodes;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Backend, Client, Gateway};

const PROBE: &str = "probe = { type = \"http\", path = \"/healthz\", interval = \"50ms\", \
                     timeout = \"2s\", rise = 1, fall = 1 }";

/// Backends of the zones `a` and `b`.
pub struct Zones {
    pub a: Vec<Backend>,
    pub b: Vec<Backend>,
}

impl Zones {
    pub async fn start(a: usize, b: usize) -> Self {
        let mut zones = Self {
            a: Vec::new(),
            b: Vec::new(),
        };
        for _ in 0..a {
            zones.a.push(Backend::echo().await);
        }
        for _ in 0..b {
            zones.b.push(Backend::echo().await);
        }
        zones
    }

    /// The configuration of a gateway in this zone.
    fn config(&self, zone: &str, upstream: &str, route: &str) -> String {
        let mut backends = String::new();
        for (zone, of) in [("a", &self.a), ("b", &self.b)] {
            for backend in of {
                let address = backend.address;
                write!(
                    backends,
                    "{{ address = \"{address}\", zone = \"{zone}\" }}, "
                )
                .unwrap();
            }
        }
        format!(
            "# node: zone = \"{zone}\"\n[upstreams.echo]\nbackends = [{backends}]\n{PROBE}\n\
             {upstream}\n\n[[routes]]\nname = \"all\"\nupstream = \"echo\"\n\
             affinity = [\"query:k\"]\n{route}\n"
        )
    }

    pub async fn gateway(&self, zone: &str, upstream: &str, route: &str) -> Gateway {
        let gateway = Gateway::start(&self.config(zone, upstream, route)).await;
        self.all_well(&gateway).await;
        gateway
    }

    async fn all_well(&self, gateway: &Gateway) {
        for backend in self.a.iter().chain(&self.b) {
            gateway
                .wait_for_health("echo", backend.address, "healthy")
                .await;
        }
    }
}

/// Whether these are all the backends of the sessions, as their clients see them.
async fn all_are_at(clients: &mut [Client], backends: &[Backend]) -> bool {
    for client in clients {
        let at = client.backend().await;
        if !backends.iter().any(|backend| backend.address == at) {
            return false;
        }
    }
    true
}

/// How the next session of a key would be placed.
fn choice(gateway: &Gateway, key: usize) -> Value {
    let body = json!({ "url": format!("ws://localhost/?k={key}") });
    let answer = gateway.admin("POST", "/v1/resolve", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["choice"].clone()
}

/// The backends of the next sessions of these keys.
fn places(gateway: &Gateway, keys: usize) -> Vec<String> {
    let place = |key| choice(gateway, key)["backend"].as_str().unwrap().to_owned();
    (0..keys).map(place).collect()
}

/// Whether all of these are of the backends.
fn are_of(places: &[String], backends: &[Backend]) -> bool {
    let of = |place: &String| {
        let mut backends = backends.iter();
        backends.any(|backend| backend.address.to_string() == **place)
    };
    places.iter().all(of)
}
