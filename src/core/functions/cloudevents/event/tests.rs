use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn connection() -> Connection {
    Connection {
        id: "01SESSION".into(),
        function: "chat".into(),
        stage: "production".into(),
        domain_name: "chat.example.com".into(),
        connected_at: 1,
        source_ip: "203.0.113.7".into(),
        user_agent: None,
        authorizer: None,
    }
}

fn of(connection: &Connection) -> Attributes<'_> {
    Attributes {
        hub: "chat",
        origin: "gateway.example.com",
        connection,
        user: Some("Zoë \"Z\" 100%"),
        state: Some("e30=%20"),
        subprotocol: Some("json"),
        id: "7",
        signature: Some("sha256=00"),
        time: UNIX_EPOCH + Duration::from_millis(1_586_064_058_165),
    }
}

#[test]
fn an_event_has_the_attributes_of_web_pubsub() {
    let connection = connection();
    let fields = fields(EventType::Message, of(&connection));
    let expected = [
        ("ce-awpsversion", "1.0"),
        ("ce-connectionid", "01SESSION"),
        ("ce-connectionstate", "e30=%20"),
        ("ce-eventname", "message"),
        ("ce-hub", "chat"),
        ("ce-id", "7"),
        ("ce-signature", "sha256=00"),
        ("ce-source", "/hubs/chat/client/01SESSION"),
        ("ce-specversion", "1.0"),
        ("ce-subprotocol", "json"),
        ("ce-time", "2020-04-05T05:20:58.165Z"),
        ("ce-type", "azure.webpubsub.user.message"),
        ("ce-userid", "Zo%C3%AB %22Z%22 100%25"),
        ("webhook-request-origin", "gateway.example.com"),
    ];
    let mut found: Vec<_> = fields.iter().collect();
    found.sort_by_key(|(name, _)| name.as_str());
    let found: Vec<_> = found
        .into_iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    assert_eq!(found, expected);
    let system = super::fields(EventType::Disconnected, of(&connection));
    assert_eq!(system["ce-type"], "azure.webpubsub.sys.disconnected");
}

/// The digests are those of Python's `hmac`.
#[test]
fn the_signature_is_of_each_key() {
    let keys = ["primary", "secondary"];
    let expected = [
        "sha256=4ce8a0a9b729e28fadbc8c8444d36199aeaff55ac40a9ffc4587086f62cf0802",
        "sha256=bf1ad8271a6cfe0fafb41ba1ec838e03e13dbab4a4e6f2c76b705543ab14d231",
    ];
    let signed = signature(keys.into_iter(), "01SESSION");
    assert_eq!(signed, Some(expected.join(",")));
    assert_eq!(signature([].into_iter(), "01SESSION"), None);
}

#[test]
fn the_body_of_connect_has_lists_of_texts() {
    let claims = json!({ "sub": "ada", "teams": ["a", 1], "admin": true });
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    let query = [("q", "1"), ("q", "2")];
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = connect_body(claims.as_object(), &query, &headers, &["json"]);
    let expected = json!({
        "claims": { "sub": ["ada"], "teams": ["a", "1"], "admin": ["true"] },
        "query": { "q": ["1", "2"] },
        "headers": { "x-a": ["1", "2"] },
        "subprotocols": ["json"],
        "clientCertificates": [],
    });
    assert_eq!(
        serde_json::from_slice::<Value>(&body).expect("JSON"),
        expected
    );
    let body = disconnected_body("close_frame");
    assert_eq!(body, br#"{"reason":"close_frame"}"#);
}
