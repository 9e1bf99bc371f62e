//! What lists and events make, by table, and that no answer does harm.

use proptest::prelude::*;

use super::*;
use crate::core::kubernetes::listed::TOKEN_LEN_MAX;

const MAX: usize = 4;

/// A slice as the documentation shows one.
fn slice(name: &str, version: u64, kind: &str, endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": name, "namespace": "shop", "resourceVersion": version.to_string(),
                      "labels": { "kubernetes.io/service-name": "chat" } },
        "addressType": kind,
        "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 },
                  { "name": "dns", "protocol": "UDP", "port": 53 },
                  { "name": "all", "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}

fn endpoint(pod: &str, ip: &str, ready: bool, terminating: bool) -> Value {
    json!({
        "addresses": [ip],
        "conditions": { "ready": ready, "serving": ready, "terminating": terminating },
        "nodeName": "node-1", "zone": "us-west2-a",
        "targetRef": { "kind": "Pod", "name": pod, "namespace": "shop" },
    })
}

fn list(version: u64, next: &str, items: &[Value]) -> Vec<u8> {
    let list = json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "resourceVersion": version.to_string(), "continue": next }, "items": items,
    });
    list.to_string().into_bytes()
}

fn with(items: &[Value]) -> Slices {
    let mut slices = Slices::default();
    assert_eq!(slices.page(&list(7, "", items)), Ok(None));
    slices
}

fn event(kind: &str, object: &Value) -> Vec<u8> {
    json!({ "type": kind, "object": object })
        .to_string()
        .into_bytes()
}

/// Ids with their states.
fn states(slices: &Slices) -> Vec<(String, String)> {
    let (members, _) = slices.members("http", MAX);
    let members = members.into_iter();
    let states = members.map(|(id, text)| {
        let document: Value = serde_json::from_str(&text).expect("JSON");
        (id, document["state"].as_str().expect("a state").to_owned())
    });
    states.collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .map(|(id, state)| (id.to_owned(), state.to_owned()))
        .into()
}

#[test]
fn ready_pods_are_members_and_terminating_ones_drain() {
    let slices = with(&[slice(
        "chat-a",
        3,
        "IPv4",
        json!([
            endpoint("chat-0", "10.0.0.1", true, false),
            endpoint("chat-1", "10.0.0.2", false, false),
            endpoint("chat-2", "10.0.0.3", false, true),
            endpoint("chat-3", "10.0.0.4", true, true),
            { "addresses": ["10.0.0.5"] },
        ]),
    )]);
    let expected = [
        ("10.0.0.5:8080", "active"),
        ("chat-0", "active"),
        ("chat-2", "draining"),
        ("chat-3", "draining"),
    ];
    assert_eq!(states(&slices), pairs(expected));
    let (members, _) = slices.members("http", MAX);
    let document: Value = serde_json::from_str(&members["chat-0"]).expect("JSON");
    let expected = json!({
        "address": "10.0.0.1:8080", "state": "active", "zone": "us-west2-a",
        "labels": { "node": "node-1" },
    });
    assert_eq!(document, expected);
    for port in ["dns", "all", "https", ""] {
        assert!(!slices.has_port(port), "{port}");
        assert!(slices.members(port, MAX).0.is_empty(), "{port}");
    }
}

#[test]
fn i5_without_a_ready_pod_there_is_nothing_to_follow() {
    let slices = with(&[slice(
        "chat-a",
        3,
        "IPv4",
        json!([
            endpoint("chat-0", "10.0.0.1", false, false),
            endpoint("chat-1", "10.0.0.2", true, true),
        ]),
    )]);
    assert_eq!(states(&slices), []);
}

#[test]
fn pages_and_events_make_what_a_list_would() {
    let mut slices = Slices::default();
    let pod = |pod, ip| json!([endpoint(pod, ip, true, false)]);
    let first = slice("chat-a", 3, "IPv4", pod("a", "10.0.0.1"));
    let second = slice("chat-b", 4, "IPv4", pod("b", "10.0.0.2"));
    let next = slices.page(&list(7, "token", &[first]));
    assert_eq!(next, Ok(Some("token".to_owned())));
    assert_eq!(
        slices.page(&list(7, "", std::slice::from_ref(&second))),
        Ok(None)
    );
    assert_eq!(slices.version(), "7");
    let changed = slice("chat-b", 9, "IPv4", pod("c", "10.0.0.3"));
    assert_eq!(
        slices.event(&event("MODIFIED", &changed)),
        Ok(Happened::Changed)
    );
    assert_eq!(states(&slices), pairs([("a", "active"), ("c", "active")]));
    let bookmark = json!({ "kind": "EndpointSlice", "metadata": { "resourceVersion": "12" } });
    assert_eq!(
        slices.event(&event("BOOKMARK", &bookmark)),
        Ok(Happened::Bookmark)
    );
    assert_eq!(slices.version(), "12");
    let gone = slice("chat-b", 14, "IPv4", json!([]));
    assert_eq!(
        slices.event(&event("DELETED", &gone)),
        Ok(Happened::Changed)
    );
    assert_eq!(states(&slices), pairs([("a", "active")]));
    let status = |code: u16| json!({ "kind": "Status", "code": code, "message": "too old\n" });
    assert_eq!(
        slices.event(&event("ERROR", &status(410))),
        Ok(Happened::Gone)
    );
    let failed = slices.event(&event("ERROR", &status(500)));
    assert_eq!(failed, Ok(Happened::Failed("too old".to_owned())));
    assert_eq!(slices.version(), "14", "errors have no version");
}

