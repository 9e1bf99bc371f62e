use serde_json::json;

use super::*;

fn take(uri: &str) -> Result<Option<Scope>, String> {
    Scope::take(&uri.parse().expect("a URI"))
}

fn given(status: u16, body: &Value) -> Result<Given, String> {
    Ok(Given {
        status: StatusCode::from_u16(status).expect("a status"),
        body: body.to_string().into(),
    })
}

#[test]
fn the_scope_is_taken_out_and_the_rest_stays() {
    let asked = take("/v1/sessions?route=a%26b&scope=fleet&limit=3").expect("well-formed");
    let asked = asked.expect("a scope");
    assert!(asked.fleet && asked.wants("any"));
    assert_eq!(
        asked.target(Some("any")),
        "/v1/sessions?route=a%26b&limit=3"
    );
    assert_eq!(take("/v1/sessions?route=scope"), Ok(None));
    let node = take("/v1/status?scope=node").expect("well-formed");
    let node = node.expect("a scope");
    assert_eq!(
        (node.fleet, node.target(None)),
        (false, "/v1/status".to_owned())
    );
    for wrong in ["?scope=", "?scope=all", "?scope=fleet&scope=node"] {
        assert!(take(&format!("/v1/sessions{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn every_gateway_goes_on_where_its_list_ended() {
    let page = merge(vec![
        Answer::new(
            "a".into(),
            given(200, &json!({ "items": [{ "id": 1 }], "next": "1" })),
        ),
        Answer::new(
            "b".into(),
            given(200, &json!({ "items": [], "next": null })),
        ),
    ]);
    assert_eq!(page.items, [json!({ "id": 1, "node": "a" })]);
    assert!(!page.partial);
    let next = page.next.expect("more");
    let asked = take(&format!("/v1/sessions?cursor={next}&scope=fleet&limit=1"));
    let asked = asked.expect("well-formed").expect("a scope");
    assert!(asked.wants("a") && !asked.wants("b"));
    assert_eq!(asked.target(Some("a")), "/v1/sessions?limit=1&cursor=1");
}

#[test]
fn i12_no_cursor_is_taken_that_no_list_gave() {
    let huge = "A".repeat(CURSOR_MAX + 1);
    for wrong in ["x", "eyJhIjoxfQ", "W10", &huge] {
        let asked = take(&format!("/v1/sessions?scope=fleet&cursor={wrong}"));
        assert!(asked.is_err(), "{}", &wrong[..wrong.len().min(20)]);
    }
}

#[test]
fn who_does_not_answer_makes_the_list_partial() {
    let page = merge(vec![
        Answer::new("a".into(), given(200, &json!({ "phase": "ready" }))),
        Answer::new("b".into(), Err("no route to host".to_owned())),
        Answer::new("c".into(), given(401, &json!({ "detail": "no token" }))),
        Answer::new("d".into(), given(404, &json!({}))),
    ]);
    assert_eq!(page.items, [json!({ "phase": "ready", "node": "a" })]);
    assert!(page.partial);
    let faults: Vec<_> = page.nodes.iter().map(|one| one.fault.as_deref()).collect();
    let refused = "it answers 401 Unauthorized: no token";
    assert_eq!(
        faults,
        [None, Some("no route to host"), Some(refused), None]
    );
    assert_eq!(page.nodes[3].items, Some(0), "it has no such thing");
}
