//! Routes by the Gateway API.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sessile::config::yaml;

use super::{ready, status};
use crate::support::client::Dial;
use crate::support::etcd_world::restart;
use crate::support::kubernetes::Cluster;
use crate::support::tokens::SECRET;
use crate::support::{Backend, Gateway, eventually};

/// Follows the Gateway API of a cluster.
pub fn configuration(url: &str, more: &str) -> String {
    format!(
        "[sources.file]\nwatch = false\n\n[sources.kubernetes]\nserver = \"{url}\"\nwait = \"2s\"\n\
         timeouts = {{ dial = \"500ms\", answer = \"1s\" }}\ngateway = {{}}\n{more}"
    )
}

/// The example of docs/kubernetes.md.
fn example() -> Vec<Value> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes.md");
    let page = fs::read_to_string(page).expect("a page");
    let (_, rest) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let objects = example.split("---\n");
    objects
        .map(|text| numbers(yaml::read(text).expect("YAML")))
        .collect()
}

/// The reader of YAML reads texts alone.
fn numbers(value: Value) -> Value {
    match value {
        Value::String(text) => match text.parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => text.into(),
        },
        Value::Array(list) => list.into_iter().map(numbers).collect(),
        Value::Object(map) => {
            let entries = map.into_iter();
            Value::Object(entries.map(|(key, value)| (key, numbers(value))).collect())
        }
        other => other,
    }
}

/// A cluster with the example and the Service `shop/echo`.
pub async fn cluster(backend: &Backend) -> Cluster {
    let cluster = Cluster::with(&ready(&[backend]));
    cluster.set_service_port("ws", 80);
    for object in example() {
        cluster.apply(object);
    }
    cluster
}

/// Whether a session for this host and path is accepted.
pub async fn connects(gateway: &Gateway, host: &str, path: &str) -> bool {
    let client = Dial::new(path).host(host).connect(gateway.address()).await;
    client.is_ok()
}

/// A condition of a route at its first parent: status, reason, message.
fn condition(cluster: &Cluster, name: &str, kind: &str) -> (String, String, String) {
    let route = cluster.object("HTTPRoute", Some("shop"), name);
    let conditions = route["status"]["parents"][0]["conditions"].clone();
    let conditions = conditions.as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == kind);
    let text = |key: &str| {
        let value = found.map(|one| one[key].clone()).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    };
    (text("status"), text("reason"), text("message"))
}

pub async fn reports(cluster: &Cluster, name: &str, kind: &str, reason: &str, message: &str) {
    eventually(&format!("{name} has {kind} with {reason}"), async || {
        let (_, found, said) = condition(cluster, name, kind);
        found == reason && said.contains(message)
    })
    .await;
}

/// A route of the example's Gateway for this host, with one rule.
pub fn route(name: &str, host: &str, rule: Value) -> Value {
    json!({
        "kind": "HTTPRoute", "metadata": { "name": name, "namespace": "shop" },
        "spec": { "parentRefs": [{ "name": "edge" }], "hostnames": [host], "rules": [rule] },
    })
}

#[tokio::test]
async fn a_session_goes_through_an_http_route_and_statuses_say_so() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    eventually("the route is in force", async || {
        connects(&gateway, "chat.example.com", "/chat/room").await
    })
    .await;
    let dial = Dial::new("/chat/room?room=a").host("chat.example.com");
    let mut client = dial.connect(gateway.address()).await.expect("a session");
    client.echo("hello").await;
    assert!(!connects(&gateway, "other.example.com", "/chat/room").await);
    assert!(!connects(&gateway, "chat.example.com", "/other").await);
    reports(&cluster, "chat", "Accepted", "Accepted", "").await;
    reports(&cluster, "chat", "ResolvedRefs", "ResolvedRefs", "").await;
    let edge = cluster.object("Gateway", Some("shop"), "edge")["status"].clone();
    assert_eq!(edge["listeners"][0]["attachedRoutes"], 1, "{edge}");
    let class = cluster.object("GatewayClass", None, "sessile")["status"].clone();
    assert_eq!(class["conditions"][0]["status"], "True", "{class}");
    let policy = cluster.object("SessilePolicy", Some("shop"), "chat")["status"].clone();
    let accepted = &policy["ancestors"][0]["conditions"][0];
    assert_eq!(accepted["status"], "True", "{policy}");
    // The policy's affinity is the route's.
    let routes = gateway.get("/v1/config")["documents"].to_string();
    assert!(
        routes.contains("routes/httproute.shop.chat.00.00"),
        "{routes}"
    );
    // A route that is deleted takes no new session, and ends none.
    cluster.delete("HTTPRoute", "shop", "chat");
    eventually("the route is gone", async || {
        !connects(&gateway, "chat.example.com", "/chat/room").await
    })
    .await;
    client.echo("still here").await;
    client.close().await;
}

