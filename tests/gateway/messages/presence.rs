//! Who is in a group, as a stream of events: on one gateway, over two, and through whatever happens
//! to nodes, backends and the broker.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::counted::{Pair, wait_for_others};
use super::*;
use crate::support::brokers::BrokerServer;
use crate::support::events::{EventStream, Sent};
use crate::support::eventually;

const DESCRIBED: &str =
    "presence = { metadata = { device = \"query:device\", room = \"path:room\" } }";

/// Groups that are watched at once: more than a worker's queue takes.
const GROUPS: usize = 150;

async fn follow(gateway: &Gateway, group: &str, last: Option<&str>) -> EventStream {
    let socket = gateway.directory().join("publish.sock");
    let target = format!("/v1/groups/{group}/events");
    EventStream::open_as(&socket, Some(TOKEN), &target, last).await
}

/// A stream, and the sessions that are members at its begin.
pub(super) async fn watch(
    gateway: &Gateway,
    group: &str,
    nodes: u64,
) -> (EventStream, BTreeSet<String>) {
    let mut stream = follow(gateway, group, None).await;
    let sent = stream.next().await.expect("members");
    assert_eq!(sent.name.as_deref(), Some("members"), "{sent:?}");
    let known = (
        sent.data["nodes"].as_u64(),
        sent.data["nodes_missing"].as_u64(),
    );
    assert_eq!(known, (Some(nodes), Some(0)), "{sent:?}");
    let members = sent.data["members"].as_array().expect("members");
    let ids = members.iter().map(session).collect();
    (stream, ids)
}

fn session(member: &Value) -> String {
    member["session"].as_str().expect("an id").to_owned()
}

/// The next event: `join` or `leave`, and the session.
pub(super) async fn next(stream: &mut EventStream) -> (String, String) {
    let Sent { name, data, .. } = stream.next().await.expect("an event");
    (name.expect("a name"), session(&data))
}

pub(super) fn joins(id: &str) -> (String, String) {
    ("join".to_owned(), id.to_owned())
}

pub(super) fn leaves(id: &str) -> (String, String) {
    ("leave".to_owned(), id.to_owned())
}

#[tokio::test]
async fn joins_and_leaves_are_events_with_metadata() {
    let (mut gateway, _backend) = gateway(DESCRIBED).await;
    let (first, first_id) = enter(&gateway, "a").await;
    let (mut stream, members) = watch(&gateway, "a", 1).await;
    assert_eq!(members, BTreeSet::from([first_id.clone()]));
    let begin = stream.last_id.clone().expect("an id");
    let second = Client::connect(gateway.address(), "/rooms/a?device=phone").await;
    let second_id = second.header("sessile-session").expect("an id").to_owned();
    let sent = stream.next().await.expect("a join");
    assert_eq!(sent.name.as_deref(), Some("join"));
    let expected = json!({ "device": "phone", "room": "a" });
    assert_eq!(
        (session(&sent.data), &sent.data["metadata"]),
        (second_id.clone(), &expected)
    );
    first.close().await;
    assert_eq!(next(&mut stream).await, leaves(&first_id));

    // By the API, for a time, with metadata of this group.
    let place = format!("/v1/groups/a/sessions/{second_id}");
    let typing = json!({ "metadata": { "typing": true } });
    assert_eq!(call(&gateway, "PUT", &place, &typing).status, 200);
    let sent = stream.next().await.expect("new metadata");
    assert_eq!(
        (sent.name.as_deref(), &sent.data["metadata"]),
        (Some("join"), &typing["metadata"])
    );
    let list = call(&gateway, "GET", "/v1/groups/a", &Value::Null).json();
    assert_eq!(list["items"][0]["metadata"], typing["metadata"]);
    let large = json!({ "metadata": { "x": "y".repeat(2000) } });
    assert_eq!(call(&gateway, "PUT", &place, &large).status, 400);
    let target = format!("{place}?ttl=300ms");
    assert_eq!(call(&gateway, "PUT", &target, &Value::Null).status, 200);
    assert_eq!(next(&mut stream).await, leaves(&second_id));
    assert_eq!(call(&gateway, "PUT", &place, &Value::Null).status, 200);
    assert_eq!(next(&mut stream).await, joins(&second_id));
    assert_eq!(call(&gateway, "DELETE", &place, &Value::Null).status, 200);
    assert_eq!(next(&mut stream).await, leaves(&second_id));

    // A client that comes again gets what it missed, one with an unknown id gets the members.
    let mut again = follow(&gateway, "a", Some(&begin)).await;
    let all = [
        joins(&second_id),
        leaves(&first_id),
        joins(&second_id),
        leaves(&second_id),
        joins(&second_id),
        leaves(&second_id),
    ];
    for expected in all {
        assert_eq!(next(&mut again).await, expected);
    }
    let mut unknown = follow(&gateway, "a", Some("0000000000000000-7")).await;
    let sent = unknown.next().await.expect("members");
    assert_eq!(
        (sent.name.as_deref(), &sent.data["count"]),
        (Some("members"), &json!(0))
    );
    second.close().await;
    // Streams do not hold up the end.
    gateway.signal(Signal::TERM);
    assert!(stream.next().await.is_none() && again.next().await.is_none());
    assert!(gateway.wait_for_exit().await.success());
}

