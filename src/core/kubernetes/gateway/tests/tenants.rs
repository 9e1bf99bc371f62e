//! What one tenant of the cluster may not take from another, and what none may do.

use super::*;

const SERVICE: &str = "service.shop.chat.80";

/// A Gateway that takes routes of all namespaces.
fn open_edge() -> Value {
    let all = json!({ "namespaces": { "from": "All" } });
    let listener = json!({ "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": all });
    let spec = json!({ "gatewayClassName": "sessile", "listeners": [listener] });
    object("Gateway", ("shop", "edge"), spec)
}

/// A route of another namespace at the Gateway of `shop`, younger than its routes.
fn foreign(name: &str, hosts: &[&str], rules: Value) -> Value {
    let parents = json!([{ "name": "edge", "namespace": "shop" }]);
    let spec = json!({ "parentRefs": parents, "hostnames": hosts, "rules": rules });
    let mut route = object("HTTPRoute", ("evil", name), spec);
    route["metadata"]["creationTimestamp"] = "2026-06-01T00:00:00Z".into();
    route
}

fn of_shop(hosts: &[&str]) -> Value {
    let rules = json!([{ "backendRefs": to_chat() }]);
    route("chat", json!({ "hostnames": hosts, "rules": rules }))
}

/// Status, reason and message of `Accepted` of the route of another namespace.
fn accepted(done: &Translation, name: &str) -> (bool, &'static str, String) {
    let parents = &done.reports.routes[&("evil".into(), name.into())];
    let one = &parents[0].conditions[0];
    (one.holds, one.reason, one.message.clone())
}

#[test]
fn i12_a_host_belongs_to_the_namespace_with_the_oldest_route_for_it() {
    let exact = json!({ "path": { "type": "Exact", "value": "/chat/login" }, "method": "GET" });
    let rules = json!([{ "matches": [exact], "backendRefs": to_chat() }]);
    let check = |own: &[&str], others: &[&str], kept: &[&str]| {
        let all = [
            open_edge(),
            of_shop(own),
            foreign("x", others, rules.clone()),
        ];
        let done = translated(&all);
        let (holds, reason, message) = accepted(&done, "x");
        let expected = if kept.is_empty() {
            "HostnameConflict"
        } else {
            "Accepted"
        };
        assert_eq!((holds, reason), (!kept.is_empty(), expected), "{others:?}");
        let says = message.contains("belongs to an older route of namespace shop");
        assert_eq!(says, kept.len() < others.len().max(1), "{message}");
        let found = done.documents.get("routes/httproute.evil.x.00.00");
        let found = found.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        let hosts = found.map_or(json!([]), |found| found["hosts"].clone());
        assert_eq!(hosts, json!(kept), "{own:?} {others:?}");
        // Sharing is a choice of the operator's.
        let shared = Facts {
            shared_hosts: true,
            ..facts()
        };
        let done = translate(&world(&all), &shared);
        assert!(accepted(&done, "x").0);
    };
    check(&["a.example"], &["a.example"], &[]);
    check(&["a.example"], &["A.Example"], &[]);
    check(&["a.example"], &["a.example", "b.example"], &["b.example"]);
    check(&["a.example"], &["b.example"], &["b.example"]);
    check(&["*.example"], &["a.example"], &[]);
    check(&["*.example"], &["*.b.example"], &[]);
    check(&["*.example"], &["a.b.example"], &[]);
    check(&["*.b.example"], &["a.example"], &["a.example"]);
    check(&[], &[], &[]);
    check(&[], &["a.example"], &["a.example"]);
}

#[test]
fn a_namespace_may_have_many_routes_for_its_host() {
    let mut more = of_shop(&["a.example"]);
    let path = json!([{ "path": { "value": "/more" } }]);
    more["metadata"]["name"] = "more".into();
    more["spec"]["rules"][0]["matches"] = path;
    let done = translated(&[open_edge(), of_shop(&["a.example"]), more]);
    assert_eq!(
        document(&done, "routes/httproute.shop.more.00.00")["path"],
        "/more/{*rest}"
    );
    assert_eq!(condition(&done, "more", "Accepted").0, "Accepted");
}

