use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;

fn connection() -> Connection {
    let claims = json!({ "role": "admin", "age": 7, "teams": ["a"], "sub": "ada", "none": null });
    let claims = claims.as_object().expect("an object");
    Connection {
        id: "01SESSION".into(),
        function: "chat".into(),
        stage: "production".into(),
        domain_name: "chat.example.com".into(),
        connected_at: 1_586_064_048_999,
        source_ip: "203.0.113.7".into(),
        user_agent: Some("tests".into()),
        authorizer: Some(Connection::authorizer("ada", claims)),
    }
}

const IDS: EventIds<'_> = EventIds {
    request: "Kf2dGGnuywMFdFA=",
    message: None,
};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_586_064_058_165)
}

fn read(event: &[u8]) -> Value {
    serde_json::from_slice(event).expect("JSON")
}

/// The context of an event whose own parts are `more`.
fn context(more: &Value) -> Value {
    let mut context = json!({
        "messageDirection": "IN",
        "extendedRequestId": "Kf2dGGnuywMFdFA=",
        "requestId": "Kf2dGGnuywMFdFA=",
        "requestTime": "05/Apr/2020:05:20:58 +0000",
        "requestTimeEpoch": 1_586_064_058_165_u64,
        "connectedAt": 1_586_064_048_999_u64,
        "stage": "production",
        "domainName": "chat.example.com",
        "apiId": "chat",
        "connectionId": "01SESSION",
        "identity": { "sourceIp": "203.0.113.7", "userAgent": "tests" },
        "authorizer": { "principalId": "ada", "role": "admin", "age": 7, "sub": "ada" },
    });
    let own = more.as_object().expect("an object").clone();
    context.as_object_mut().expect("an object").extend(own);
    context
}

#[test]
fn the_event_of_a_session_that_begins_has_its_request() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("host", "chat.example.com"), ("x-a", "1"), ("x-a", "2")] {
        headers.append(name, value.parse().expect("a value"));
    }
    headers.insert("sec-websocket-protocol", "chat".parse().expect("a value"));
    let query = [("name", "me"), ("name", "you")];
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables = BTreeMap::from([("color".to_owned(), "blue".to_owned())]);
    let request = ConnectRequest {
        headers: &headers,
        query: &query,
        stage_variables: &variables,
    };
    let expected = json!({
        "headers": { "Host": "chat.example.com", "X-A": "2", "Sec-WebSocket-Protocol": "chat" },
        "multiValueHeaders": {
            "Host": ["chat.example.com"],
            "X-A": ["1", "2"],
            "Sec-WebSocket-Protocol": ["chat"],
        },
        "queryStringParameters": { "name": "you" },
        "multiValueQueryStringParameters": { "name": ["me", "you"] },
        "stageVariables": { "color": "blue" },
        "requestContext": context(&json!({ "routeKey": "$connect", "eventType": "CONNECT" })),
        "isBase64Encoded": false,
    });
    assert_eq!(read(&connect(&connection(), request, IDS, now())), expected);
}

#[test]
fn the_event_of_a_message_has_its_payload() {
    let ids = EventIds {
        message: Some("Kf2dGd9lywMCEng="),
        ..IDS
    };
    let own = |key: &str| {
        let message = "Kf2dGd9lywMCEng=";
        context(&json!({ "routeKey": key, "eventType": "MESSAGE", "messageId": message }))
    };
    let text = message(
        &connection(),
        "join",
        Ok("{\"action\":\"join\"}"),
        ids,
        now(),
    );
    let expected = json!({
        "requestContext": own("join"),
        "body": "{\"action\":\"join\"}",
        "isBase64Encoded": false,
    });
    assert_eq!(read(&text), expected);
    let bytes = message(&connection(), "$default", Err(&[0, 255]), ids, now());
    let expected = json!({
        "requestContext": own("$default"),
        "body": "AP8=",
        "isBase64Encoded": true,
    });
    assert_eq!(read(&bytes), expected);
}

#[test]
fn the_event_of_an_end_has_its_code() {
    let end = Disconnect {
        code: 1005,
        reason: "Client-side close frame status not set",
    };
    let event = read(&disconnect(&connection(), end, IDS, now()));
    let own = json!({
        "routeKey": "$disconnect",
        "eventType": "DISCONNECT",
        "disconnectStatusCode": 1005,
        "disconnectReason": "Client-side close frame status not set",
    });
    assert_eq!(event["requestContext"], context(&own));
    assert_eq!(event["headers"]["Host"], "chat.example.com");
    assert_eq!(event["headers"]["X-Forwarded-For"], "203.0.113.7");
    assert_eq!(event.get("body"), None);
}
