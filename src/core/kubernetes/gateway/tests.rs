//! Translations by table.

use serde_json::{Value, json};

use super::report::{Condition, ParentReport};
use super::*;
use crate::core::kubernetes::Listed as _;

mod objects;
mod precedence;
mod tenants;

const CONTROLLER: &str = "sessile.dev/gateway-controller";

/// An object as the API has it.
fn object(kind: &str, (namespace, name): (&str, &str), spec: Value) -> Value {
    json!({
        "kind": kind, "spec": spec,
        "metadata": {
            "namespace": namespace, "name": name, "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
    })
}

/// A route at Gateway `edge` of its namespace.
fn route(name: &str, mut spec: Value) -> Value {
    if spec["parentRefs"].is_null() {
        spec["parentRefs"] = json!([{ "name": "edge" }]);
    }
    object("HTTPRoute", ("shop", name), spec)
}

fn to_chat() -> Value {
    json!([{ "name": "chat", "port": 80 }])
}

/// The world of a class, a Gateway with one listener, and these.
fn world(more: &[Value]) -> World {
    let class = object(
        "GatewayClass",
        ("", "sessile"),
        json!({ "controllerName": CONTROLLER }),
    );
    let listeners = json!([{ "name": "http", "port": 80, "protocol": "HTTP" }]);
    let edge = json!({ "gatewayClassName": "sessile", "listeners": listeners });
    let edge = object("Gateway", ("shop", "edge"), edge);
    let all: Vec<_> = [class, edge].iter().chain(more).cloned().collect();
    let of = |kind: &str| {
        // A later object takes the place of an earlier one of its name.
        let items: Vec<_> = all.iter().filter(|one| one["kind"] == kind).collect();
        let list = json!({ "metadata": { "resourceVersion": "9" }, "items": items });
        let mut objects = Objects::default();
        objects.page(list.to_string().as_bytes()).expect("a list");
        std::sync::Arc::clone(objects.objects())
    };
    World {
        classes: of("GatewayClass"),
        gateways: of("Gateway"),
        routes: of("HTTPRoute"),
        grants: of("ReferenceGrant"),
        policies: of("SessilePolicy"),
        policies_left_out: std::sync::Arc::default(),
    }
}

fn facts() -> Facts {
    Facts {
        controller: CONTROLLER.into(),
        plain: true,
        tls: false,
        shared_hosts: false,
    }
}

fn translated(more: &[Value]) -> Translation {
    translate(&world(more), &facts())
}

/// A document without its precedence.
fn document(done: &Translation, key: &str) -> Value {
    let text = done.documents.get(key);
    let text = text.unwrap_or_else(|| panic!("{key} of {:?}", done.documents));
    let mut value: Value = serde_json::from_str(text).expect("JSON");
    value.as_object_mut().expect("a table").remove("precedence");
    value
}

/// Reason and message of a condition of a route at its only parent.
fn condition(done: &Translation, name: &str, kind: &str) -> (&'static str, String) {
    let parents = &done.reports.routes[&("shop".into(), name.into())];
    let [ParentReport { conditions, .. }] = parents.as_slice() else {
        panic!("{parents:?}");
    };
    let found = conditions.iter().find(|one| one.kind == kind);
    let Condition {
        reason, message, ..
    } = found.expect("a condition");
    (reason, message.clone())
}

#[test]
fn a_rule_becomes_a_route_and_its_service_an_upstream() {
    let check = |rule: Value, expected: Value| {
        let spec = json!({ "hostnames": ["chat.example"], "rules": [rule] });
        let done = translated(&[route("chat", spec)]);
        let mut expected = expected;
        expected["hosts"] = json!(["chat.example"]);
        let found = document(&done, "routes/httproute.shop.chat.00.00");
        assert_eq!(
            found,
            expected,
            "{:?}",
            condition(&done, "chat", "Accepted")
        );
        assert_eq!(
            condition(&done, "chat", "Accepted"),
            ("Accepted", String::new())
        );
    };
    let upstream = "service.shop.chat.80";
    check(
        json!({ "backendRefs": to_chat() }),
        json!({ "path": "/{*rest}", "upstream": upstream }),
    );
    let header =
        json!([{ "name": "X-Version", "value": "2" }, { "name": "x-version", "value": "3" }]);
    let query = json!([{ "type": "Exact", "name": "V", "value": "a b" }]);
    let path = json!({ "type": "PathPrefix", "value": "/a%62/" });
    let one = json!({ "path": path, "headers": header, "queryParams": query, "method": "GET" });
    check(
        json!({ "matches": [one], "backendRefs": to_chat() }),
        json!({
            "path": "/ab/{*rest}", "headers": { "x-version": "2" }, "query": { "V": "a b" },
            "methods": ["GET"], "upstream": upstream,
        }),
    );
    let modifier = json!({ "set": [{ "name": "X-A", "value": "1" }], "remove": ["x-b"] });
    let rewrite = json!({ "hostname": "inner", "path": { "type": "ReplaceFullPath", "replaceFullPath": "/in" } });
    let filters = json!([
        { "type": "RequestHeaderModifier", "requestHeaderModifier": modifier },
        { "type": "URLRewrite", "urlRewrite": rewrite },
    ]);
    check(
        json!({ "filters": filters, "backendRefs": to_chat() }),
        json!({
            "path": "/{*rest}", "upstream": upstream,
            "request_headers": { "set": { "x-a": "1" }, "add": {}, "remove": ["x-b"] },
            "rewrite": { "host": "inner", "path": "/in" },
        }),
    );
    let redirect = json!({ "scheme": "https", "hostname": "new.example", "port": 8443 });
    check(
        json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": redirect }] }),
        json!({
            "path": "/{*rest}",
            "redirect": { "scheme": "https", "host": "new.example:8443", "status": 302 },
        }),
    );
}

#[test]
fn a_replaced_prefix_leaves_no_slash_behind_it() {
    let path = json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": "/new/" });
    let filters = json!([{ "type": "URLRewrite", "urlRewrite": { "path": path } }]);
    let matches = json!([{ "path": { "type": "PathPrefix", "value": "/old" } }]);
    let rule = json!({ "matches": matches, "filters": filters, "backendRefs": to_chat() });
    let done = translated(&[route("chat", json!({ "rules": [rule] }))]);
    let name = "routes/httproute.shop.chat.00.00";
    let (prefix, exact) = (
        document(&done, name),
        document(&done, &format!("{name}.exact")),
    );
    assert_eq!(
        (&prefix["path"], &prefix["rewrite"]["path"]),
        (&json!("/old/{*rest}"), &json!("/new/{*rest}"))
    );
    assert_eq!(
        (&exact["path"], &exact["rewrite"]["path"]),
        (&json!("/old"), &json!("/new"))
    );
}

/// Asserts that an HTTPRoute with this rule is refused for this reason, and another one is not.
#[track_caller]
fn check_refused(rule: Value, message: &str) {
    let to_other = json!({ "hostnames": ["b"], "rules": [{ "backendRefs": to_chat() }] });
    let other = route("other", to_other);
    let done = translated(&[route("chat", json!({ "rules": [rule] })), other]);
    let (found, said) = condition(&done, "chat", "Accepted");
    assert_eq!(found, "UnsupportedValue", "{said}");
    assert!(said.contains(message), "{said}");
    let mut keys = done.documents.keys();
    assert!(!keys.any(|key| key.contains("shop.chat.00")), "{message}");
    document(&done, "routes/httproute.shop.other.00.00");
    assert_eq!(condition(&done, "other", "Accepted").0, "Accepted");
}

fn rule_with(key: &str, value: Value) -> Value {
    let mut rule = json!({ "backendRefs": to_chat() });
    rule[key] = value;
    rule
}

#[test]
fn what_no_route_can_express_is_reported_and_disturbs_no_other() {
    let mirror = json!([{ "type": "RequestMirror" }]);
    check_refused(rule_with("filters", mirror), "filter RequestMirror");
    check_refused(rule_with("timeouts", json!({})), "unknown field `timeouts`");
    let two = json!([{ "name": "a", "port": 80 }, { "name": "b", "port": 80, "weight": 9 }]);
    for (refs, message) in [
        (two, "several backendRefs"),
        (json!([{ "name": "a" }]), "the port of Service a"),
        (json!([]), "needs a backendRef"),
        (json!([{ "name": "a/../b", "port": 1 }]), "names no Service"),
        (json!(7), "invalid type"),
    ] {
        check_refused(json!({ "backendRefs": refs }), message);
    }
}

#[test]
fn matches_that_no_route_can_express_are_reported() {
    let by_path = |path: Value| json!([{ "path": path }]);
    let expression = json!({ "type": "RegularExpression", "value": "/a.*" });
    let header = json!([{ "type": "RegularExpression", "name": "a", "value": "b" }]);
    let long = "/".repeat(70 << 10);
    for (matches, message) in [
        (by_path(expression), "RegularExpression"),
        (by_path(json!({ "value": "/{a}" })), "`/{a}` is no path"),
        (json!([{ "headers": header }]), "a header of type"),
        (json!(vec![json!({}); 65]), "more than 64 matches"),
        (by_path(json!({ "value": long })), "too large"),
    ] {
        check_refused(rule_with("matches", matches), message);
    }
}

#[test]
fn a_reference_grant_permits_services_of_another_namespace() {
    let refs = json!([{ "namespace": "back", "name": "chat", "port": 80 }]);
    let chat = route("chat", json!({ "rules": [{ "backendRefs": refs }] }));
    let grant = |from: &str, kind: &str, name: Value| {
        let from = json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from }]);
        let to = json!([{ "group": "", "kind": kind, "name": name }]);
        object(
            "ReferenceGrant",
            ("back", "grant"),
            json!({ "from": from, "to": to }),
        )
    };
    let check = |grants: &[Value], permitted: bool| {
        let objects: Vec<_> = grants.iter().chain([&chat]).cloned().collect();
        let done = translated(&objects);
        let resolved = condition(&done, "chat", "ResolvedRefs").0;
        let route = document(&done, "routes/httproute.shop.chat.00.00");
        let expected = match permitted {
            true => ("ResolvedRefs", "service.back.chat.80"),
            // It takes its requests all the same, and leads nowhere.
            false => ("RefNotPermitted", "httproute.nowhere"),
        };
        assert_eq!((resolved, route["upstream"].as_str().unwrap()), expected);
        assert_eq!(condition(&done, "chat", "Accepted").0, "Accepted");
        assert_eq!(
            done.documents
                .contains_key("upstreams/service.back.chat.80"),
            permitted
        );
    };
    check(&[], false);
    check(&[grant("shop", "Service", Value::Null)], true);
    check(&[grant("shop", "Service", json!("chat"))], true);
    check(&[grant("shop", "Service", json!("other"))], false);
    check(&[grant("shop", "Secret", Value::Null)], false);
    check(&[grant("else", "Service", Value::Null)], false);
}