#[test]
fn only_listeners_that_admit_them_take_routes_of_other_namespaces() {
    let rules = json!([{ "backendRefs": to_chat() }]);
    let done = translated(&[open_edge(), foreign("x", &["x.example"], rules.clone())]);
    assert_eq!(accepted(&done, "x").1, "Accepted");
    let same = json!({ "namespaces": { "from": "Same" } });
    for allowed in [
        Value::Null,
        same,
        json!({ "namespaces": { "from": "Selector" } }),
    ] {
        let mut edge = open_edge();
        edge["spec"]["listeners"][0]["allowedRoutes"] = allowed.clone();
        let done = translated(&[edge, foreign("x", &["x.example"], rules.clone())]);
        assert_eq!(accepted(&done, "x").1, "NotAllowedByListeners", "{allowed}");
        assert!(!done.documents.keys().any(|key| key.starts_with("routes/")));
    }
}

#[test]
fn a_policy_is_for_routes_of_its_own_namespace() {
    let target =
        json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat" });
    let spec = json!({ "targetRef": target, "route": { "authenticate": [] } });
    let done = translated(&[
        of_shop(&["a"]),
        object("SessilePolicy", ("evil", "p"), spec),
    ]);
    let found = document(&done, "routes/httproute.shop.chat.00.00");
    assert_eq!(found["authenticate"], Value::Null);
    assert!(
        done.reports.policies.is_empty(),
        "{:?}",
        done.reports.policies
    );
}

#[test]
fn i4_no_route_goes_without_a_policy_that_cannot_be_read() {
    let is_refused = |done: &Translation| {
        let found = document(done, "routes/httproute.shop.chat.00.00");
        found.as_object().expect("a table").contains_key("policy")
    };
    let target =
        json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat" });
    let long = "x".repeat(70 << 10);
    for spec in [
        json!({ "targetRef": target, "route": { "origins": [long] } }),
        json!({ "targetRef": target, "rout": {} }),
        json!({ "targetRef": { "name": "chat", "sectionName": "x" } }),
        json!({ "targetRef": 7 }),
        json!({ "targetRef": { "name": long } }),
    ] {
        let policy = object("SessilePolicy", ("shop", "p"), spec);
        assert!(is_refused(&translated(&[of_shop(&["a"]), policy])));
    }
    // One that is left out may be for any route of its namespace, and for none of another.
    for (namespace, refused) in [("shop", true), ("evil", false)] {
        let mut all = world(&[of_shop(&["a"])]);
        all.policies_left_out = std::sync::Arc::new([namespace.into()].into());
        let done = translate(&all, &facts());
        assert_eq!(is_refused(&done), refused);
        let (reason, message) = condition(&done, "chat", "Accepted");
        assert_eq!(reason == "UnsupportedValue", refused, "{message}");
    }
}

