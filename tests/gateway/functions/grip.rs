//! The dialect of GRIP, with an application on Django and Pushpin's own libraries.

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::pushpin::{Pushpin, SIGNING_KEY};
use crate::support::time::{DEADLINE, holds_within};

/// An application for Pushpin, and a gateway in front of it.
struct Chat {
    application: Server,
    gateway: Gateway,
}

/// The application, with where it publishes.
fn application(publish: u16) -> Server {
    application_at(publish, 0)
}

/// At this port.
fn application_at(publish: u16, port: u16) -> Server {
    let (uri, port) = (format!("http://127.0.0.1:{publish}"), port.to_string());
    let arguments = [&*uri, "app", TOKEN, SIGNING_KEY, &*port];
    Server::start(Language::Python, "grip_chat", &arguments)
}

fn configuration(publish: u16, application: &Server, more: &str) -> String {
    format!(
        "[publish]\nlisten = \"127.0.0.1:{publish}\"\n\
         tokens = [{{ name = \"app\", token = \"{TOKEN}\", targets = [\"group:*\"] }}]\n\n\
         [functions.chat]\ndialect = \"grip\"\nurl = \"http://{}\"\n\
         secrets = [\"{SIGNING_KEY}\"]\n{more}\n\
         [[routes]]\nname = \"chat\"\nfunction = \"chat\"\ntimeouts = {{ close = \"500ms\" }}\n",
        application.address
    )
}

impl Chat {
    async fn start(more: &str, handover: bool) -> Self {
        let publish = free_port();
        let application = application(publish);
        let text = configuration(publish, &application, more);
        let gateway = match handover {
            true => Gateway::start_with_handover(&text).await,
            false => Gateway::start(&text).await,
        };
        Self {
            application,
            gateway,
        }
    }

    /// A client in the room, which was welcomed.
    async fn enter(&self, name: &str) -> Client {
        enter(self.gateway.address(), name).await
    }

    async fn log(&self) -> Vec<Value> {
        events(&self.application, "/log").await
    }

    /// Waits for a request whose first event is this one.
    async fn wait_for(&self, event: &str) -> Value {
        let first = async || {
            let mut log = self.log().await.into_iter();
            log.find(|one| one["events"][0] == event)
        };
        eventually("the application has the event", async || {
            first().await.is_some()
        })
        .await;
        first().await.expect("it has come")
    }
}

async fn enter(address: std::net::SocketAddr, name: &str) -> Client {
    let mut client = Client::connect(address, &format!("/room/lobby?name={name}")).await;
    assert_eq!(client.receive_text().await, format!("welcome {name}"));
    client
}

/// What two clients of a chat see, whatever is in front of it.
async fn conversation(address: std::net::SocketAddr, application: &Server) -> Vec<String> {
    let refused = Dial::new("/room/lobby?name=intruder")
        .connect(address)
        .await;
    let mut seen = vec![format!("{:?}", refused.err().map(|refused| refused.status))];
    let (mut ann, mut bob) = (enter(address, "ann").await, enter(address, "bob").await);
    for text in ["whoami", "count", "count", "forget", "count", "", "Grüße"] {
        ann.send(text).await;
        if text != "forget" {
            seen.push(ann.receive_text().await);
        }
    }
    ann.send(Message::binary(vec![1, 2, 0xFF])).await;
    seen.push(format!("{:?}", ann.receive().await));
    ann.send("say hello").await;
    seen.push(ann.receive_text().await);
    seen.push(bob.receive_text().await);
    ann.send("join").await;
    seen.push(ann.receive_text().await);
    ann.send("leave").await;
    seen.push(ann.receive_text().await);
    bob.send("say anyone").await;
    seen.push(bob.receive_text().await);
    ann.send("whoami").await;
    seen.push(ann.receive_text().await);
    ann.send("later").await;
    seen.push(ann.receive_text().await);
    ann.send("bye").await;
    seen.push(ann.receive_text().await);
    seen.push(format!("{:?}", ann.end().await));
    bob.send("detach").await;
    seen.push(bob.receive_text().await);
    // Pushpin tells the application only as long as the client is there.
    sessions(application, 2).await;
    drop(bob);
    let cat = enter(address, "cat").await;
    seen.push(format!("{:?}", cat.close_with(4002, "").await));
    seen
}

/// The same application answers alike behind Pushpin.
#[tokio::test]
async fn an_application_for_pushpin_runs_unchanged() {
    let chat = Chat::start("", false).await;
    let publish = free_port();
    let other = application(publish);
    let pushpin = Pushpin::start(other.address, publish, "/room/warm-up?name=x").await;
    let here = conversation(chat.gateway.address(), &chat.application).await;
    let there = conversation(pushpin.clients, &other).await;
    assert_eq!(here, there);
    assert_eq!(here[0], "Some(403)");
    assert!(
        here.contains(&"ann: hello".to_owned()) && here.contains(&"later".to_owned()),
        "{here:?}"
    );
    // The application sees the same events of each session too.
    let here = sessions(&chat.application, 3).await;
    let there = sessions(&other, 3).await;
    assert_eq!(here, there);
}