#[tokio::test]
async fn a_token_watches_its_own_groups_only() {
    let (gateway, _backend) = gateway("").await;
    let socket = gateway.directory().join("publish.sock");
    let lobbies = Some("token-of-the-lobbies");
    let target = "/v1/groups/other/events";
    for (token, status) in [(None, 401), (lobbies, 403)] {
        let answer = admin::request(&socket, token, "GET", target, "").expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let target = "/v1/groups/lobby-1/events";
    let mut stream = EventStream::open_as(&socket, lobbies, target, None).await;
    let sent = stream.next().await.expect("members");
    assert_eq!(sent.data["count"], 0);
}

#[tokio::test]
async fn a_reconnect_is_no_leave_and_join() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let text = rooms(
        &[first.address, second.address],
        "on_backend_loss = \"reconnect\"",
    );
    let gateway = Gateway::start(&text).await;
    let (mut client, id) = enter(&gateway, "a").await;
    let (mut stream, members) = watch(&gateway, "a", 1).await;
    assert_eq!(members, BTreeSet::from([id.clone()]));
    client.echo("here").await;
    let (lost, left) = match first.live() {
        0 => (second, first),
        _ => (first, second),
    };
    lost.stop().await;
    eventually("the other backend has it", async || left.live() == 1).await;
    let (marker, marker_id) = enter(&gateway, "a").await;
    assert_eq!(next(&mut stream).await, joins(&marker_id));
    for (client, id) in [(marker, marker_id), (client, id)] {
        client.close().await;
        assert_eq!(next(&mut stream).await, leaves(&id));
    }
}

pub(super) async fn follows_the_fleet(kind: &'static str) {
    let pair = Pair::start_with(kind, DESCRIBED).await;
    let Pair { one, mut other, .. } = pair;
    let (here, here_id) = enter(&one, "a").await;
    let (there, there_id) = enter(&other, "a").await;
    let (mut stream, members) = watch(&one, "a", 2).await;
    assert_eq!(members, BTreeSet::from([here_id.clone(), there_id.clone()]));
    let (mut far_stream, far) = watch(&other, "a", 2).await;
    assert_eq!(far, members);
    let phone = Client::connect(other.address(), "/rooms/a?device=phone").await;
    let phone_id = phone.header("sessile-session").expect("an id").to_owned();
    for stream in [&mut stream, &mut far_stream] {
        let sent = stream.next().await.expect("a join");
        assert_eq!(session(&sent.data), phone_id);
        assert_eq!(
            sent.data["metadata"],
            json!({ "device": "phone", "room": "a" })
        );
    }
    here.close().await;
    assert_eq!(next(&mut stream).await, leaves(&here_id));
    assert_eq!(next(&mut far_stream).await, leaves(&here_id));
    // A node that dies takes its members away.
    other.signal(Signal::KILL);
    other.wait_for_exit().await;
    let left = [next(&mut stream).await, next(&mut stream).await];
    let expected = BTreeSet::from([leaves(&there_id), leaves(&phone_id)]);
    assert_eq!(BTreeSet::from(left), expected);
    wait_for_others(&one, &[]).await;
    drop((there, phone));
}

