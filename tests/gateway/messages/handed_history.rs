//! Processes hand a history over to one another: clients that come back learn of a gap where
//! messages are missing, and only there.

use super::history::{resume, tell};
use super::*;
use crate::support::brokers::BrokerServer;
use crate::support::event_source::{Event, EventSource};
use crate::support::eventually;

/// A gateway with these keys in `[publish]`, and what `more` has before that.
fn config(backend: &Backend, more: &str, history: &str) -> String {
    let text = rooms(&[backend.address], "sse = {}");
    let text = text.replacen("[publish]\n", &format!("[publish]\n{history}\n"), 1);
    format!("{more}{text}")
}

async fn hand_over(mut old: Gateway) -> Gateway {
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success(), "{}", old.log());
    new
}

/// A room with a client that gets all of its messages as they come.
struct Room {
    name: &'static str,
    /// The most messages that its history has.
    most: usize,
    client: EventSource,
    came: Vec<Event>,
}

impl Room {
    async fn new(gateway: &Gateway, name: &'static str, most: usize) -> Self {
        let target = format!("/rooms/{name}");
        Self {
            name,
            most,
            client: EventSource::connect(gateway.address(), &target, "").await,
            came: Vec::new(),
        }
    }

    /// The next message comes.
    async fn tell(&mut self, gateway: &Gateway) {
        let text = self.came.len().to_string();
        tell(gateway, self.name, &text);
        let event = self.client.event().await;
        assert_eq!((event.kind.as_str(), &event.data), ("", &text));
        self.came.push(event);
    }

    /// A client comes back with each of the ids there have been.
    async fn check(&mut self, gateway: &Gateway) {
        let kept = self.came.len().saturating_sub(self.most);
        let mut clients = Vec::new();
        for (last, event) in self.came.iter().enumerate() {
            let place = format!("{} behind {last}", self.name);
            let mut client = resume(gateway, self.name, &event.id).await;
            if last + 1 < kept {
                assert_eq!(client.event().await.kind, "gap", "{place}");
            }
            for expected in &self.came[kept.max(last + 1)..] {
                assert_eq!(client.event().await, *expected, "{place}");
            }
            clients.push((place, client));
        }
        self.tell(gateway).await;
        for (place, mut client) in clients {
            assert_eq!(Some(&client.event().await), self.came.last(), "{place}");
        }
    }
}

#[tokio::test]
async fn i1_after_hand_overs_a_client_learns_of_a_gap_where_messages_are_missing_and_only_there() {
    let backend = Backend::echo().await;
    let history =
        "history = [{ groups = [\"few\"], messages = 2 }, { groups = [\"*\"], messages = 1000 }]";
    let text = config(&backend, "", history);
    let other = Gateway::start(&text).await;
    let mut gateway = Gateway::start_with_handover(&text).await;
    let mut foreign = Room::new(&other, "many", 1000).await;
    foreign.tell(&other).await;
    let mut few = Room::new(&gateway, "few", 2).await;
    let mut many = Room::new(&gateway, "many", 1000).await;
    let mut quiet = Room::new(&gateway, "quiet", 1000).await;
    quiet.tell(&gateway).await;
    for _ in 0..3 {
        few.tell(&gateway).await;
        many.tell(&gateway).await;
    }
    for _ in 0..3 {
        gateway = hand_over(gateway).await;
        for room in [&mut few, &mut many] {
            room.check(&gateway).await;
            room.tell(&gateway).await;
        }
        let mut stranger = resume(&gateway, "many", &foreign.came[0].id).await;
        assert_eq!(stranger.event().await.kind, "gap", "another gateway's id");
    }
    quiet.check(&gateway).await;
}

/// Nothing of a group is left, so that only what holds for all groups tells of it.
#[tokio::test]
async fn i1_a_group_whose_messages_had_no_room_is_a_gap_after_hand_overs() {
    let backend = Backend::echo().await;
    let history = "history = [{ groups = [\"*\"] }]\nhistory_bytes = \"64 KiB\"";
    let text = config(&backend, "", history);
    let mut gateway = Gateway::start_with_handover(&text).await;
    let mut gone = Room::new(&gateway, "gone", 0).await;
    gone.tell(&gateway).await;
    gone.tell(&gateway).await;
    let large = "x".repeat(20_000);
    for _ in 0..5 {
        tell(&gateway, "large", &large);
    }
    let mut later = Room::new(&gateway, "later", 1000).await;
    later.tell(&gateway).await;
    for _ in 0..2 {
        gateway = hand_over(gateway).await;
        let mut back = resume(&gateway, "gone", &gone.came[0].id).await;
        assert_eq!(back.event().await.kind, "gap");
        later.check(&gateway).await;
    }
}

#[tokio::test]
async fn i1_what_was_missed_without_the_broker_is_a_gap_after_hand_overs() {
    let backend = Backend::echo().await;
    let mut broker = BrokerServer::start("nats").await;
    let history = "history = [{ groups = [\"*\"] }]";
    let text = config(&backend, &broker.config(), history);
    let mut gateway = Gateway::start_with_handover(&text).await;
    let connected = |gateway: &Gateway| gateway.metric("sessile_broker_connected", &[]) == 1.0;
    eventually("the broker is there", async || connected(&gateway)).await;
    let mut room = Room::new(&gateway, "a", 1000).await;
    room.tell(&gateway).await;
    room.check(&gateway).await;
    broker.kill();
    eventually("it is gone", async || !connected(&gateway)).await;
    let before = room.came.len() - 1;
    broker.start_again().await;
    eventually("it is back", async || connected(&gateway)).await;
    // The history notices it a little later.
    loop {
        room.tell(&gateway).await;
        let last = &room.came[room.came.len() - 1].id;
        let mut client = resume(&gateway, "a", last).await;
        room.tell(&gateway).await;
        if client.event().await.kind != "gap" {
            break;
        }
    }
    let missed = room.came[before].id.clone();
    room.came.drain(..room.came.len() - 2);
    for _ in 0..2 {
        gateway = hand_over(gateway).await;
        let mut back = resume(&gateway, "a", &missed).await;
        assert_eq!(back.event().await.kind, "gap");
        let first = back.event().await;
        assert_eq!(first.kind, "", "then what there is: {first:?}");
        room.check(&gateway).await;
    }
}
