//! Routes by the Gateway API.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sessile::config::yaml;

use super::{ready, status};
use crate::support::client::Dial;
use crate::support::etcd_world::restart;
use crate::support::kubernetes::Cluster;
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
async fn connects(gateway: &Gateway, host: &str, path: &str) -> bool {
    let client = Dial::new(path).host(host).connect(gateway.address()).await;
    client.is_ok()
}

/// A condition of a route at its first parent: status, reason, message.
pub fn condition(cluster: &Cluster, name: &str, kind: &str) -> (String, String, String) {
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
fn route(name: &str, host: &str, rule: Value) -> Value {
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
    let mirror = json!([{ "type": "RequestMirror", "requestMirror": {} }]);
    cluster.apply(route(
        "mirror",
        "a.example.com",
        json!({ "filters": mirror, "backendRefs": echo }),
    ));
    let other = json!([{ "name": "echo", "namespace": "back", "port": 80 }]);
    cluster.apply(route(
        "other",
        "b.example.com",
        json!({ "backendRefs": other }),
    ));
    let missing = json!([{ "name": "nothing", "port": 80 }]);
    cluster.apply(route(
        "missing",
        "c.example.com",
        json!({ "backendRefs": missing }),
    ));
    let bad = json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier":
        { "set": [{ "name": "Host", "value": "x" }] } }]);
    cluster.apply(route(
        "host",
        "d.example.com",
        json!({ "filters": bad, "backendRefs": echo }),
    ));
    reports(
        &cluster,
        "mirror",
        "Accepted",
        "UnsupportedValue",
        "filter RequestMirror",
    )
    .await;
    reports(
        &cluster,
        "other",
        "ResolvedRefs",
        "RefNotPermitted",
        "no ReferenceGrant",
    )
    .await;
    reports(
        &cluster,
        "missing",
        "ResolvedRefs",
        "BackendNotFound",
        "not found",
    )
    .await;
    reports(
        &cluster,
        "host",
        "Accepted",
        "UnsupportedValue",
        "the gateway's own",
    )
    .await;
    assert!(connects(&gateway, "chat.example.com", "/chat/room").await);
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
async fn only_the_leader_writes_statuses_and_another_takes_over() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let directory = tempfile::tempdir().expect("a directory");
    let start = async |name: &str| {
        let token = directory.path().join(name);
        fs::write(&token, name).expect("a file");
        let more = format!("token_file = \"{}\"\n", token.display());
        Gateway::start_named(name, &configuration(&cluster.url(), &more)).await
    };
    let first = start("first").await;
    reports(&cluster, "chat", "Accepted", "Accepted", "").await;
    let second = start("second").await;
    let echo = json!([{ "name": "echo", "port": 80 }]);
    cluster.apply(route(
        "more",
        "a.example.com",
        json!({ "backendRefs": echo }),
    ));
    reports(&cluster, "more", "Accepted", "Accepted", "").await;
    // Both route by it.
    assert!(connects(&first, "a.example.com", "/").await);
    eventually("both do", async || {
        connects(&second, "a.example.com", "/").await
    })
    .await;
    assert!(
        cluster.writers().iter().all(|one| one == "first"),
        "{:?}",
        cluster.writers()
    );
    let lease = || cluster.object("Lease", Some("sessile"), "sessile-gateway")["spec"].clone();
    let holder = lease()["holderIdentity"].to_string();
    assert!(holder.contains("first_"), "{holder}");
    drop(first);
    let taken =
        crate::support::time::holds_within(std::time::Duration::from_secs(40), async || {
            lease()["holderIdentity"].to_string().contains("second_")
        });
    assert!(taken.await, "{}", lease());
    assert_eq!(lease()["leaseTransitions"], 1);
    cluster.apply(route(
        "late",
        "l.example.com",
        json!({ "backendRefs": echo }),
    ));
    reports(&cluster, "late", "Accepted", "Accepted", "").await;
    assert_eq!(cluster.writers().last().map(String::as_str), Some("second"));
}

/// A right as roles call it: group, resource, verb.
type Right = (String, String, String);

/// What a question needs; `None` for those of Services, which other roles grant.
fn right(line: &str) -> Option<Right> {
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<_> = path.strip_prefix("/apis/")?.split('/').collect();
    let group = parts.remove(0);
    if group == "discovery.k8s.io" {
        return None;
    }
    parts.remove(0);
    if parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let verb = match (method, parts.len()) {
        ("GET", _) if query.contains("watch=1") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        other => panic!("{other:?}"),
    };
    let resource = match parts.last() {
        Some(&"status") => format!("{}/status", parts[0]),
        _ => parts[0].to_owned(),
    };
    Some((group.to_owned(), resource, verb.to_owned()))
}

/// What the manifest grants.
fn granted() -> BTreeSet<Right> {
    let file = "deploy/kubernetes/gateway-api-rbac.yaml";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let text = text.expect("a manifest");
    let documents = text
        .split("\n---\n")
        .map(|one| yaml::read(one).expect("YAML"));
    let mut granted = BTreeSet::new();
    for role in documents.filter(|one| !one["rules"].is_null()) {
        for rule in role["rules"].as_array().expect("rules") {
            let texts = |key: &str| -> Vec<String> {
                let list = rule[key].as_array().expect("a list").iter();
                list.map(|text| text.as_str().expect("a text").to_owned())
                    .collect()
            };
            let group = texts("apiGroups").remove(0);
            for resource in texts("resources") {
                let rights = texts("verbs").into_iter();
                granted.extend(rights.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    granted
}

#[tokio::test]
async fn the_manifest_of_the_gateway_api_grants_what_is_asked_for_and_no_more() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let _gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    let granted = granted();
    eventually("it asks for everything that is granted", async || {
        let asked: BTreeSet<_> = cluster
            .asked()
            .iter()
            .filter_map(|line| right(line))
            .collect();
        asked == granted
    })
    .await;
}
