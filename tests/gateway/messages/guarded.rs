//! Who may publish what, and how mistakes are answered.

use super::*;

#[tokio::test]
async fn a_token_opens_its_targets_only() {
    let (gateway, _backend) = gateway("").await;
    let (mut client, id) = enter(&gateway, "lobby-1").await;
    let socket = gateway.directory().join("publish.sock");
    let ask = |token: Option<&str>, method: &str, target: &str, body: &Value| {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        admin::request(&socket, token, method, target, &body).expect("an answer")
    };
    let to = |target: &str| json!({ "to": [target], "text": "x" });
    let lobbies = Some("token-of-the-lobbies");
    for (token, message, status) in [
        (None, to("all"), 401),
        (Some("wrong"), to("all"), 401),
        (lobbies, to("all"), 403),
        (lobbies, to("group:other"), 403),
        (
            lobbies,
            json!({ "to": ["group:lobby-1", "principal:7"], "text": "x" }),
            403,
        ),
        (lobbies, to(&format!("session:{id}")), 403),
        (lobbies, to("group:lobby-1"), 200),
    ] {
        let answer = ask(token, "POST", "/v1/messages", &message);
        assert_eq!(
            answer.status, status,
            "{token:?} {message}: {}",
            answer.body
        );
    }
    assert_eq!(client.receive_text().await, "x");
    for (group, status) in [("lobby-1", 200), ("other", 403)] {
        let answer = ask(lobbies, "GET", &format!("/v1/groups/{group}"), &Value::Null);
        assert_eq!(answer.status, status, "{group}");
        let target = format!("/v1/groups/{group}/sessions/{id}");
        assert_eq!(
            ask(lobbies, "PUT", &target, &Value::Null).status,
            status,
            "{group}"
        );
    }
    client.echo("nothing else came").await;
    client.close().await;
}

#[tokio::test]
async fn mistakes_are_named_and_nothing_is_delivered() {
    let (gateway, _backend) = gateway("").await;
    let (mut client, _) = enter(&gateway, "a").await;
    for (body, part) in [
        (json!({ "to": [], "text": "x" }), "to:"),
        (json!({ "to": ["a"], "text": "x" }), "`a`"),
        (json!({ "to": ["group:a"] }), "`text` or `base64`"),
        (
            json!({ "to": ["group:a"], "text": "x", "ttl": "never" }),
            "ttl:",
        ),
        (
            json!({ "to": ["group:a"], "text": "x", "loud": true }),
            "body:",
        ),
        (json!("x"), "body:"),
    ] {
        let answer = call(&gateway, "POST", "/v1/messages", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(part), "{body}: {}", answer.body);
        assert!(answer.head.contains("application/problem+json"));
    }
    let large = json!({ "to": ["group:a"], "text": "x".repeat(70_000) });
    assert_eq!(call(&gateway, "POST", "/v1/messages", &large).status, 413);
    assert_eq!(
        call(&gateway, "GET", "/v1/nothing", &Value::Null).status,
        404
    );
    assert_eq!(
        call(&gateway, "GET", "/v1/messages", &Value::Null).status,
        405
    );
    client.echo("nothing came").await;
    client.close().await;
}