#[test]
fn i12_younger_routes_are_refused_where_all_are_too_many() {
    let rules = |route: usize, count: usize, service: &str| {
        let rule = |rule: usize| {
            let backend = json!([{ "name": format!("{service}{route}-{rule}"), "port": 80 }]);
            let path = json!({ "value": format!("/{route}/{rule}") });
            json!({ "matches": [{ "path": path }], "backendRefs": backend })
        };
        (0..count).map(rule).collect::<Value>()
    };
    let check = |all: Vec<Value>, message: &str| {
        let done = translated(&[vec![open_edge(), of_shop(&["a"])], all].concat());
        document(&done, "routes/httproute.shop.chat.00.00");
        assert!(done.documents.contains_key(&format!("upstreams/{SERVICE}")));
        let last = accepted(&done, "r0999");
        assert!(!last.0 && last.2.contains(message), "{last:?}");
        assert!(accepted(&done, "r0000").0);
        done.documents.len()
    };
    // Of the same age, so that the name decides.
    let services = (0..30).map(|number| {
        let name = format!("r{number:04}");
        foreign(&name, &["b"], rules(number, 16, "s"))
    });
    let mut services: Vec<_> = services.collect();
    services.push(foreign("r0999", &["b"], rules(99, 16, "s")));
    assert!(check(services, "lead to more than 384 Services") <= 2 * 385);
    let hosts: Vec<_> = (0..16).map(|number| format!("h{number}.example")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let all = (0..20).chain([999]).map(|number| {
        let mut route = foreign(&format!("r{number:04}"), &hosts, rules(number, 64, "s"));
        for rule in route["spec"]["rules"].as_array_mut().expect("rules") {
            rule["backendRefs"] = json!([{ "name": "one", "port": 80 }]);
        }
        route
    });
    let all = all.collect();
    let done = check(all, "hosts with matches");
    assert!(done <= 16 * 64 + 3, "{done}");
}

#[test]
fn i12_grants_of_a_namespace_are_bounded_and_concern_no_other() {
    let grant = |namespace: &str, number: usize, names: &[String]| {
        let from = json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop" }]);
        let to = names
            .iter()
            .map(|name| json!({ "group": "", "kind": "Service", "name": name }));
        let to: Vec<_> = to.collect();
        let spec = json!({ "from": from, "to": to });
        object(
            "ReferenceGrant",
            (namespace, &format!("g{number:04}")),
            spec,
        )
    };
    let many = (0..100).map(|number| {
        let names: Vec<_> = (0..20).map(|one| format!("s{number}-{one}")).collect();
        grant("back", number, &names)
    });
    let last = grant("other", 0, &["chat".to_owned()]);
    let grants = world(&many.chain([last]).collect::<Vec<_>>()).grants;
    let grants = grants::Grants::new(&grants);
    assert!(grants.permit("shop", "other", "chat"));
    let permitted =
        |number: usize, one: usize| grants.permit("shop", "back", &format!("s{number}-{one}"));
    assert!(permitted(0, 0) && permitted(0, 15) && permitted(63, 15));
    assert!(!permitted(0, 16) && !permitted(64, 0));
}

#[test]
fn i12_no_object_ends_the_process() {
    let odd = [
        Value::Null,
        json!(7),
        json!(-1),
        json!(u64::MAX),
        json!(""),
        json!("\u{e9}\u{0}{*rest}//%7b%00..%2f"),
        json!("x".repeat(300)),
        json!([]),
        json!([[], {}, null, 0]),
        json!({}),
        json!({ "": { "": [] } }),
    ];
    let filters = json!([
        { "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": [{ "name": "a", "value": "b" }] } },
        { "type": "URLRewrite", "urlRewrite": { "hostname": "h", "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/n" } } },
    ]);
    let path = json!({ "type": "PathPrefix", "value": "/a" });
    let header = json!([{ "name": "a", "value": "b" }]);
    let matches =
        json!([{ "path": path, "headers": header, "queryParams": header, "method": "GET" }]);
    let refs = json!([{ "name": "chat", "namespace": "back", "port": 80, "weight": 1 }]);
    let rule = json!({ "matches": matches, "filters": filters, "backendRefs": refs });
    let route = route(
        "chat",
        json!({ "hostnames": ["a.example"], "rules": [rule] }),
    );
    let target =
        json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat" });
    let spec = json!({ "targetRef": target, "route": { "limits": {} } });
    let policy = object("SessilePolicy", ("shop", "p"), spec);
    let from =
        json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop" }]);
    let to = json!([{ "group": "", "kind": "Service", "name": "chat" }]);
    let grant = object(
        "ReferenceGrant",
        ("back", "g"),
        json!({ "from": from, "to": to }),
    );
    let good = [open_edge(), route, policy, grant];
    let mut tried = 0;
    for number in 0..good.len() {
        for place in places(&good[number]["spec"], "/spec") {
            for value in &odd {
                let mut all = good.clone();
                *all[number].pointer_mut(&place).expect("it is there") = value.clone();
                let all = world(&all);
                let done = translate(&all, &facts());
                patches(&all, &done.reports, CONTROLLER, "2026-02-02T00:00:00Z");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// Pointers to everything in a value.
fn places(value: &Value, at: &str) -> Vec<String> {
    let mut all = vec![at.to_owned()];
    match value {
        Value::Object(map) => {
            let inner = map.iter();
            all.extend(inner.flat_map(|(key, value)| places(value, &format!("{at}/{key}"))));
        }
        Value::Array(list) => {
            let inner = list.iter().enumerate();
            all.extend(inner.flat_map(|(key, value)| places(value, &format!("{at}/{key}"))));
        }
        _ => {}
    }
    all
}
