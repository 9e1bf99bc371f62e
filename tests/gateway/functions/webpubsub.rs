//! The dialect of Azure Web PubSub, with Azure's own library for event handlers.

use tokio_tungstenite::tungstenite::Message;

use super::*;

const KEY: &str = "access-key-of-the-hub";

/// The application, and a gateway in front of it.
struct Hub {
    application: Server,
    gateway: Gateway,
}

impl Hub {
    async fn start(origin: &str, handover: bool) -> Self {
        let application = Server::start(Language::Node, "webpubsub_server", &[KEY]);
        let text = format!(
            "[publish]\nlisten = \"unix:publish.sock\"\n\
             tokens = [{{ name = \"app\", token = \"{TOKEN}\", targets = [\"*\"] }}]\n\n\
             [authenticators.users]\ntype = \"jwt\"\nsecret = \"{}\"\n\
             [authenticators.guests]\ntype = \"anonymous\"\n\n\
             [functions.chat]\ndialect = \"cloudevents\"\nurl = \"http://{}/events\"\n\
             origin = \"{origin}\"\nsecrets = [\"another-key\", \"{KEY}\"]\n\n\
             [[routes]]\nname = \"chat\"\nfunction = \"chat\"\n\
             authenticate = [\"users\", \"guests\"]\ntimeouts = {{ close = \"500ms\" }}\n",
            tokens::SECRET,
            application.address
        );
        let gateway = match handover {
            true => Gateway::start_with_handover(&text).await,
            false => Gateway::start(&text).await,
        };
        Self {
            application,
            gateway,
        }
    }

    async fn enter(&self, name: &str) -> Client {
        Client::connect(self.gateway.address(), &format!("/?name={name}")).await
    }

    async fn log(&self) -> Vec<Value> {
        events(&self.application, "/log").await
    }

    async fn wait_for(&self, kind: &str) {
        let has = async || self.log().await.iter().any(|one| one["kind"] == kind);
        eventually("the application has the event", has).await;
    }
}

#[tokio::test]
async fn an_application_for_web_pubsub_runs_unchanged() {
    let hub = Hub::start("gateway.example.com", false).await;
    let mut ann = hub.enter("ann").await;
    ann.send("hello").await;
    assert_eq!(ann.receive_text().await, "ann: hello");
    ann.send(Message::binary(vec![1, 2, 0xFF])).await;
    assert_eq!(ann.receive().await, Message::binary(vec![0xFF, 2, 1]));
    ann.send("quiet").await;
    ann.send("count").await;
    assert_eq!(ann.receive_text().await, "ann: count");
    ann.send("again").await;
    assert_eq!(ann.receive_text().await, "ann: again");
    assert_eq!(hub.gateway.get("/v1/groups/room-a")["count"], 1);
    ann.close().await;
    hub.wait_for("disconnected").await;
    let log = hub.log().await;
    let kinds: Vec<_> = log
        .iter()
        .map(|one| one["kind"].as_str().expect("text"))
        .collect();
    let five = ["message"; 5];
    assert_eq!(
        kinds,
        [&["connect", "connected"][..], &five, &["disconnected"]].concat()
    );
    assert!(
        log.iter()
            .all(|one| one["hub"] == "chat" && one["origin"] == "gateway.example.com")
    );
    assert_eq!(log[6]["states"], json!({ "name": "ann", "count": 1 }));
    assert_eq!(log[2]["userId"], "ann");
    assert_eq!(log[7]["reason"], "close_frame");
    assert_eq!(events(&hub.application, "/preflights").await, [json!(1)]);
}

#[tokio::test]
async fn i7_the_event_handler_decides_whether_a_session_begins() {
    let hub = Hub::start("gateway.example.com", false).await;
    let refused = Dial::new("/?name=intruder")
        .connect(hub.gateway.address())
        .await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(401));
    // The principal is the user, and its claims are those of the event.
    let claims = tokens::claims("u-7");
    let bearer = format!("Bearer {}", tokens::token(&claims));
    let dial = Dial::new("/?name=ann")
        .header("authorization", &bearer)
        .header("sec-websocket-protocol", "chat.v1, chat.v2");
    let client = dial
        .connect(hub.gateway.address())
        .await
        .expect("a session");
    assert_eq!(client.header("sec-websocket-protocol"), Some("chat.v2"));
    client.close().await;
    hub.wait_for("disconnected").await;
    let log = hub.log().await;
    assert_eq!(log[1]["userId"], "u-7");
    assert_eq!(
        log.iter()
            .filter(|one| one["kind"] == "disconnected")
            .count(),
        1
    );
}

/// An event handler that allows other origins only gets no event.
#[tokio::test]
async fn i7_a_handler_that_does_not_allow_the_gateway_gets_no_events() {
    let hub = Hub::start("other.example.com", false).await;
    for _ in 0..2 {
        let refused = Dial::new("/?name=ann").connect(hub.gateway.address()).await;
        assert_eq!(refused.err().map(|refused| refused.status), Some(502));
    }
    let requests = hub.gateway.wait_for_requests(2).await;
    let detail = requests[0]["detail"].as_str().expect("a reason");
    assert!(
        detail.contains("does not allow events of `other.example.com`"),
        "{detail}"
    );
    assert!(hub.log().await.is_empty());
}

/// One that never says whether it takes events holds up each handshake once.
#[tokio::test]
async fn i8_a_handler_that_does_not_answer_holds_up_no_queue() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let text = format!(
        "[functions.chat]\ndialect = \"cloudevents\"\nurl = \"http://{}/\"\n\
         timeout = \"1s\"\n\n[[routes]]\nname = \"chat\"\nfunction = \"chat\"\n\
         timeouts = {{ handshake = \"1m\" }}\n",
        silent.local_addr().expect("a bound socket")
    );
    let gateway = Gateway::start(&text).await;
    let dials = (0..20).map(|_| Dial::new("/").connect(gateway.address()));
    for refused in futures_util::future::join_all(dials).await {
        assert_eq!(refused.err().map(|refused| refused.status), Some(504));
    }
    let labels = [
        "function=\"chat\"",
        "event=\"connect\"",
        "outcome=\"timed_out\"",
    ];
    assert_eq!(
        gateway.metric("sessile_function_calls_total", &labels),
        20.0
    );
}

/// Azure drops clients whose message is not taken.
#[tokio::test]
async fn a_failed_message_ends_the_session() {
    let hub = Hub::start("gateway.example.com", false).await;
    let mut client = hub.enter("ann").await;
    client.send("fail").await;
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1011));
    drop(client);
    let record = hub.gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.close_code, Some(1011));
    hub.wait_for("disconnected").await;
}

#[tokio::test]
async fn i1_the_state_of_a_connection_goes_to_the_next_process() {
    let mut hub = Hub::start("gateway.example.com", true).await;
    let mut client = hub.enter("ann").await;
    client.send("count").await;
    assert_eq!(client.receive_text().await, "ann: count");
    let new = hub.gateway.succeed().await;
    hub.gateway.wait_for_exit().await;
    hub.gateway = new;
    client.send("after").await;
    assert_eq!(client.receive_text().await, "ann: after");
    let log = hub.log().await;
    let last = log.last().expect("an event");
    assert_eq!(last["states"], json!({ "name": "ann", "count": 1 }));
    assert_eq!(
        log.iter().filter(|one| one["kind"] == "connected").count(),
        1
    );
    drop(client);
}