#[test]
fn a_pod_with_two_addresses_is_one_member() {
    let slices = with(&[
        slice(
            "chat-6",
            3,
            "IPv6",
            json!([endpoint("a", "fd00::1", true, false)]),
        ),
        slice(
            "chat-z",
            4,
            "IPv4",
            json!([endpoint("a", "10.0.0.1", true, false)]),
        ),
    ]);
    let (members, left_out) = slices.members("http", MAX);
    assert!(members["a"].contains("10.0.0.1:8080"), "{members:?}");
    assert_eq!((members.len(), left_out), (1, 0));
}

#[test]
fn i12_what_cannot_be_a_member_is_left_out_and_counted() {
    let pod = |ip: &str| endpoint("a", ip, true, false);
    let mut nameless = pod("10.0.0.1");
    nameless["targetRef"]["name"] = json!("a\r\nb");
    let mut empty = pod("10.0.0.1");
    empty["addresses"] = json!([]);
    let cases = [
        ("IPv4", pod("fd00::1")),
        ("IPv4", pod("0.0.0.0")),
        ("IPv4", pod("unix:/run/docker.sock")),
        ("IPv6", pod("10.0.0.1")),
        ("FQDN", pod("/run/docker.sock")),
        ("FQDN", pod("a b")),
        ("IPv4", nameless),
        ("IPv4", empty),
    ];
    for (kind, odd) in cases {
        let good = slice(
            "chat-a",
            3,
            "IPv4",
            json!([endpoint("good", "10.0.0.9", true, false)]),
        );
        let slices = with(&[good, slice("chat-b", 3, kind, json!([odd.clone()]))]);
        let (members, left_out) = slices.members("http", MAX);
        assert_eq!((members.len(), left_out), (1, 1), "{kind} {odd}");
    }
    let many = (0..9).map(|number| endpoint(&format!("p{number}"), "10.0.0.1", true, false));
    let many: Vec<_> = many.collect();
    let (members, left_out) = with(&[slice("chat-a", 3, "IPv4", many.into())]).members("http", MAX);
    assert_eq!((members.len(), left_out), (MAX, 5));
    let slices = (0..=SLICES_MAX).map(|number| slice(&format!("s{number}"), 3, "IPv4", json!([])));
    let slices: Vec<_> = slices.collect();
    let fault = Slices::default().page(&list(7, "", &slices));
    assert_eq!(fault, Err(AnswerFault::TooMany(SLICES_MAX)));
}

#[test]
fn what_is_not_documented_is_no_answer() {
    let deep = "[".repeat(100_000);
    let long = String::from_utf8(list(7, &"t".repeat(TOKEN_LEN_MAX + 1), &[])).expect("UTF-8");
    let pages: [&str; 7] = [
        "",
        "[]",
        "{}",
        "{\"metadata\":{},\"items\":[]}",
        "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{}]}",
        &deep,
        &long,
    ];
    for page in pages {
        assert!(
            Slices::default().page(page.as_bytes()).is_err(),
            "{page:.40}"
        );
    }
    let odd = event(
        "RENAMED",
        &json!({ "metadata": { "resourceVersion": "1" } }),
    );
    for line in [
        "",
        "{}",
        "{\"type\":\"ADDED\"}",
        "{\"type\":\"ADDED\",\"object\":{}}",
    ] {
        assert!(Slices::default().event(line.as_bytes()).is_err(), "{line}");
    }
    assert!(Slices::default().event(&odd).is_err());
}

proptest! {
    #[test]
    fn i12_no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Slices::default().page(&bytes);
        let _ = Slices::default().event(&bytes);
    }

    /// Events in any order make what a list of the result would.
    #[test]
    fn events_make_what_a_list_would(
        steps in prop::collection::vec((0..4_usize, 0..4_u8, any::<bool>()), 1..30),
    ) {
        let mut slices = with(&[]);
        let mut twin: BTreeMap<String, Value> = BTreeMap::new();
        for (number, (which, ip, deleted)) in steps.into_iter().enumerate() {
            let name = format!("chat-{which}");
            let pod = endpoint(&format!("p{which}"), &format!("10.0.0.{}", ip + 1), ip != 3, ip == 2);
            let object = slice(&name, number as u64, "IPv4", json!([pod]));
            let kind = match (deleted, twin.contains_key(&name)) {
                (true, _) => "DELETED",
                (false, true) => "MODIFIED",
                (false, false) => "ADDED",
            };
            prop_assert_eq!(slices.event(&event(kind, &object)), Ok(Happened::Changed));
            match deleted {
                true => drop(twin.remove(&name)),
                false => drop(twin.insert(name, object)),
            }
            let all: Vec<_> = twin.values().cloned().collect();
            prop_assert_eq!(states(&slices), states(&with(&all)));
        }
    }
}