#[test]
fn a_route_is_attached_where_listener_and_gateway_admit_it() {
    let edge = |listener: Value| {
        let spec = json!({ "gatewayClassName": "sessile", "listeners": [listener] });
        object("Gateway", ("shop", "edge"), spec)
    };
    let check = |listener: Value, parent: Value, reason: &str| {
        let spec = json!({
            "hostnames": ["a.example"], "parentRefs": [parent],
            "rules": [{ "backendRefs": to_chat() }],
        });
        let done = translated(&[edge(listener.clone()), route("chat", spec)]);
        assert_eq!(condition(&done, "chat", "Accepted").0, reason, "{listener}");
        let attached = done.reports.gateways[&("shop".into(), "edge".into())].listeners[0].attached;
        assert_eq!(attached, usize::from(reason == "Accepted"), "{listener}");
        let any = done.documents.keys().any(|key| key.starts_with("routes/"));
        assert_eq!(any, reason == "Accepted");
    };
    let http = json!({ "name": "http", "port": 80, "protocol": "HTTP" });
    let with = |key: &str, value: Value| {
        let mut listener = http.clone();
        listener[key] = value;
        listener
    };
    let edge_of = |more: &[(&str, Value)]| {
        let mut parent = json!({ "name": "edge" });
        more.iter()
            .for_each(|(key, value)| parent[*key] = value.clone());
        parent
    };
    check(http.clone(), edge_of(&[]), "Accepted");
    check(
        http.clone(),
        edge_of(&[("sectionName", json!("http")), ("port", json!(80))]),
        "Accepted",
    );
    check(
        http.clone(),
        edge_of(&[("sectionName", json!("other"))]),
        "NoMatchingParent",
    );
    check(
        http.clone(),
        edge_of(&[("port", json!(81))]),
        "NoMatchingParent",
    );
    check(
        with("hostname", json!("*.example")),
        edge_of(&[]),
        "Accepted",
    );
    let unlike = "NoMatchingListenerHostname";
    check(with("hostname", json!("b.example")), edge_of(&[]), unlike);
    let kinds = json!({ "kinds": [{ "kind": "GRPCRoute" }] });
    check(
        with("allowedRoutes", kinds),
        edge_of(&[]),
        "NotAllowedByListeners",
    );
    // This gateway has no listener with TLS.
    check(with("protocol", json!("HTTPS")), edge_of(&[]), unlike);
    check(with("protocol", json!("TCP")), edge_of(&[]), unlike);
}