#[tokio::test]
async fn presence_comes_to_what_is_after_a_broker_that_hung() {
    let pair = Pair::start("nats").await;
    let (one, other) = (&pair.one, &pair.other);
    let (leaving, leaving_id) = enter(other, "a").await;
    let (staying, staying_id) = enter(other, "a").await;
    let (mut stream, members) = watch(one, "a", 2).await;
    assert_eq!(
        members,
        BTreeSet::from([leaving_id.clone(), staying_id.clone()])
    );
    pair.broker.signal(Signal::STOP);
    leaving.close().await;
    let (coming, coming_id) = enter(other, "a").await;
    eventually("the broker is missed", async || {
        one.metric("sessile_broker_connected", &[]) == 0.0
    })
    .await;
    pair.broker.signal(Signal::CONT);
    // A node may seem to be gone for a while. What comes of it is what counts.
    let (mut now, expected) = (members, BTreeSet::from([staying_id, coming_id]));
    while now != expected {
        let (what, id) = next(&mut stream).await;
        match &*what {
            "join" => now.insert(id),
            _ => now.remove(&id),
        };
    }
    staying.close().await;
    coming.close().await;
}

#[tokio::test]
async fn members_of_many_watched_groups_are_known_though_more_join_all_the_time() {
    let pair = Pair::start("nats").await;
    let (one, other) = (&pair.one, &pair.other);
    let mut sessions = Vec::new();
    for number in 0..GROUPS {
        sessions.push(enter(other, &format!("g{number}")).await);
    }
    // All of them are asked for at about the same time.
    let mut streams = Vec::new();
    for number in 0..GROUPS {
        streams.push(follow(one, &format!("g{number}"), None).await);
    }
    let churn = async {
        loop {
            for number in 0..GROUPS {
                let (client, _) = enter(other, &format!("g{number}")).await;
                client.close().await;
            }
        }
    };
    let known = async {
        for (stream, (_, id)) in streams.iter_mut().zip(&sessions) {
            let sent = stream.next().await.expect("members");
            let mut members: BTreeSet<_> = sent.data["members"]
                .as_array()
                .expect("members")
                .iter()
                .map(session)
                .collect();
            while !members.contains(id) {
                let (what, id) = next(stream).await;
                if what == "join" {
                    members.insert(id);
                }
            }
        }
    };
    tokio::select! {
        () = churn => {}
        () = known => {}
    }
}

#[tokio::test]
async fn i1_a_hand_over_is_no_leave_and_join() {
    let backend = Backend::echo().await;
    let broker = BrokerServer::start("nats").await;
    let text = format!(
        "{}{}",
        broker.config(),
        rooms(&[backend.address], DESCRIBED)
    );
    let one = Gateway::start_named("one", &text).await;
    let mut old = Gateway::start_with_handover(&text).await;
    eventually("the other gateway lives", async || {
        one.metric("sessile_broker_nodes", &[]) == 2.0
    })
    .await;
    let client = Client::connect(old.address(), "/rooms/a?device=phone").await;
    let id = client.header("sessile-session").expect("an id").to_owned();
    let (mut stream, members) = watch(&one, "a", 2).await;
    assert_eq!(members, BTreeSet::from([id.clone()]));
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success());
    let (marker, marker_id) = enter(&new, "a").await;
    assert_eq!(next(&mut stream).await, joins(&marker_id));
    let list = call(&one, "GET", "/v1/groups/a", &Value::Null).json();
    let items = list["items"].as_array().expect("members");
    let moved = items
        .iter()
        .find(|member| session(member) == id)
        .expect("it is there");
    assert_eq!(moved["metadata"], json!({ "device": "phone", "room": "a" }));
    for (client, id) in [(marker, marker_id), (client, id)] {
        client.close().await;
        assert_eq!(next(&mut stream).await, leaves(&id));
    }
}
