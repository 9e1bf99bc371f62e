//! An application that is written for AWS API Gateway runs as it is.

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::Raw;
use crate::support::raw::UPGRADE;

#[tokio::test]
async fn a_chat_for_api_gateway_runs_unchanged() {
    let world = World::start("").await;
    let (mut ann, mut bob) = (world.enter("ann").await, world.enter("bob").await);
    ann.send(json!({ "action": "send", "text": "hello" }).to_string())
        .await;
    for client in [&mut ann, &mut bob] {
        let text: Value = serde_json::from_str(&client.receive_text().await).expect("JSON");
        assert_eq!(text, json!({ "from": "ann", "text": "hello" }));
    }
    ann.send("hello").await;
    assert_eq!(ann.receive_text().await, "what is hello?");
    ann.send(Message::binary(vec![1, 2, 0xFF])).await;
    assert_eq!(ann.receive().await, Message::binary(vec![0xFF, 2, 1]));
    ann.close_with(4001, "bye").await;
    let left: Value = serde_json::from_str(&bob.receive_text().await).expect("JSON");
    assert_eq!(left, json!({ "left": "ann", "code": 4001 }));

    let events = world.events().await;
    let kinds: Vec<_> = events
        .iter()
        .map(|one| one["eventType"].as_str().expect("text"))
        .collect();
    assert_eq!(
        kinds,
        [
            "CONNECT",
            "CONNECT",
            "MESSAGE",
            "MESSAGE",
            "MESSAGE",
            "DISCONNECT"
        ]
    );
    let keys: Vec<_> = events
        .iter()
        .map(|one| one["routeKey"].as_str().expect("text"))
        .collect();
    let expected = [
        "$connect",
        "$connect",
        "send",
        "$default",
        "$default",
        "$disconnect",
    ];
    assert_eq!(keys, expected);
    assert_eq!(events[0]["stage"], "production");
    assert_eq!(events[0]["identity"]["sourceIp"], "127.0.0.1");
    let record = world.gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.id, events[0]["connectionId"]);
    assert_eq!(
        (&*record.upstream, &*record.backend),
        ("function:chat", "gateway")
    );
    assert_eq!(world.calls("message", "answered"), 3.0);
    let told = async || world.calls("disconnect", "answered") == 1.0;
    eventually("the function has answered", told).await;
}

#[tokio::test]
async fn i7_the_function_decides_whether_a_session_begins() {
    let world = World::start("").await;
    let dial = |target: &str| Dial::new(target).connect(world.gateway.address());
    let refused = dial("/chat?name=intruder").await.err().expect("a refusal");
    assert_eq!(refused.status, 403);
    assert_eq!(
        dial("/chat").await.err().map(|refused| refused.status),
        Some(400)
    );
    let requests = world.gateway.wait_for_requests(2).await;
    assert_eq!(requests[0]["refusal"], "function_refused");
    // Neither has begun, so neither ends.
    world.enter("ann").await.close().await;
    world.wait_for("$disconnect").await;
    assert_eq!(world.events().await.len(), 4);
}

#[tokio::test]
async fn the_function_chooses_the_subprotocol_and_groups() {
    let world = World::start("").await;
    let offer = |list: &str| {
        let dial = Dial::new("/chat?name=ann").header("sec-websocket-protocol", list);
        dial.connect(world.gateway.address())
    };
    let client = offer("chat.v1, chat.v2").await.expect("a session");
    assert_eq!(client.header("sec-websocket-protocol"), Some("chat.v2"));
    // One that was not offered would fail the client.
    let mut other = Raw::connect(world.gateway.address()).await;
    let asked = "GET /chat?name=stubborn HTTP/1.1\r\nSec-WebSocket-Protocol: chat.v1";
    other
        .write(UPGRADE.replacen("GET / HTTP/1.1", asked, 1))
        .await;
    let head = other.read_head().await.to_lowercase();
    assert!(
        head.contains(" 101 ") && !head.contains("sec-websocket-protocol"),
        "{head}"
    );
    let group = world.gateway.get("/v1/groups/room-a");
    assert_eq!(group["count"], 2, "{group}");
}

/// What the gateway has verified is the authorizer's context, in every event.
#[tokio::test]
async fn the_principal_is_the_context_of_the_authorizer() {
    let world = World::start("").await;
    let claims =
        json!({ "sub": "u-7", "exp": tokens::in_seconds(600), "role": "admin", "teams": ["a"] });
    let token = tokens::token(&claims);
    let dial = Dial::new("/chat?name=ann").header("authorization", &format!("Bearer {token}"));
    let mut client = dial
        .connect(world.gateway.address())
        .await
        .expect("a session");
    client.send(action("whoami")).await;
    let who: Value = serde_json::from_str(&client.receive_text().await).expect("JSON");
    let authorizer = &who["authorizer"];
    assert_eq!(authorizer["principalId"], "u-7", "{who}");
    assert_eq!(authorizer["role"], "admin");
    assert_eq!(authorizer.get("teams"), None);
    let guest = world.enter("guest").await;
    let id = guest.header("sessile-session").expect("an id").to_owned();
    let events = world.events().await;
    let begun = events.iter().find(|one| one["connectionId"] == *id);
    let authorizer = begun.expect("an event").get("authorizer");
    assert!(
        authorizer.is_none_or(|one| one["role"].is_null()),
        "{events:?}"
    );
}

/// Events of the gateway itself cannot be sent by a client.
#[tokio::test]
async fn i13_a_client_cannot_send_the_gateways_own_events() {
    let world = World::start("").await;
    let mut client = world.enter("ann").await;
    for key in ["$connect", "$disconnect", "$default", "unknown"] {
        let text = action(key);
        client.send(text.clone()).await;
        assert_eq!(client.receive_text().await, format!("what is {text}?"));
    }
    let events = world.events().await;
    let keys: Vec<_> = events.iter().skip(1).map(|one| &one["routeKey"]).collect();
    assert!(
        keys.iter().all(|key| **key == "$default") && keys.len() == 4,
        "{keys:?}"
    );
}

/// One message of a session at a time, in their order; sessions do not wait for one another.
#[tokio::test]
async fn messages_of_a_session_are_serial_and_sessions_parallel() {
    let world = World::start("").await;
    let (mut ann, mut bob) = (world.enter("ann").await, world.enter("bob").await);
    ann.send(action("hang")).await;
    ann.send("after").await;
    world.wait_for("hang").await;
    for number in 0..20 {
        bob.send(number.to_string()).await;
        assert_eq!(bob.receive_text().await, format!("what is {number}?"));
    }
    assert_eq!(
        world
            .gateway
            .metric("sessile_function_in_flight", &["function=\"chat\""]),
        1.0
    );
    events(&world.function, "/release").await;
    assert_eq!(ann.receive_text().await, "late");
    assert_eq!(ann.receive_text().await, "what is after?");
}
