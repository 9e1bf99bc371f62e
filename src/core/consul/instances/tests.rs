//! What instances make, by table, and that no answer does harm.

use proptest::prelude::*;

use super::*;

const MAX: usize = 4;

fn service(text: &str) -> ConsulService {
    text.parse().expect(text)
}

/// An answer with the example of the documentation, changed.
fn entry(change: impl FnOnce(&mut Value)) -> Value {
    let mut entry = json!({
        "Node": {
            "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "foobar",
            "Address": "10.1.10.12", "Datacenter": "dc1",
            "TaggedAddresses": { "lan": "10.1.10.12", "wan": "10.1.10.12" },
            "Meta": { "instance_type": "t2.medium" },
        },
        "Service": {
            "ID": "redis", "Service": "redis", "Tags": ["primary"], "Address": "10.1.10.13",
            "TaggedAddresses": { "lan": { "address": "10.1.10.12", "port": 8000 } },
            "Meta": { "redis_version": "4.0" }, "Port": 8000,
            "Weights": { "Passing": 10, "Warning": 1 }, "Namespace": "default",
        },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing", "ServiceTags": [] }],
    });
    change(&mut entry);
    entry
}

fn members(entries: &[Value], wanted: &str) -> (BTreeMap<String, Value>, usize) {
    let body = serde_json::to_vec(entries).expect("JSON");
    let (members, left_out) = instances(&body, &service(wanted), MAX).expect("it is read");
    let members = members.into_iter();
    let read = members.map(|(id, text)| (id, serde_json::from_str(&text).expect("JSON")));
    (read.collect(), left_out)
}

#[test]
fn the_example_of_the_documentation_is_a_member() {
    let (members, left_out) = members(&[entry(|_| ())], "redis");
    let expected = json!({
        "address": "10.1.10.13:8000", "weight": 10, "labels": { "node": "foobar" },
    });
    assert_eq!((&members["redis@foobar"], left_out), (&expected, 0));
}

/// A part of the member that a changed example makes.
#[track_caller]
fn check(change: fn(&mut Value), pointer: &str, expected: Value) {
    let (members, _) = members(&[entry(change)], "redis");
    let member = members.values().next().expect("it is a member");
    let found = member.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(found, expected, "{pointer}");
}

fn at(text: &str) -> Value {
    json!(text)
}

#[test]
fn address_and_weight_come_from_where_it_is_stated() {
    check(
        |one| one["Service"]["Address"] = json!(""),
        "/address",
        at("10.1.10.12:8000"),
    );
    check(
        |one| one["Service"]["Address"] = json!("fd00::1"),
        "/address",
        at("[fd00::1]:8000"),
    );
    check(
        |one| one["Service"]["Address"] = json!("Chat.Example"),
        "/address",
        at("chat.example:8000"),
    );
    check(
        |one| one["Service"]["Weights"] = Value::Null,
        "/weight",
        json!(1),
    );
    check(
        |one| one["Service"]["Weights"]["Passing"] = json!(-3),
        "/weight",
        json!(1),
    );
    check(
        |one| one["Service"]["Weights"]["Passing"] = json!(70_000),
        "/weight",
        json!(1000),
    );
    check(
        |one| one["Service"]["Tags"] = json!(["weight=7"]),
        "/weight",
        json!(7),
    );
    check(
        |one| {
            one["Service"]["Tags"] = json!(["weight=7"]);
            one["Service"]["Meta"]["weight"] = json!("8");
        },
        "/weight",
        json!(8),
    );
    check(
        |one| one["Service"]["Meta"]["weight"] = json!("heavy"),
        "/weight",
        json!(10),
    );
}

#[test]
fn version_zone_and_state_come_from_where_it_is_stated() {
    check(
        |one| one["Service"]["Meta"]["version"] = json!("2.1"),
        "/labels/version",
        at("2.1"),
    );
    check(
        |one| one["Service"]["Tags"] = json!(["version=3"]),
        "/labels/version",
        at("3"),
    );
    check(
        |one| one["Service"]["Meta"]["state"] = json!("draining"),
        "/state",
        at("draining"),
    );
    check(
        |one| one["Service"]["Meta"]["state"] = json!("odd"),
        "/state",
        Value::Null,
    );
    check(
        |one| one["Node"]["Meta"]["zone"] = json!("a"),
        "/zone",
        at("a"),
    );
    check(
        |one| one["Node"]["Locality"] = json!({ "Region": "r", "Zone": "b" }),
        "/zone",
        at("b"),
    );
    check(
        |one| one["Service"]["Meta"]["zone"] = json!("c\u{1b}"),
        "/zone",
        Value::Null,
    );
    check(
        |one| one["Service"]["Meta"] = Value::Null,
        "/weight",
        json!(10),
    );
}