#[tokio::test]
async fn i4_what_is_not_supported_is_reported_and_disturbs_no_other_route() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    let echo = json!([{ "name": "echo", "port": 80 }]);
    let with_filters = |filters: Value| json!({ "filters": filters, "backendRefs": echo });
    let mirror = json!([{ "type": "RequestMirror", "requestMirror": {} }]);
    cluster.apply(route("mirror", "a.example.com", with_filters(mirror)));
    let bad = json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier":
        { "set": [{ "name": "Host", "value": "x" }] } }]);
    cluster.apply(route("host", "d.example.com", with_filters(bad)));
    let missing = json!([{ "name": "nothing", "port": 80 }]);
    let missing = json!({ "backendRefs": missing });
    cluster.apply(route("missing", "c.example.com", missing));
    let (accepted, unlike) = ("Accepted", "UnsupportedValue");
    reports(&cluster, "mirror", accepted, unlike, "filter RequestMirror").await;
    reports(&cluster, "host", accepted, unlike, "the gateway's own").await;
    let reason = "BackendNotFound";
    reports(&cluster, "missing", "ResolvedRefs", reason, "not found").await;
    assert!(connects(&gateway, "chat.example.com", "/chat/room").await);
}

#[tokio::test]
async fn i12_a_service_of_another_namespace_needs_a_grant() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    let other = json!([{ "name": "echo", "namespace": "back", "port": 80 }]);
    let other = json!({ "backendRefs": other });
    cluster.apply(route("other", "b.example.com", other));
    let reason = "RefNotPermitted";
    reports(
        &cluster,
        "other",
        "ResolvedRefs",
        reason,
        "no ReferenceGrant",
    )
    .await;
    // Its backend may not be used: it answers, and leads nowhere.
    let refused = Dial::new("/")
        .host("b.example.com")
        .connect(gateway.address());
    assert_eq!(refused.await.err().expect("no session").status, 503);
    let grant = json!({
        "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop" }],
        "to": [{ "group": "", "kind": "Service" }],
    });
    cluster.apply(json!({
        "kind": "ReferenceGrant", "metadata": { "name": "all", "namespace": "back" }, "spec": grant,
    }));
    eventually("it is permitted", async || {
        condition(&cluster, "other", "ResolvedRefs").1 != "RefNotPermitted"
    })
    .await;
}

#[tokio::test]
async fn i12_a_younger_route_of_another_namespace_does_not_take_a_host() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let mut edge = cluster.object("Gateway", Some("shop"), "edge");
    edge["spec"]["listeners"][0]["allowedRoutes"] = json!({ "namespaces": { "from": "All" } });
    cluster.apply(edge);
    let gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    let exact = json!([{ "path": { "type": "Exact", "value": "/chat/room" } }]);
    let rule = json!({ "matches": exact, "backendRefs": [{ "name": "other", "port": 80 }] });
    let mut taker = route("taker", "chat.example.com", rule);
    taker["metadata"]["namespace"] = "evil".into();
    taker["metadata"]["creationTimestamp"] = "2026-02-02T00:00:00Z".into();
    taker["spec"]["parentRefs"][0]["namespace"] = "shop".into();
    cluster.apply(taker);
    eventually("it is refused", async || {
        let route = cluster.object("HTTPRoute", Some("evil"), "taker");
        route["status"]["parents"][0]["conditions"][0]["reason"] == "HostnameConflict"
    })
    .await;
    assert!(connects(&gateway, "chat.example.com", "/chat/room").await);
}