/// The events of each session of the application, once so many were closed.
async fn sessions(application: &Server, closed: usize) -> Vec<Vec<(Value, Value)>> {
    let mut sessions: Vec<Vec<(Value, Value)>> = Vec::new();
    eventually("sessions are closed", async || {
        let log = events(application, "/log").await;
        let log = log.iter().filter(|one| one["query"] != "x");
        let ids = log.clone().map(|one| one["id"].as_str().expect("text"));
        let ids: std::collections::BTreeSet<_> = ids.collect();
        let list = |one: &Value, key: &str| one[key].as_array().cloned().unwrap_or_default();
        let of = |id: &&str| {
            let own = log.clone().filter(|one| one["id"] == **id);
            own.flat_map(|one| list(one, "events").into_iter().zip(list(one, "contents")))
                .collect()
        };
        sessions = ids.iter().map(of).collect();
        let ends = sessions.iter().flatten();
        ends.filter(|(event, _)| event == "CLOSE").count() == closed
    })
    .await;
    sessions.sort_by_key(|events| format!("{events:?}"));
    sessions
}

#[tokio::test]
async fn requests_are_those_of_the_session() {
    let chat = Chat::start("", false).await;
    let dial = Dial::new("/room/lobby?name=ann")
        .header("cookie", "a=b")
        .header("Grip-Sig", "forged")
        .header("Meta-Name", "root")
        .header("Meta_Name", "root")
        .header("Connection-Id", "root");
    let mut client = dial
        .connect(chat.gateway.address())
        .await
        .expect("a session");
    assert_eq!(client.receive_text().await, "welcome ann");
    client.send("whoami").await;
    assert_eq!(client.receive_text().await, "ann");
    let id = client.header("sessile-session").expect("an id").to_owned();
    let log = chat.log().await;
    for request in &log {
        assert_eq!(request["signed"], true);
        assert_eq!(
            (&request["id"], &request["cookie"]),
            (&json!(id), &json!("a=b"))
        );
        assert_eq!(request["path"], "/room/lobby?name=ann");
    }
    assert_eq!(
        (&log[0]["meta"], &log[1]["meta"]),
        (&json!({}), &json!({ "name": "ann" }))
    );
    drop(client);
    let last = chat.wait_for("DISCONNECT").await;
    assert_eq!(last["meta"], json!({ "name": "ann" }));
    let group = chat.gateway.get("/v1/groups/lobby");
    assert_eq!(group["count"], 0);
}

/// A function that accepts a part of a message gets the rest, and one that wants to be asked is.
#[tokio::test]
async fn a_function_accepts_what_it_can_and_is_asked_when_nothing_comes() {
    let chat = Chat::start("", false).await;
    let mut client = Client::connect(chat.gateway.address(), "/interval").await;
    assert_eq!(client.header("set-cookie"), Some("seen=yes"));
    client.send("hello, world").await;
    // Twenty seconds is the least that a function may ask for.
    let asked = async || chat.log().await.len() == 5;
    assert!(
        holds_within(2 * DEADLINE, asked).await,
        "{:?}",
        chat.log().await
    );
    assert_eq!(client.receive_text().await, "tick");
    let log = chat.log().await;
    let text = |text: &str| {
        json!(
            text.bytes()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        )
    };
    let contents: Vec<_> = log.iter().map(|one| &one["contents"][0]).collect();
    let expected = [
        text(""),
        text("hello, world"),
        text(", world"),
        text("ld"),
        Value::Null,
    ];
    assert_eq!(contents, expected.iter().collect::<Vec<_>>());
    let replayed: Vec<_> = log.iter().map(|one| &one["replayed"]).collect();
    assert_eq!(replayed[1..4], [&Value::Null, &json!("7"), &json!("2")]);
    assert_eq!(log[4]["events"], json!([]));
}

#[tokio::test]
async fn a_function_keeps_clients_alive_without_being_asked() {
    let chat = Chat::start("", false).await;
    let mut client = chat.enter("ann").await;
    client.send("keep").await;
    for _ in 0..2 {
        assert_eq!(client.receive_text().await, "still here");
    }
    assert_eq!(chat.log().await.len(), 2);
}

/// What clients see of functions that fail, and what the record has.
#[tokio::test]
async fn a_function_that_fails_ends_the_session() {
    let chat = Chat::start("timeout = \"1s\"", false).await;
    for text in ["fail", "nonsense", "plain", "hang"] {
        let mut client = chat.enter("ann").await;
        client.send(text).await;
        let end = client.end().await.map(|(code, _)| code);
        assert_eq!(end, Some(1011), "{text}");
    }
    let records = chat.gateway.wait_for_records(4).await;
    assert!(records.iter().all(|one| one.close_code == Some(1011)));
    let labels = ["function=\"chat\"", "event=\"message\""];
    let calls = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = [labels[0], labels[1], &*outcome];
        chat.gateway.metric("sessile_function_calls_total", &labels)
    };
    assert_eq!((calls("failed"), calls("timed_out")), (3.0, 1.0));
}

