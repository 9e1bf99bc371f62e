//! The hub between a broker and a worker that the tests play.

use tokio::sync::mpsc::Receiver;
use tokio::task::yield_now;

use super::*;
use crate::base::message::Message;
use crate::control::load::{LoadOptions, load_text};
use crate::core::messages::delivery::Recipient;
use crate::core::messages::index::GroupBounds;
use crate::core::messages::signal::Answer;
use crate::core::routing::RoutingTable;
use crate::io::broker::{DriverEnd, Received, ends};
use crate::live::{
    Generation, Interest, MessageCommand, MessagesSetup, PresenceFeed, ReplayRequest, Replays,
    WorkerCommand, WorkerHandle,
};
use crate::telemetry::metrics::Exposition;

const CONFIG: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:8080"]
[upstreams.u]
backends = ["10.0.0.1:9000"]
[[routes]]
name = "r"
upstream = "u"
[publish]
listen = "127.0.0.1:9901"
tokens = [{ name = "app", token = "hunter2", targets = ["*"] }]
history = [{ groups = ["kept-*"] }]
"#;

/// A node of a fleet with one worker.
struct Node {
    hub: Arc<Messages>,
    driver: DriverEnd,
    commands: Receiver<WorkerCommand>,
    replays: Arc<Replays>,
    broker: Broker,
    interest: Arc<Interest>,
    metrics: Arc<Metrics>,
    _background: JoinSet<()>,
}

fn node(takes_over: bool) -> Node {
    let options = LoadOptions {
        path: "gateway.toml".into(),
        sets: Vec::new(),
        environment: Vec::new(),
    };
    let loaded = load_text(&options, CONFIG).unwrap_or_else(|faults| panic!("{faults}"));
    let table = RoutingTable::compile(&loaded.snapshot, None, 1, clock::now());
    let live = Live::new(Generation::from(table));
    let (handle, commands) = WorkerHandle::new();
    live.set_workers(vec![handle]);
    let (metrics, replays) = (Metrics::new(), Arc::<Replays>::default());
    let interest = Arc::<Interest>::default();
    live.set_messages(MessagesSetup {
        prefix: "sessile".into(),
        bounds: GroupBounds {
            per_session: 10,
            per_worker: 10,
        },
        interest: Some(Arc::clone(&interest)),
        replays: Some(Arc::clone(&replays)),
        presence: Arc::new(PresenceFeed::publishing(Vec::new())),
        refused: MessageMetrics::new(&metrics).memberships_refused(),
    });
    let (broker, received, driver) = ends();
    driver.status.send_modify(|status| status.connected = true);
    let settings = loaded.snapshot.publish.as_ref();
    let hub = Messages::new(
        live,
        (Some(broker.clone()), true),
        ("here".into(), "here".into()),
        (settings, None, takes_over),
        &metrics,
    );
    let mut background = JoinSet::new();
    background.spawn(Arc::clone(&hub).receive(received));
    hub.replay_missed(&mut background);
    let interests = Arc::clone(&interest);
    background.spawn(interest::follow(interests, broker.clone(), None));
    Node {
        hub,
        driver,
        commands,
        replays,
        broker,
        interest,
        metrics,
        _background: background,
    }
}

impl Node {
    /// A message of another node to the group comes from the broker.
    fn come(&self, number: usize) {
        let envelope = Envelope {
            from: "there".into(),
            content: Content::Message {
                publication: publication(vec![Target::Group(kept())], number),
                ask: None,
            },
        };
        self.driver.incoming.pass_on(Received {
            topic: Topic::Group(kept()),
            payload: envelope.encode().into(),
        });
    }

    /// What the worker is to deliver next.
    async fn delivery(&mut self) -> oneshot::Sender<DeliveryCounts> {
        match self.commands.recv().await {
            Some(WorkerCommand::Messages(MessageCommand::Deliver { answer, .. })) => answer,
            other => panic!("no delivery: {other:?}"),
        }
    }