#[test]
fn a_policy_adds_keys_to_its_route_and_one_at_fault_refuses_it() {
    let chat = route("chat", json!({ "rules": [{ "backendRefs": to_chat() }] }));
    let policy = |name: &str, settings: Value| {
        let target =
            json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat" });
        let spec = json!({ "targetRef": target, "route": settings });
        object("SessilePolicy", ("shop", name), spec)
    };
    let reason = |done: &Translation, name: &str| {
        done.reports.policies[&("shop".into(), name.into())][0].conditions[0].reason
    };
    let good = policy(
        "a",
        json!({ "affinity": ["query:k"], "limits": { "sessions_per_key": 2 } }),
    );
    let done = translated(&[chat.clone(), good, policy("b", json!({}))]);
    let found = document(&done, "routes/httproute.shop.chat.00.00");
    assert_eq!(found["affinity"], json!(["query:k"]));
    assert_eq!(
        (reason(&done, "a"), reason(&done, "b")),
        ("Accepted", "Conflicted")
    );
    // What it cannot set it does not set, and no route goes without it.
    let done = translated(&[chat, policy("a", json!({ "upstream": "other" }))]);
    let found = document(&done, "routes/httproute.shop.chat.00.00");
    assert_eq!(
        (found["policy"].clone(), reason(&done, "a")),
        (Value::Null, "Invalid")
    );
    assert!(found.as_object().expect("a table").contains_key("policy"));
    assert_eq!(found["upstream"], "service.shop.chat.80");
}

