//! `resolve` for requests that the data plane would refuse.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::ask;
use crate::admin::tests::support::{Fixture, fixture, options};
use crate::control::supervisor::Configuration;
use crate::live::Edge;

const GUARDED: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:8080"]
deny = ["198.51.100.0/24"]

[authenticators.keys]
type = "api_key"
from = ["header:x-api-key"]
# SHA-256 of "letmein"
keys = [{ subject = "ann", sha256 = "1c8bfe8f801d79745c4631d09fff36c82aa37fc4cce4fc946683d7b336b63032" }]

[upstreams.chat]
backends = ["10.0.0.1:9000", "10.0.0.2:9000"]

[[routes]]
name = "chat"
path = "/ws/{room}"
upstream = "chat"
authenticate = ["keys"]
authorize = ["path:room == claim:sub"]
affinity = ["claim:sub"]
origins = ["https://chat.example.com"]
deny = ["192.0.2.0/24"]
limits = { sessions_max = 10 }
"#;

fn guarded() -> Fixture {
    let configuration = Configuration::BuiltIn(options(Path::new("gateway.toml")), GUARDED);
    let fixture = fixture(configuration, vec![]);
    let in_force = fixture.gateway.supervisor.loaded();
    let edge = Arc::new(Edge::of(&in_force.snapshot, 0));
    fixture.gateway.live.publish(|next| next.edge = edge);
    fixture
}

async fn resolve(fixture: &Fixture, more: Value) -> Value {
    let mut asked = json!({ "path": "/ws/ann" });
    let more = more.as_object().expect("an object").clone();
    asked.as_object_mut().expect("an object").extend(more);
    let (code, said) = ask(fixture, &format!("POST /v1/resolve {asked}")).await;
    assert_eq!(code, 200, "{said}");
    said
}

fn key(key: &str) -> Value {
    json!({ "headers": { "x-api-key": key } })
}

#[tokio::test]
async fn a_good_credential_decides_where_a_request_goes() {
    let fixture = guarded();
    let good = resolve(&fixture, key("letmein")).await;
    assert_eq!(
        (&good["refusal"], &good["principal"]),
        (&json!(null), &json!("ann"))
    );
    assert_eq!(
        good["affinity"],
        json!({ "key": "ann", "source": "claim:sub", "issued": false })
    );
    assert!(good["choice"]["backend"].is_string(), "{good}");
    assert_eq!(good["notes"], json!([]), "nothing is placed at random");
    assert_eq!(
        good["not_checked"].as_array().map(Vec::len),
        Some(1),
        "{good}"
    );
    let assumed = resolve(&fixture, json!({ "claims": { "sub": "ann" } })).await;
    assert_eq!(assumed["affinity"], good["affinity"]);
}

#[tokio::test]
async fn resolve_refuses_what_the_data_plane_refuses() {
    let fixture = guarded();
    let refused = async |more: Value, status: u16, reason: &str| {
        let said = resolve(&fixture, more).await;
        let got = (&said["refusal"]["status"], &said["refusal"]["reason"]);
        assert_eq!(got, (&json!(status), &json!(reason)), "{said}");
        assert!(
            said["choice"].is_null() && said["affinity"].is_null(),
            "{said}"
        );
    };
    refused(json!({}), 401, "credential_missing").await;
    refused(key("wrong"), 401, "credential_invalid").await;
    let post = json!({ "method": "POST", "websocket": true, "claims": { "sub": "ann" } });
    let said = resolve(&fixture, post).await;
    assert_eq!(said["refusal"]["reason"], "bad_upgrade", "{said}");
    refused(json!({ "method": "CONNECT" }), 405, "connect").await;
    let mut other = key("letmein");
    other["path"] = json!("/ws/bob");
    refused(other, 403, "forbidden").await;
    let mut page = key("letmein");
    page["headers"]["origin"] = json!("https://evil.example");
    refused(page.clone(), 403, "origin").await;
    page["headers"]["origin"] = json!("https://chat.example.com");
    assert_eq!(resolve(&fixture, page).await["refusal"], json!(null));
    let mut denied = key("letmein");
    denied["client"] = json!("192.0.2.7");
    refused(denied.clone(), 403, "address").await;
    denied["client"] = json!("198.51.100.7");
    let said = resolve(&fixture, denied).await;
    assert!(
        said["notes"]
            .to_string()
            .contains("may not connect to `edge`"),
        "{said}"
    );
}
