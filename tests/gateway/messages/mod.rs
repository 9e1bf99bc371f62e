//! Messages that services publish: who gets them, in which order, and what the answer is.

mod announced;
mod brokered;
mod connections;
mod counted;
mod delivered;
mod events;
mod fleet;
mod groups;
mod guarded;
mod handed_history;
mod history;
mod presence;
mod slow;
mod subscribed;
mod survives;
mod without_backend;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::admin::{self, Answer};
use crate::support::{Backend, Client, Dial, Gateway, config};

/// The token that opens everything.
const TOKEN: &str = "token-of-the-application";

/// `[publish]` at a unix socket, with a token for everything and one for lobbies only.
const PUBLISH: &str = r#"
[publish]
listen = "unix:publish.sock"
tokens = [
    { name = "app", token = "token-of-the-application", targets = ["*"] },
    { name = "lobbies", token = "token-of-the-lobbies", targets = ["group:lobby-*"] },
]
"#;

/// Upstream `echo` and a route `rooms` with groups by the path; `more` are further lines of it.
fn rooms(backends: &[SocketAddr], more: &str) -> String {
    format!(
        "{PUBLISH}\n[upstreams.echo]\n{}\n[[routes]]\nname = \"rooms\"\npath = \"/rooms/{{room}}\"\n\
         upstream = \"echo\"\ngroups = [\"path:room\"]\n{more}\n",
        config::members(backends)
    )
}

fn call(gateway: &Gateway, method: &str, target: &str, body: &Value) -> Answer {
    let socket = gateway.directory().join("publish.sock");
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    admin::request(&socket, Some(TOKEN), method, target, &body).expect("an answer")
}

/// Publishes one message; returns what became of it.
fn publish(gateway: &Gateway, message: &Value) -> Value {
    let answer = call(gateway, "POST", "/v1/messages", message);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// What became of a message: delivered, queued, dropped.
fn counts(answer: &Value) -> [u64; 3] {
    ["delivered", "queued", "dropped"].map(|key| answer[key].as_u64().expect("a count"))
}

/// A client in a room, and its session's id.
async fn enter(gateway: &Gateway, room: &str) -> (Client, String) {
    let client = Client::connect(gateway.address(), &format!("/rooms/{room}")).await;
    let id = client.header("sessile-session").expect("an id").to_owned();
    (client, id)
}

async fn gateway(more: &str) -> (Gateway, Backend) {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&rooms(&[backend.address], more)).await;
    (gateway, backend)
}