#[test]
fn statuses_are_written_where_they_differ_and_leave_others_alone() {
    let mut chat = route("chat", json!({ "rules": [{ "backendRefs": to_chat() }] }));
    let foreign =
        json!({ "controllerName": "other", "parentRef": { "name": "x" }, "conditions": [] });
    chat["status"] = json!({ "parents": [foreign] });
    let all = world(&[chat.clone()]);
    let done = translate(&all, &facts());
    let made = patches(&all, &done.reports, CONTROLLER, "2026-02-02T00:00:00Z");
    assert_eq!(made.len(), 3, "{made:?}");
    let patch = made
        .iter()
        .find(|one| one.kind == Kind::Route)
        .expect("a route");
    let parents = &patch.body["status"]["parents"];
    assert_eq!(
        (&parents[0], &parents[1]["controllerName"]),
        (&foreign, &json!(CONTROLLER))
    );
    assert_eq!(parents[1]["conditions"][0]["observedGeneration"], 3);
    assert_eq!(patch.body["metadata"]["resourceVersion"], "7");
    // What stands there already is not written again, whatever the time is.
    chat["status"] = patch.body["status"].clone();
    let all = world(&[chat]);
    let made = patches(&all, &done.reports, CONTROLLER, "2026-03-03T00:00:00Z");
    assert!(!made.iter().any(|one| one.kind == Kind::Route), "{made:?}");
}