#[tokio::test]
async fn a_policy_at_fault_leaves_the_last_good_one_in_force() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    reports(&cluster, "chat", "Accepted", "Accepted", "").await;
    let policy = |settings: Value| {
        let target =
            json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat" });
        json!({
            "kind": "SessilePolicy", "metadata": { "name": "chat", "namespace": "shop" },
            "spec": { "targetRef": target, "route": settings },
        })
    };
    let accepted = || {
        let object = cluster.object("SessilePolicy", Some("shop"), "chat");
        object["status"]["ancestors"][0]["conditions"][0].clone()
    };
    for (settings, message) in [
        (
            json!({ "upstream": "other" }),
            "`upstream` cannot be set by a policy",
        ),
        (json!({ "timeouts": { "idle": "never" } }), "idle"),
        (
            json!({ "authenticate": ["nobody"] }),
            "authenticator `nobody`",
        ),
    ] {
        cluster.apply(policy(settings));
        eventually(&format!("it is refused: {message}"), async || {
            let said = accepted();
            let text = said["message"].as_str().unwrap_or_default();
            said["reason"] == "Invalid" && text.contains(message)
        })
        .await;
        assert!(
            connects(&gateway, "chat.example.com", "/chat/room").await,
            "{message}"
        );
    }
}

#[tokio::test]
async fn i5_routes_stay_without_the_api_and_over_a_start() {
    let backend = Backend::echo().await;
    let mut cluster = cluster(&backend).await;
    let text = configuration(&cluster.url(), "");
    let gateway = Gateway::start(&text).await;
    reports(&cluster, "chat", "Accepted", "Accepted", "").await;
    eventually("it is remembered", async || {
        let file = gateway.directory().join("state/kubernetes.last-known-good");
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains("httproute.shop.chat") && text.contains("echo-0")
    })
    .await;
    cluster.stop();
    eventually("it fails", async || !status(&gateway)["fault"].is_null()).await;
    assert!(connects(&gateway, "chat.example.com", "/chat/room").await);
    let gateway = restart(gateway, &text).await;
    assert!(connects(&gateway, "chat.example.com", "/chat/room").await);
    cluster.start_again();
    eventually("it is well", async || status(&gateway)["fault"].is_null()).await;
    let mut client = Dial::new("/chat/room")
        .host("chat.example.com")
        .connect(gateway.address())
        .await
        .expect("a session");
    client.echo("hello").await;
    client.close().await;
}

#[tokio::test]
async fn i12_a_route_of_the_cluster_does_not_open_what_the_file_protects() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let address = backend.address;
    let more = format!(
        "protect = [\"routes/*\"]\n\n[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\
         algorithms = [\"HS256\"]\n\n[upstreams.own]\nbackends = [\"{address}\"]\n\n\
         [[routes]]\nname = \"admin\"\nhosts = [\"admin.example.com\"]\npath = \"/admin/{{*rest}}\"\n\
         upstream = \"own\"\nauthenticate = [\"users\"]\n"
    );
    let gateway = Gateway::start(&configuration(&cluster.url(), &more)).await;
    let exact = json!([{ "path": { "type": "Exact", "value": "/admin/keys" } }]);
    let echo = json!([{ "name": "echo", "port": 80 }]);
    let sneak = json!({ "matches": exact, "backendRefs": echo });
    cluster.apply(route("sneak", "admin.example.com", sneak));
    let (kind, reason) = ("Accepted", "UnsupportedValue");
    reports(&cluster, "sneak", kind, reason, "`protect` in").await;
    let refused = Dial::new("/admin/keys").host("admin.example.com");
    let refused = refused.connect(gateway.address()).await;
    assert_eq!(refused.err().expect("no session").status, 401);
}