/// An event that no function has had is sent again; a handshake is not.
#[tokio::test]
async fn i1_a_function_that_restarts_loses_no_session() {
    let publish = free_port();
    let first = application(publish);
    let gateway = Gateway::start(&configuration(publish, &first, "")).await;
    let mut client = enter(gateway.address(), "ann").await;
    let old = first.address;
    drop(first);
    let refused = Dial::new("/room/lobby?name=bob")
        .connect(gateway.address())
        .await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(502));
    client.send("whoami").await;
    let labels = [
        "function=\"chat\"",
        "event=\"message\"",
        "outcome=\"failed\"",
    ];
    let failed = async || gateway.metric("sessile_function_calls_total", &labels) >= 1.0;
    eventually("the function was not reached", failed).await;
    let second = application_at(publish, old.port());
    assert_eq!(client.receive_text().await, "ann");
    drop(second);
}

#[tokio::test]
async fn i1_a_session_goes_to_the_next_process_with_what_the_function_set() {
    let mut chat = Chat::start("", true).await;
    let mut client = chat.enter("ann").await;
    client.send("count").await;
    assert_eq!(client.receive_text().await, "1");
    client.send("keep").await;
    assert_eq!(client.receive_text().await, "still here");
    let new = chat.gateway.succeed().await;
    chat.gateway.wait_for_exit().await;
    chat.gateway = new;
    assert_eq!(client.receive_text().await, "still here");
    client.send("count").await;
    let mut texts = vec![client.receive_text().await];
    while texts.last().is_some_and(|text| text == "still here") {
        texts.push(client.receive_text().await);
    }
    assert_eq!(texts.last().map(String::as_str), Some("2"));
    client.send("say hello").await;
    let mut said = client.receive_text().await;
    while said == "still here" {
        said = client.receive_text().await;
    }
    assert_eq!(said, "ann: hello", "it is in the room as before");
}

/// Messages need a token that opens the channel, closing one that opens its sessions too.
#[tokio::test]
async fn i13_channels_open_to_those_with_a_token() {
    const OPERATOR: &str = "token-of-the-operator";
    let publish = free_port();
    let application = application(publish);
    let text = configuration(publish, &application, "").replace("group:*", "group:lobby");
    let more = format!(
        "}}, {{ name = \"operator\", token = \"{OPERATOR}\", targets = [\"group:*\", \"session:*\"] }}]"
    );
    let gateway = Gateway::start(&text.replacen("}]", &more, 1)).await;
    let mut client = enter(gateway.address(), "ann").await;
    let address = ([127, 0, 0, 1], publish).into();
    let send = async |token: &str, body: &str| {
        let request = hyper::Request::post("/publish/")
            .header("host", "gateway")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::new(bytes::Bytes::from(
                body.to_owned(),
            )));
        http::send(address, request.expect("a request")).await
    };
    let item = |channel: &str, message: Value| {
        json!({ "items": [{ "channel": channel, "formats": { "ws-message": message } }] })
            .to_string()
    };
    let text = |channel: &str| item(channel, json!({ "content": "hello" }));
    let close = item(
        "lobby",
        json!({ "action": "close", "code": 4005, "reason": "over" }),
    );
    assert_eq!(send("wrong", &text("lobby")).await.status, 401);
    assert_eq!(send(TOKEN, &text("other")).await.status, 403);
    assert_eq!(send(TOKEN, "{").await.text(), "Body is not valid JSON.\n");
    let answer = send(TOKEN, &text("lobby")).await;
    assert_eq!((answer.status, answer.text()), (200, "Published\n"));
    assert_eq!(client.receive_text().await, "hello");
    assert_eq!(send(TOKEN, &close).await.status, 403);
    client.send("whoami").await;
    assert_eq!(client.receive_text().await, "ann");
    assert_eq!(send(OPERATOR, &close).await.status, 200);
    assert_eq!(client.end().await, Some((4005, "over".to_owned())));
}

/// A client could push out fields that have its rights, if some were left out.
#[tokio::test]
async fn i7_the_function_gets_a_large_handshake_whole() {
    let chat = Chat::start("", false).await;
    let dial = Dial::new("/room/lobby?name=ann").header("cookie", &"a".repeat(20_000));
    let client = dial.connect(chat.gateway.address()).await;
    let mut client = client.expect("a session");
    assert_eq!(client.receive_text().await, "welcome ann");
    let cookie = chat.log().await[0]["cookie"].clone();
    assert_eq!(cookie.as_str().map(str::len), Some(20_000));
}