    /// Whether a client that has all up to `since` learns of a gap.
    async fn has_gap(&mut self, since: HistoryId) -> bool {
        self.replay(since).await.0
    }

    /// The same, and up to where it has all then.
    async fn replay(&mut self, since: HistoryId) -> (bool, HistoryId) {
        self.replays.push(ReplayRequest {
            id: SessionId::new(1, 1),
            groups: vec![kept()],
            since,
            tells_gap: true,
        });
        match self.commands.recv().await {
            Some(WorkerCommand::Messages(MessageCommand::Replay {
                gap, last, answer, ..
            })) => {
                answer.send(true).expect("it waits");
                (gap, last)
            }
            other => panic!("no replay: {other:?}"),
        }
    }

    /// Waits until so many messages of the broker have had this outcome.
    async fn received(&self, outcome: &str, count: u64) {
        let series = |line: &&str| {
            let labels = ["direction=\"received\"", &format!("outcome=\"{outcome}\"")];
            labels.iter().all(|label| line.contains(label))
        };
        loop {
            let text = self.metrics.render(Exposition::Text);
            let line = text.lines().find(series);
            if line.is_some_and(|line| line.ends_with(&format!(" {count}"))) {
                return;
            }
            yield_now().await;
        }
    }
}

fn kept() -> GroupName {
    GroupName::parse("kept-a").expect("a name")
}

fn publication(to: Vec<Target>, number: usize) -> Publication {
    Publication {
        id: None,
        to,
        except: Vec::new(),
        side: Recipient::Client,
        message: Message::Text(number.to_string().into()),
        expires: None,
    }
}

/// Lets the hub do what it can.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn i8_a_message_that_a_worker_does_not_take_is_counted_and_a_gap_of_its_group() {
    let mut node = node(false);
    node.come(1);
    let answer = node.delivery().await;
    let one = DeliveryCounts {
        delivered: 1,
        ..DeliveryCounts::default()
    };
    answer.send(one).expect("it waits");
    node.received("delivered", 1).await;
    let first = node.replays.last();
    assert!(!node.has_gap(first).await, "it is all here");
    node.come(2);
    drop(node.delivery().await);
    node.received("dropped", 1).await;
    settle().await;
    assert!(node.has_gap(first).await, "the worker's sessions lack one");
    node.received("delivered", 1).await;
}

#[tokio::test]
async fn i8_messages_of_the_broker_wait_while_workers_have_not_answered_many() {
    let mut node = node(false);
    for number in 0..INCOMING_MAX + 10 {
        node.come(number);
    }
    let mut answers = Vec::new();
    for _ in 0..INCOMING_MAX {
        answers.push(node.delivery().await);
    }
    settle().await;
    assert!(node.commands.try_recv().is_err(), "the next one waits");
    drop(answers.pop());
    drop(node.delivery().await);
}

/// A gateway may have read less of a log than the one from which a client comes.
#[tokio::test]
async fn i1_a_client_with_a_newer_id_than_this_gateway_has_does_not_get_it_a_second_time() {
    let mut node = node(false);
    node.come(1);
    drop(node.delivery().await);
    let newer = node.replays.last().next(u64::MAX);
    assert_eq!(node.replay(newer).await.1, newer);
}

/// The other process of a hand-over gets it too.
#[tokio::test]
async fn i1_a_message_of_the_broker_has_the_time_when_it_came() {
    let mut node = node(false);
    let began = clock::now();
    node.come(1);
    match node.commands.recv().await {
        Some(WorkerCommand::Messages(MessageCommand::Deliver { delivery, .. })) => {
            assert!(delivery.came.is_some_and(|came| came >= began));
        }
        other => panic!("no delivery: {other:?}"),
    }
}

