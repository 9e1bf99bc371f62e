//! Joins and leaves of groups, published at the broker.

use super::*;
use crate::support::brokers::{BrokerServer, Publisher};
use crate::support::eventually;

/// Rooms without a backend; joins and leaves of those that begin with `a` are published.
fn config(broker: &str, kind: &str) -> String {
    format!(
        "{broker}\
         [[broker.presence]]\ngroups = [\"a*\"]\nto = \"{kind}:presence.{{group}}\"\n\
         [[routes]]\nname = \"rooms\"\npath = \"/rooms/{{room}}\"\nupstream = \"broker\"\n\
         groups = [\"path:room\"]\npresence = {{ metadata = {{ device = \"query:device\" }} }}\n\
         [[routes]]\nname = \"watch\"\npath = \"/watch/{{room}}\"\nupstream = \"broker\"\n\
         [[routes.subscribe]]\nfrom = \"{kind}:presence.{{room}}\"\n"
    )
}

fn next(service: &mut Publisher) -> Value {
    let (_, payload) = service.next().expect("an event");
    serde_json::from_slice(&payload).expect("JSON")
}

fn count(gateway: &Gateway, outcome: &str) -> f64 {
    let outcome = format!("outcome=\"{outcome}\"");
    let labels = ["direction=\"presence\"", &outcome];
    gateway.metric("sessile_broker_messages_total", &labels)
}

#[tokio::test]
async fn joins_and_leaves_are_published_once_by_the_gateway_that_has_the_session() {
    let mut broker = BrokerServer::start("nats").await;
    let text = config(&broker.config(), "nats");
    let (one, other) = (
        Gateway::start_named("one", &text).await,
        Gateway::start_named("other", &text).await,
    );
    for gateway in [&one, &other] {
        eventually("the broker is there", async || {
            gateway.metric("sessile_broker_connected", &[]) == 1.0
        })
        .await;
    }
    let mut service = broker.publisher();
    service
        .subscribe("presence.>")
        .expect("the broker is there");
    let first = Client::connect(one.address(), "/rooms/a?device=phone").await;
    let id = first.header("sessile-session").expect("an id").to_owned();
    let join = next(&mut service);
    assert_eq!(join["event"], "join");
    assert_eq!(join["session"], id.as_str());
    assert_eq!(
        (&join["group"], &join["node"]),
        (&json!("a"), &json!("one"))
    );
    assert_eq!(join["metadata"], json!({ "device": "phone" }));
    let second = Client::connect(other.address(), "/rooms/ab").await;
    let join = next(&mut service);
    assert_eq!(
        (&join["group"], &join["node"]),
        (&json!("ab"), &json!("other"))
    );
    // Not published: another group, and names that would reach other subjects.
    for room in ["b", "a.b", "a%3E", "a%20b"] {
        Client::connect(one.address(), &format!("/rooms/{room}"))
            .await
            .close()
            .await;
    }
    eventually("three rooms are refused, at join and leave", async || {
        count(&one, "refused") == 6.0
    })
    .await;
    first.close().await;
    let leave = next(&mut service);
    let left = (&leave["event"], &leave["session"], &leave["group"]);
    assert_eq!(left, (&json!("leave"), &json!(id), &json!("a")));
    second.close().await;
    assert_eq!(next(&mut service)["event"], "leave");
    assert_eq!(
        (count(&one, "carried"), count(&other, "carried")),
        (2.0, 2.0)
    );
    // Nothing is stored for a broker that is gone.
    broker.kill();
    eventually("the broker is gone", async || {
        one.metric("sessile_broker_connected", &[]) == 0.0
    })
    .await;
    let third = Client::connect(one.address(), "/rooms/a").await;
    eventually("it is counted", async || count(&one, "not_carried") == 1.0).await;
    third.close().await;
}

#[tokio::test]
async fn sessions_hear_joins_and_leaves_through_the_memory_broker() {
    let text = config("[broker]\ntype = \"memory\"\n", "memory");
    let gateway = Gateway::start(&text).await;
    let mut watcher = Client::connect(gateway.address(), "/watch/a").await;
    let mut heard = None;
    // Until the watcher is subscribed, joins are not for it.
    while heard.is_none() {
        let member = Client::connect(gateway.address(), "/rooms/a").await;
        let wait = std::time::Duration::from_millis(300);
        let came = tokio::time::timeout(wait, watcher.receive_text()).await;
        heard = came.ok();
        member.close().await;
    }
    let event: Value = serde_json::from_str(&heard.expect("an event")).expect("JSON");
    assert_eq!(event["group"], "a");
}
