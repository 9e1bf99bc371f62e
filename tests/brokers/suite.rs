//! What every kind of broker must do.

use bytes::Bytes;
use futures_util::future::join_all;
use rustix::process::Signal;
use sessile::base::group::GroupName;
use sessile::base::secret::Secret;
use sessile::config::snapshot::{BrokerKind, ServiceTls, SignIn};
use sessile::core::messages::topic::Topic;
use sessile::io::broker::{NotCarried, PAYLOAD_MAX};

use crate::member::{Member, eventually};
use crate::server::{Door, PASSWORD, Server};

fn group(name: &str) -> Topic {
    Topic::Group(GroupName::parse(name).unwrap())
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A name that other services use, in the form of this kind.
fn foreign(kind: BrokerKind) -> Topic {
    let name = match kind {
        BrokerKind::RabbitMq => "amq.topic/prices.eur",
        _ => "prices.eur",
    };
    Topic::Foreign(name.into())
}

pub async fn carries(kind: BrokerKind) {
    let server = Server::start(kind, Door::Password).await;
    let settings = server.settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    only_what_is_wanted(kind, &sender, &mut receiver).await;
    in_order(&sender, &mut receiver).await;
    with_headers(kind, &sender, &mut receiver).await;
    up_to_the_bound(kind, &sender, &mut receiver).await;
    what_is_refused(kind, &sender, &mut receiver).await;
    // Fleets that share a broker do not hear each other.
    let mut other = Member::connected(&server.settings("other.fleet")).await;
    other.broker.subscribe(Topic::Fleet);
    let another = Member::connected(&server.settings("other.fleet")).await;
    another.reaches(&mut other, &Topic::Fleet).await;
    sender.publish(&Topic::Fleet, "ours").await.unwrap();
    another.publish(&Topic::Fleet, "theirs").await.unwrap();
    assert_eq!(other.next().await, (Topic::Fleet, "theirs".into()));
    for member in [sender, receiver, other, another] {
        member.close().await;
    }
}

async fn only_what_is_wanted(kind: BrokerKind, sender: &Member, receiver: &mut Member) {
    let topics = [
        Topic::Fleet,
        Topic::Node("a.b *>#/é".into()),
        group("lobby"),
        Topic::Principal("x".repeat(4000).into()),
        foreign(kind),
    ];
    for topic in &topics {
        receiver.broker.subscribe(topic.clone());
        sender.reaches(receiver, topic).await;
    }
    for (number, topic) in topics.iter().enumerate() {
        let other = group(&format!("other {number}"));
        sender.publish(&other, "not wanted").await.unwrap();
        let payload = number.to_string();
        sender.publish(topic, payload.clone()).await.unwrap();
        assert_eq!(receiver.next().await, (topic.clone(), payload.into()));
    }
    // What is wanted no longer comes no longer, and comes again when it is wanted again.
    let (lobby, fleet) = (group("lobby"), Topic::Fleet);
    receiver.broker.unsubscribe(&lobby);
    eventually("nothing comes any more", async || {
        sender.publish(&lobby, "late").await.unwrap();
        sender.publish(&fleet, "end").await.unwrap();
        let late = receiver.next().await;
        if late == (lobby.clone(), "late".into()) {
            assert_eq!(receiver.next().await.0, fleet);
            return false;
        }
        late == (fleet.clone(), "end".into())
    })
    .await;
    receiver.broker.subscribe(lobby.clone());
    sender.reaches(receiver, &lobby).await;
    assert_eq!(receiver.received.dropped(), 0);
}

async fn in_order(sender: &Member, receiver: &mut Member) {
    let topic = group("lobby");
    for hundred in 0..100 {
        let numbers = hundred * 100..(hundred + 1) * 100;
        let sent = numbers
            .clone()
            .map(|number| sender.publish(&topic, number.to_string()));
        for taken in join_all(sent).await {
            taken.unwrap();
        }
        for number in numbers {
            assert_eq!(text(&receiver.next().await.1), number.to_string());
        }
    }
    assert_eq!(receiver.received.dropped(), 0);
}

/// Headers change nothing of the payload, and a name of another service takes them.
async fn with_headers(kind: BrokerKind, sender: &Member, receiver: &mut Member) {
    let topic = foreign(kind);
    for value in ["", "größe, %0D%0A", &"x".repeat(2000)] {
        let headers = ["Sessile-Subject", "Sessile-Groups"];
        let headers = headers.map(|name| (name.to_owned(), value.to_owned()));
        let published = sender
            .broker
            .publish(topic.clone(), "whole".into(), headers.to_vec());
        published.await.unwrap();
        assert_eq!(receiver.next().await, (topic.clone(), "whole".into()));
    }
}

async fn up_to_the_bound(kind: BrokerKind, sender: &Member, receiver: &mut Member) {
    let topic = group("lobby");
    // What a server of Kafka takes by default includes the key and the head of the batch.
    let max = match kind {
        BrokerKind::Kafka => 1_000_000,
        _ => PAYLOAD_MAX,
    };
    let largest = Bytes::from(vec![7; max]);
    sender.publish(&topic, largest.clone()).await.unwrap();
    assert_eq!(receiver.next().await.1, largest);
    let refused = sender.publish(&topic, vec![7; max + 1]).await;
    let expected = format!("it is larger than {max} bytes");
    assert_eq!(refused, Err(NotCarried::Refused(expected)));
    sender.publish(&topic, "").await.unwrap();
    assert_eq!(receiver.next().await.1, Bytes::new());
}

/// What the server does not let these users do is told, and stops nothing else.
async fn what_is_refused(kind: BrokerKind, sender: &Member, receiver: &mut Member) {
    let name = match kind {
        BrokerKind::RabbitMq => "absent/secret",
        _ => "secret.files",
    };
    let secret = Topic::Foreign(name.into());
    receiver.broker.subscribe(secret.clone());
    eventually("the refusal is shown", async || {
        let error = receiver.broker.status().error.unwrap_or_default();
        error.contains("refuses the subscription of") && error.contains(name)
    })
    .await;
    let refused = sender.publish(&secret, "x").await;
    assert!(
        matches!(refused, Err(NotCarried::Refused(_))),
        "{refused:?}"
    );
    let sibling = foreign(kind);
    for topic in [&group("lobby"), &sibling] {
        sender.publish(topic, "still").await.unwrap();
        assert_eq!(receiver.next().await, (topic.clone(), "still".into()));
    }
    let later = group("after a refusal");
    receiver.broker.subscribe(later.clone());
    sender.reaches(receiver, &later).await;
    for member in [sender, receiver] {
        let status = member.broker.status();
        assert_eq!((status.connected, status.connects), (true, 1));
    }
}

pub async fn killed(kind: BrokerKind) {
    let mut server = Server::start(kind, Door::Password).await;
    let settings = server.settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    let topics = [group("lobby"), Topic::Fleet, foreign(kind)];
    for topic in &topics {
        receiver.broker.subscribe(topic.clone());
        sender.reaches(&mut receiver, topic).await;
    }
    server.kill();
    sender.wait_for(false).await;
    receiver.wait_for(false).await;
    let since = sender.broker.status().since;
    eventually("an attempt has failed", async || {
        let status = sender.broker.status();
        status.error.is_some_and(|error| error.contains("refused"))
    })
    .await;
    assert_eq!(sender.broker.status().since, since);
    for topic in &topics {
        let refused = sender.publish(topic, "meanwhile").await;
        assert_eq!(refused, Err(NotCarried::NotConnected));
    }
    // Topics that change meanwhile are what is subscribed afterwards.
    let later = group("later");
    receiver.broker.subscribe(later.clone());
    receiver.broker.unsubscribe(&topics[0]);
    server.start_again().await;
    sender.wait_for(true).await;
    receiver.wait_for(true).await;
    assert_eq!(sender.broker.status().error, None);
    sender.reaches(&mut receiver, &later).await;
    sender.publish(&topics[0], "not wanted").await.unwrap();
    for topic in topics[1..].iter().chain([&later]) {
        sender.publish(topic, "again").await.unwrap();
        // Nothing of what was refused comes after all.
        assert_eq!(receiver.next().await, (topic.clone(), "again".into()));
    }
    assert!(sender.broker.status().connects >= 2);
}

pub async fn stopped(kind: BrokerKind) {
    let server = Server::start(kind, Door::Password).await;
    let settings = server.settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    let topic = group("lobby");
    receiver.broker.subscribe(topic.clone());
    sender.reaches(&mut receiver, &topic).await;
    server.signal(Signal::STOP);
    // More than fits anywhere: what nobody takes is refused, not stored.
    let payload = |number: u32| format!("{number} {}", "x".repeat(64 * 1024));
    let sent = (0..2000).map(|number| sender.publish(&topic, payload(number)));
    let sent = join_all(sent).await;
    assert!(sent.iter().all(Result::is_err), "a stopped server confirms");
    assert!(sent.contains(&Err(NotCarried::Busy)), "nothing is bounded");
    sender.wait_for(false).await;
    receiver.wait_for(false).await;
    let refused = sender.publish(&topic, "meanwhile").await;
    assert_eq!(refused, Err(NotCarried::NotConnected));
    server.signal(Signal::CONT);
    sender.wait_for(true).await;
    receiver.wait_for(true).await;
    sender.reaches(&mut receiver, &topic).await;
    sender.publish(&topic, "4000000 ").await.unwrap();
    // A message whose fate is unknown arrives once and in order, or not at all.
    let mut last = None;
    while last < Some(4_000_000) {
        let (_, payload) = receiver.next().await;
        let number = text(&payload).split(' ').next().unwrap().parse().ok();
        assert!(number > last, "{number:?} after {last:?}");
        last = number;
    }
}

pub async fn verified(kind: BrokerKind) {
    let server = Server::start(kind, Door::Tls).await;
    let settings = server.settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    receiver.broker.subscribe(Topic::Fleet);
    sender.reaches(&mut receiver, &Topic::Fleet).await;
    in_order_over_tls(&sender, &mut receiver).await;
    let refused = async |settings, expected: &str| {
        let member = Member::open(&settings);
        let mut status = member.broker.watch_status();
        let status = status.wait_for(|status| status.error.is_some());
        let status = status.await.unwrap().clone();
        let error = status.error.unwrap();
        assert!(error.to_lowercase().contains(expected), "{error}");
        assert!(
            !error.contains(PASSWORD) && !error.contains("wr0ng"),
            "{error}"
        );
        assert_eq!((status.connected, status.connects), (false, 0));
        let refused = member.publish(&Topic::Fleet, "x").await;
        assert_eq!(refused, Err(NotCarried::NotConnected));
    };
    let mut wrong = settings.clone();
    wrong.sign_in = SignIn::Password("edge".to_owned(), Secret::new("wr0ng"));
    // The server of Kafka has no users that sign in with a plain password.
    if kind != BrokerKind::Kafka {
        refused(wrong, refusal(kind)).await;
    }
    let mut stranger = settings.clone();
    stranger.tls = ServiceTls {
        server_name: Some("elsewhere.example".to_owned()),
        ..settings.tls.clone()
    };
    refused(stranger, "not valid for name").await;
    let mut untrusting = settings.clone();
    untrusting.tls = ServiceTls::default();
    refused(untrusting, "certificate").await;
}

/// Names of Kafka that mean the records with one key.
pub async fn keyed_records() {
    let server = Server::start(BrokerKind::Kafka, Door::Password).await;
    let settings = server.settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    let topic = |name: &str| Topic::Foreign(name.into());
    let (all, eur, usd) = (
        topic("prices.eur"),
        topic("prices.eur/EUR"),
        topic("prices.eur/USD"),
    );
    receiver.broker.subscribe(eur.clone());
    sender.reaches(&mut receiver, &eur).await;
    sender.publish(&usd, "not wanted").await.unwrap();
    sender.publish(&all, "without a key").await.unwrap();
    sender.publish(&eur, "1").await.unwrap();
    assert_eq!(receiver.next().await, (eur.clone(), "1".into()));
    // Both names of a record are served.
    receiver.broker.subscribe(all.clone());
    sender.reaches(&mut receiver, &all).await;
    sender.publish(&eur, "2").await.unwrap();
    let mut came = [receiver.next().await, receiver.next().await];
    came.sort_unstable();
    assert_eq!(came, [(all.clone(), "2".into()), (eur.clone(), "2".into())]);
    // The topic is read until no name of it is wanted.
    receiver.broker.unsubscribe(&all);
    eventually("only the key is wanted", async || {
        sender.publish(&eur, "3").await.unwrap();
        sender.publish(&Topic::Fleet, "x").await.unwrap();
        sender.publish(&eur, "4").await.unwrap();
        let mut last = receiver.next().await;
        let mut doubled = false;
        while last.1 != "4" {
            doubled |= last.0 == all;
            last = receiver.next().await;
        }
        !doubled && last.0 == eur
    })
    .await;
}

/// What clients choose takes no place from the gateways, and has its place when there is one.
pub async fn few_subscriptions() {
    let server = Server::start(BrokerKind::Nats, Door::Few).await;
    let settings = server.settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    let room = |number: u8| Topic::Foreign(format!("prices.{number}").into());
    for number in 0..5 {
        receiver.broker.subscribe(room(number));
    }
    eventually("the server refuses some", async || {
        let error = receiver.broker.status().error;
        error.is_some_and(|error| error.contains("allows no further one"))
    })
    .await;
    for topic in [Topic::Fleet, group("lobby")] {
        receiver.broker.subscribe(topic.clone());
        sender.reaches(&mut receiver, &topic).await;
    }
    for number in [0, 1, 2, 4] {
        receiver.broker.unsubscribe(&room(number));
    }
    for topic in [Topic::Fleet, group("lobby"), room(3)] {
        sender.reaches(&mut receiver, &topic).await;
    }
    let status = receiver.broker.status();
    assert!(status.connected && status.connects == 1, "{status:?}");
}

/// Channels of a Redis cluster lie on several servers, and a lost one is as a lost broker.
pub async fn cluster() {
    let mut servers = Server::start_cluster().await;
    let settings = servers[0].settings("sessile");
    let sender = Member::connected(&settings).await;
    let mut receiver = Member::connected(&settings).await;
    let topics: Vec<_> = (0..30).map(|number| group(&number.to_string())).collect();
    for topic in topics.iter().chain([&foreign(BrokerKind::Redis)]) {
        receiver.broker.subscribe(topic.clone());
        sender.reaches(&mut receiver, topic).await;
    }
    for number in 0..100 {
        for topic in &topics {
            sender.publish(topic, number.to_string()).await.unwrap();
        }
    }
    let mut last = vec![-1; topics.len()];
    for _ in 0..100 * topics.len() {
        let (topic, payload) = receiver.next().await;
        let place = topics.iter().position(|one| *one == topic).unwrap();
        let number: i32 = text(&payload).parse().unwrap();
        assert_eq!(number, last[place] + 1, "{topic}");
        last[place] = number;
    }
    servers[1].kill();
    sender.wait_for(false).await;
    receiver.wait_for(false).await;
    let refused = sender.publish(&topics[0], "meanwhile").await;
    assert_eq!(refused, Err(NotCarried::NotConnected));
    servers[1].start_again().await;
    sender.wait_for(true).await;
    receiver.wait_for(true).await;
    for topic in &topics {
        sender.reaches(&mut receiver, topic).await;
    }
}

/// What is shown of a wrong password.
fn refusal(kind: BrokerKind) -> &'static str {
    match kind {
        BrokerKind::Nats => "authorization violation",
        BrokerKind::Redis => "wrongpass",
        BrokerKind::RabbitMq => "access_refused",
        _ => "authentication failed",
    }
}

/// Large and small messages, since TLS cuts them into records.
async fn in_order_over_tls(sender: &Member, receiver: &mut Member) {
    for size in [1, 20_000, 300_000, 10] {
        let payload = Bytes::from(vec![b'x'; size]);
        sender
            .publish(&Topic::Fleet, payload.clone())
            .await
            .unwrap();
        assert_eq!(receiver.next().await.1, payload);
    }
}