#[tokio::test]
async fn i12_a_message_with_many_targets_is_carried_once() {
    for (targets, carried) in [(TOPICS_MAX, TOPICS_MAX), (TOPICS_MAX + 1, 1)] {
        let mut node = node(false);
        let to = |number: usize| Target::Principal(number.to_string().into());
        let message = publication((0..targets).map(to).collect(), 1);
        let hub = Arc::clone(&node.hub);
        let publishing = tokio::spawn(async move { hub.publish(message, None).await });
        drop(node.delivery().await);
        let mut topics = Vec::new();
        while topics.len() < carried {
            let outgoing = node.driver.outgoing.recv().await.expect("a message");
            topics.push(outgoing.topic);
            outgoing.confirm.send(Ok(())).expect("it waits");
        }
        publishing.await.expect("no panic").complete().await;
        assert!(node.driver.outgoing.try_recv().is_err(), "{topics:?}");
        assert_eq!(topics.contains(&Topic::Fleet), carried == 1, "{topics:?}");
    }
}

/// A node of a fleet that answers another one must not take a session on its way for gone.
#[tokio::test]
async fn i1_while_sessions_are_between_two_processes_none_is_said_to_be_gone() {
    let none = Answer::Counts {
        counts: DeliveryCounts::default(),
        unanswered: 0,
    };
    let unknown = Answer::Counts {
        counts: DeliveryCounts::default(),
        unanswered: 1,
    };
    let some = Answer::Counts {
        counts: DeliveryCounts {
            queued: 1,
            ..DeliveryCounts::default()
        },
        unanswered: 0,
    };
    let answers = |hub: &Messages| (hub.not_found(), hub.counted(none.clone()));
    let (known, not_known) = (
        (Answer::NotHere, none.clone()),
        (Answer::Failed, unknown.clone()),
    );
    assert_eq!(answers(&node(false).hub), known);
    let hub = node(true).hub;
    assert_eq!(answers(&hub), not_known, "before the hand-over begins");
    assert!(!hub.knows_all_nodes());
    let elsewhere = Arc::<Elsewhere>::default();
    hub.set_elsewhere(Arc::clone(&elsewhere));
    assert_eq!(answers(&hub), known, "there is no process before this one");
    elsewhere.set_handing_over(true);
    assert_eq!(answers(&hub), not_known);
    assert_eq!(hub.counted(some.clone()), some);
    elsewhere.set_given();
    assert_eq!(answers(&hub), known, "the other process answers too");
}

/// What is published between the end of a subscription and the next one reaches neither process.
#[tokio::test]
async fn i1_a_process_is_subscribed_before_the_sessions_of_the_one_before_come() {
    let (old, new) = (node(false), node(true));
    let group = |number: usize| {
        let name = GroupName::parse(&format!("g{number}"));
        Topic::Group(name.expect("a name"))
    };
    let mut topics: Vec<_> = (0..5000).map(group).collect();
    topics.extend([Topic::Principal("ann".into()), Topic::Foreign("a.b".into())]);
    topics
        .iter()
        .for_each(|topic| old.interest.add(topic.clone()));
    let (mut last, mut parts) = (None, 0);
    while let Some((part, sent)) = old.hub.topics_part(last.as_ref()) {
        new.hub.adopt_topics(&part);
        (last, parts) = (Some(sent), parts + 1);
    }
    assert_eq!(parts, 2, "each part is bounded");
    new.hub.adopt_topics(b"[[\"x\", \"a\"]]");
    new.hub.adopt_topics(b"no topics");
    assert_eq!(new.interest.some(None, 9999).len(), topics.len());
    settle().await;
    assert!(topics.iter().all(|topic| new.broker.is_subscribed(topic)));
    // A session of one of them comes, and the hand-over is complete.
    new.interest.add(group(7));
    new.hub.history_came().await;
    assert_eq!(new.interest.some(None, topics.len()), [group(7)]);
    settle().await;
    let goes_on = topics.iter().all(|topic| new.broker.is_subscribed(topic));
    assert!(goes_on, "clients may be reconnecting");
}
