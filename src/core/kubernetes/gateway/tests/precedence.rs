//! Which of two matches comes first, by the rules of the Gateway API.

use super::*;
use crate::core::kubernetes::gateway::matches::Conditions;
use crate::core::kubernetes::gateway::objects::RouteMatch;

fn precedence(one: Value, created: u64) -> i64 {
    let one: RouteMatch = serde_json::from_value(one).expect("a match");
    let conditions = Conditions::of(&one).unwrap_or_else(|fault| panic!("{fault:?}"));
    conditions.precedence(created)
}

#[test]
fn of_matches_with_one_path_a_method_counts_first_then_headers_then_parameters_then_age() {
    let values = |count: usize| {
        let each = (0..count).map(|number| json!({ "name": format!("n{number}"), "value": "v" }));
        Value::Array(each.collect())
    };
    let old = 1_000_000_000;
    let order = [
        (json!({ "method": "GET" }), old),
        (json!({ "headers": values(2) }), old + 9),
        (
            json!({ "headers": values(1), "queryParams": values(1) }),
            old + 9,
        ),
        (json!({ "headers": values(1) }), old),
        (json!({ "headers": values(1) }), old + 1),
        (json!({ "queryParams": values(16) }), old),
        (json!({ "queryParams": values(15) }), 0),
        (json!({}), 0),
        (json!({}), old),
        (json!({}), u64::MAX),
    ];
    let ranks: Vec<_> = order
        .into_iter()
        .map(|(one, created)| precedence(one, created))
        .collect();
    assert!(ranks.is_sorted_by(|one, other| one > other), "{ranks:?}");
    // The file's own routes come first.
    assert!(ranks.iter().all(|rank| *rank < 0), "{ranks:?}");
}

#[test]
fn of_two_routes_with_one_match_the_older_has_it() {
    let rule = |service: &str| json!({ "backendRefs": [{ "name": service, "port": 80 }] });
    let mut old = route("z", json!({ "hostnames": ["a"], "rules": [rule("old")] }));
    let new = route(
        "a",
        json!({ "hostnames": ["a", "b"], "rules": [rule("new"), rule("second")] }),
    );
    old["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    let done = translated(&[new, old]);
    let routes = done
        .documents
        .iter()
        .filter(|(key, _)| key.starts_with("routes/"));
    let shown: Vec<_> = routes
        .map(|(key, text)| {
            let value: Value = serde_json::from_str(text).expect("JSON");
            format!("{key} {} {}", value["hosts"], value["upstream"])
        })
        .collect();
    assert_eq!(
        shown,
        [
            "routes/httproute.shop.a.00.00 [\"b\"] \"service.shop.new.80\"",
            "routes/httproute.shop.z.00.00 [\"a\"] \"service.shop.old.80\"",
        ]
    );
}