#[test]
fn instances_that_fail_a_check_or_lack_a_tag_are_no_members() {
    let critical = entry(|one| {
        one["Service"]["ID"] = json!("sick");
        one["Checks"][0]["Status"] = json!("critical");
    });
    let second = entry(|one| {
        one["Service"]["ID"] = json!("second");
        one["Service"]["Tags"] = json!(["v2", "secondary"]);
    });
    let all = [entry(|_| ()), critical, second];
    let ids = |wanted| members(&all, wanted).0.into_keys().collect::<Vec<_>>();
    assert_eq!(ids("redis"), ["redis@foobar", "second@foobar"]);
    assert_eq!(ids("redis?tag=v2&tag=secondary"), ["second@foobar"]);
    assert_eq!(ids("redis?tag=v3"), [""; 0]);
}

#[test]
fn i12_what_cannot_be_a_member_is_left_out_and_counted() {
    let changes: [fn(&mut Value); 11] = [
        |one| one["Service"]["Port"] = json!(0),
        |one| one["Service"]["Port"] = json!(70_000),
        |one| one["Service"]["Port"] = json!(-1),
        |one| one["Service"]["Address"] = json!("unix:/run/docker.sock"),
        |one| one["Service"]["Address"] = json!("/run/docker.sock"),
        |one| one["Service"]["Address"] = json!("0.0.0.0"),
        |one| one["Service"]["Address"] = json!("a b"),
        |one| one["Service"]["ID"] = json!(""),
        |one| one["Service"]["ID"] = json!("a\r\nb"),
        |one| one["Node"]["Node"] = json!("ö"),
        |one| one["Node"]["Node"] = json!("n".repeat(256)),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (members, left_out) = members(&[entry(change)], "redis");
        assert_eq!((members.len(), left_out), (0, 1), "{number}");
    }
    // The same id twice, and more than are wanted.
    let (twice, left_out) = members(&[entry(|_| ()), entry(|_| ())], "redis");
    assert_eq!((twice.len(), left_out), (1, 1));
    let many: Vec<_> = (0..9)
        .map(|number| entry(|one| one["Service"]["ID"] = json!(format!("i{number}"))))
        .collect();
    let (members, left_out) = members(&many, "redis");
    assert_eq!((members.len(), left_out), (MAX, 5));
    assert!(members.contains_key("i0@foobar"));
}

#[test]
fn what_is_not_documented_is_no_answer() {
    let deep = "[".repeat(100_000);
    let texts: [&str; 7] = ["", "{}", "[1]", "null", "[{\"Node\":{}}]", "\u{0}", &deep];
    for text in texts {
        assert!(
            instances(text.as_bytes(), &service("redis"), MAX).is_err(),
            "{text:.9}"
        );
    }
    let wrong = entry(|one| one["Service"]["Port"] = json!("8000"));
    let body = serde_json::to_vec(&[wrong]).expect("JSON");
    let fault = instances(&body, &service("redis"), MAX).expect_err("it is not as documented");
    assert!(
        fault.to_string().contains("a value of another type"),
        "{fault}"
    );
}

proptest! {
    /// Whatever the bytes, there is no panic, and every member has a usable address.
    #[test]
    fn i12_no_answer_does_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = instances(&body, &service("redis"), MAX);
    }

    #[test]
    fn i12_no_text_in_an_answer_does_harm(
        (id, node, host, meta) in (any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        port in any::<i64>(),
    ) {
        let odd = entry(|one| {
            one["Service"]["ID"] = json!(id);
            one["Node"]["Node"] = json!(node);
            one["Service"]["Address"] = json!(host);
            one["Service"]["Port"] = json!(port);
            one["Service"]["Meta"] = json!({ "weight": meta, "zone": meta, "version": meta, "state": meta });
        });
        for member in members(&[odd], "redis").0.into_values() {
            let address = member["address"].as_str().expect("an address");
            prop_assert!(address.parse::<crate::base::addr::BackendAddr>().is_ok(), "{}", address);
            prop_assert!(!address.starts_with("unix:"));
        }
    }
}
