//! Functions that are slow, that fail, that answer nonsense, and that are killed.

use super::*;
use crate::support::Raw;
use crate::support::raw::{UPGRADE, masked};
use crate::support::service::Service;

/// The message that a client gets instead of a reply.
async fn fault(client: &mut Client, key: &str) -> String {
    client.send(action(key)).await;
    let text = client.receive_text().await;
    let fault: Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        fault["connectionId"].is_string() && fault["requestId"].is_string(),
        "{fault}"
    );
    fault["message"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_failed_message_is_answered_and_the_session_goes_on() {
    let world = World::start("timeout = \"500ms\"").await;
    let mut client = world.enter("ann").await;
    for key in ["fail", "nonsense", "huge", "crash"] {
        assert_eq!(
            fault(&mut client, key).await,
            "Internal server error",
            "{key}"
        );
    }
    assert_eq!(
        fault(&mut client, "hang").await,
        "Endpoint request timed out"
    );
    events(&world.function, "/release").await;
    client.send("still here").await;
    assert_eq!(client.receive_text().await, "what is still here?");
    assert_eq!(world.calls("message", "failed"), 4.0);
    assert_eq!(world.calls("message", "timed_out"), 1.0);
    client.close().await;
    let record = world.gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.cause, record.close_code),
        ("close_frame", Some(1000))
    );
}

#[tokio::test]
async fn i8_a_function_with_too_many_events_sheds_sessions() {
    let bounds = "in_flight_max = 1\nqueue_timeout = \"0s\"";
    let world = World::start(bounds).await;
    let (mut ann, mut bob) = (world.enter("ann").await, world.enter("bob").await);
    ann.send(action("hang")).await;
    world.wait_for("hang").await;
    bob.send("hello").await;
    let end = bob.end().await;
    assert_eq!(end.map(|(code, _)| code), Some(1013));
    let refused = Dial::new("/chat?name=eve")
        .connect(world.gateway.address())
        .await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(503));
    events(&world.function, "/release").await;
    assert_eq!(ann.receive_text().await, "late");
    ann.send("hello").await;
    assert_eq!(ann.receive_text().await, "what is hello?");
}

#[tokio::test]
async fn a_function_that_is_gone_is_said_to_be() {
    let mut world = World::start("timeout = \"2s\"").await;
    let mut client = world.enter("ann").await;
    client.send(action("hang")).await;
    world.wait_for("hang").await;
    // It is killed in the middle of a message.
    world.function = Server::start(
        Language::Python,
        "lambda_chat",
        &["http://127.0.0.1:9", "a", "b"],
    );
    let text: Value = serde_json::from_str(&client.receive_text().await).expect("JSON");
    assert_eq!(text["message"], "Internal server error");
    let refused = Dial::new("/chat?name=eve")
        .connect(world.gateway.address())
        .await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(502));
    let requests = world.gateway.wait_for_requests(1).await;
    let detail = requests[0]["detail"].as_str().expect("a reason");
    assert!(detail.contains("refused"), "{detail}");
}

/// The end comes behind the messages, though the client did not wait.
#[tokio::test]
async fn the_end_of_a_session_is_its_last_event() {
    let world = World::start("").await;
    let mut client = world.enter("ann").await;
    client.send(action("hang")).await;
    world.wait_for("hang").await;
    drop(client);
    world.gateway.wait_for_records(1).await;
    // Another session ends meanwhile.
    world.enter("bob").await.close().await;
    world.wait_for("$disconnect").await;
    let ends = async || {
        let events = world.events().await;
        let ends = events.iter().filter(|one| one["routeKey"] == "$disconnect");
        ends.map(|one| one["connectedAt"].as_u64())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ends().await.len(),
        1,
        "the function has a message of the first"
    );
    events(&world.function, "/release").await;
    eventually("both ends", async || ends().await.len() == 2).await;
    assert!(ends().await.is_sorted_by(|one, next| one > next));
}

/// The service's own refusal is no decision about the client.
#[tokio::test]
async fn a_request_that_is_signed_wrongly_is_a_failure() {
    let world = World::start("").await;
    let path = world.gateway.config_path();
    let text = std::fs::read_to_string(&path).expect("a file");
    let wrong = text.replace("secret-of-the-function", "another-secret");
    std::fs::write(&path, wrong).expect("a file");
    assert_eq!(world.gateway.reload().status, 200);
    let refused = Dial::new("/chat?name=ann")
        .connect(world.gateway.address())
        .await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(502));
    let requests = world.gateway.wait_for_requests(1).await;
    let detail = requests[0]["detail"].as_str().expect("a reason");
    assert!(detail.contains("403"), "{detail}");
}

#[tokio::test]
async fn i8_a_message_beyond_awss_bound_ends_the_session() {
    let world = World::start("").await;
    let mut client = world.enter("ann").await;
    client.send("x".repeat(128 << 10)).await;
    assert!(client.receive_text().await.starts_with("what is xxx"));
    client.try_send("x".repeat((128 << 10) + 1)).await;
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1009));
    // In frames that are within the bound.
    let mut raw = Raw::connect(world.gateway.address()).await;
    let head = "GET /chat?name=bob HTTP/1.1";
    raw.write(UPGRADE.replacen("GET / HTTP/1.1", head, 1)).await;
    raw.read_head().await;
    let part = vec![b'x'; 60 << 10];
    let parts = [0x01, 0x00, 0x80].map(|first| masked(first, &part));
    raw.write(parts.concat()).await;
    let close = raw.read(4).await;
    assert_eq!(close[2..], 1009_u16.to_be_bytes(), "{close:?}");
}

/// A service that is no Lambda, and that has a URL for some events only.
#[tokio::test]
async fn events_without_a_url_are_not_sent() {
    let service = Service::start(None, |head| {
        let body = match head.starts_with("POST /echo") {
            true => "plain words",
            false => "unexpected",
        };
        (
            "200 OK\r\ncontent-type: text/plain".to_owned(),
            body.to_owned(),
        )
    });
    let service = service.await;
    let text = format!(
        "[functions.chat]\ndialect = \"aws\"\nroute_key = \"$request.body.a.b\"\nreply = true\n\
         routes = {{ echo = \"http://{}/echo\" }}\n\n\
         [[routes]]\nname = \"chat\"\nfunction = \"chat\"\n",
        service.address
    );
    let gateway = Gateway::start(&text).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client
        .send(json!({ "a": { "b": "echo" } }).to_string())
        .await;
    assert_eq!(client.receive_text().await, "plain words");
    client.send(action("echo")).await;
    let text: Value = serde_json::from_str(&client.receive_text().await).expect("JSON");
    assert_eq!(text["message"], "Forbidden");
    let labels = [
        "function=\"chat\"",
        "event=\"message\"",
        "outcome=\"no_route\"",
    ];
    assert_eq!(gateway.metric("sessile_function_calls_total", &labels), 1.0);
    client.close().await;
    gateway.wait_for_records(1).await;
    assert_eq!(service.asked().len(), 1);
}
