//! Kafka: one topic for the fleet, of which each gateway reads all partitions from their ends,
//! without a consumer group, and keeps what it wants. Other services' topics are read likewise.
//!
//! The protocol is spoken here and not by a library, because those send a message again after a
//! lost answer: it would arrive twice.

mod connection;
mod node;
mod scram;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::base::clock;
use crate::config::broker_name::topic_and_key;
use crate::config::snapshot::{Broker, BrokerServer};
use crate::core::messages::topic::Topic;
use crate::io::broker::kafka::connection::{
    Connection, Metadata, NO_LEADER, NONE, Position, UNKNOWN_TOPIC, meaning,
};
use crate::io::broker::kafka::node::{Interest, Node, Write};
use crate::io::broker::kafka::wire::{Name, partition};
use crate::io::broker::reconnect::{BrokerClient, keep_connected};
use crate::io::broker::{DriverEnd, Incoming, NotCarried, Outgoing};
use crate::io::service::fault::Fault;

/// Attempts to see a topic that the server has just been asked to create.
const CREATION_ATTEMPTS: u32 = 20;
const CREATION_PAUSE: Duration = Duration::from_millis(150);
/// How often a topic that does not exist is looked for.
const ABSENT_TIME: Duration = Duration::from_secs(5);
/// Topics of other services whose leaders are remembered.
const KNOWN_MAX: usize = 4096;
const NAME_MAX: usize = 249;
/// Largest payload: with its key and the head of its batch it fits into what a server takes by
/// default.
const KAFKA_PAYLOAD_MAX: usize = 1_000_000;

/// Drives a Kafka.
pub(super) async fn drive(end: DriverEnd, settings: Broker, node: Arc<str>) {
    let client = Kafka {
        settings: settings.clone(),
        client: client_id(&node),
        incoming: end.incoming.clone(),
    };
    keep_connected(end, settings, client).await;
}

fn client_id(node: &str) -> Name {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter,
        false => '-',
    };
    let id: String = node.chars().take(100).map(plain).collect();
    format!("sessile-{id}").into()
}

/// Makes connections to clusters.
struct Kafka {
    settings: Broker,
    client: Name,
    incoming: Incoming,
}

/// A cluster that is connected.
struct Cluster {
    settings: Broker,
    client: Name,
    incoming: Incoming,
    /// For questions about topics.
    control: Connection,
    servers: HashMap<i32, BrokerServer>,
    /// Leaders of the fleet's partitions.
    own: Vec<i32>,
    nodes: HashMap<i32, Node>,
    known: HashMap<Name, Known>,
    interest: Arc<Interest>,
    /// Topics of other services that cannot be read now, with the names that are wanted of them.
    absent: BTreeMap<Name, BTreeSet<Name>>,
    tasks: JoinSet<Fault>,
}

type Ready = tokio::sync::oneshot::Receiver<()>;

/// Leaders of another service's topic, or why there are none.
struct Known {
    leaders: Result<Vec<i32>, String>,
    asked: Instant,
}

impl BrokerClient for Kafka {
    type Link = Cluster;

    async fn connect(&self, server: &BrokerServer) -> Result<Cluster, Fault> {
        let control = Connection::open(&self.settings, server, &self.client).await?;
        let mut cluster = Cluster {
            settings: self.settings.clone(),
            client: Name::clone(&self.client),
            incoming: self.incoming.clone(),
            control,
            servers: HashMap::new(),
            own: Vec::new(),
            nodes: HashMap::new(),
            known: HashMap::new(),
            interest: Arc::new(Interest::new(&self.settings.prefix)),
            absent: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        let metadata = cluster.own_topic().await?;
        cluster.servers = metadata.servers;
        cluster.own = metadata.leaders;
        let (prefix, own) = (Arc::clone(&self.settings.prefix), cluster.own.clone());
        // What is published from now on is read.
        for ready in cluster.read(&prefix, &own).await? {
            // If a reader has failed, its task tells why.
            if ready.await.is_err() {
                break;
            }
        }
        Ok(cluster)
    }

    async fn serve(&self, end: &mut DriverEnd, mut cluster: Cluster) -> Result<(), Fault> {
        let mut wanted = end.wanted.watch();
        let mut look_again = interval(ABSENT_TIME);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for topic in end.wanted.take_all() {
            cluster.want(topic, true, end).await?;
        }
        loop {
            tokio::select! {
                message = end.outgoing.recv() => match message {
                    Some(message) => cluster.publish(message).await?,
                    None => return Ok(()),
                },
                // The driver's own end holds the sender.
                _ = wanted.changed() => {
                    for (topic, wanted) in end.wanted.take_changes() {
                        cluster.want(topic, wanted, end).await?;
                    }
                }
                _ = look_again.tick(), if !cluster.absent.is_empty() => {
                    cluster.look_again().await?;
                }
                // A task ends with a fault only.
                Some(ended) = cluster.tasks.join_next() => {
                    return Err(ended.unwrap_or(Fault::Closed));
                }
            }
        }
    }
}

impl Cluster {
    async fn metadata(&mut self, topic: &str, create: bool) -> Result<Metadata, Fault> {
        let encrypted = self.settings.servers[0].encrypted;
        self.control.metadata(topic, create, encrypted).await
    }

    /// The topic of the fleet, which the server may create.
    async fn own_topic(&mut self) -> Result<Metadata, Fault> {
        let prefix = Arc::clone(&self.settings.prefix);
        for _ in 0..CREATION_ATTEMPTS {
            let metadata = self.metadata(&prefix, true).await?;
            match metadata.error {
                NONE if !metadata.leaders.is_empty() => return Ok(metadata),
                NONE | UNKNOWN_TOPIC | NO_LEADER => sleep(CREATION_PAUSE).await,
                code => return Err(Fault::Refused(format!("{prefix}: {}", meaning(code)))),
            }
        }
        Err(Fault::Unfit(
            "there is no topic named like `prefix`, or a partition of it has no leader",
        ))
    }

    /// The server of this number, connected when it is first needed.
    async fn node(&mut self, number: i32) -> Result<&Node, Fault> {
        if !self.nodes.contains_key(&number) {
            let absent = Fault::Unfit("a partition is led by a server that is not listed");
            let server = self.servers.get(&number).ok_or(absent)?;
            let open = async || {
                let within = self.settings.connect_timeout;
                let open = Connection::open(&self.settings, server, &self.client);
                let opened = tokio::time::timeout(within, open).await;
                opened.unwrap_or(Err(Fault::Late(within)))
            };
            let (reader, writer) = (open().await?, open().await?);
            let interest = Arc::clone(&self.interest);
            let incoming = self.incoming.clone();
            let node = Node::start(&mut self.tasks, (reader, writer), interest, incoming);
            self.nodes.insert(number, node);
        }
        Ok(&self.nodes[&number])
    }

    /// Reads all partitions of a topic from their ends, which are known when what is returned is
    /// told so.
    async fn read(&mut self, topic: &Name, leaders: &[i32]) -> Result<Vec<Ready>, Fault> {
        let mut by_leader: HashMap<i32, Vec<Position>> = HashMap::new();
        for (partition, leader) in (0..).zip(leaders) {
            by_leader.entry(*leader).or_default().push(Position {
                topic: Name::clone(topic),
                partition,
                offset: Position::END,
            });
        }
        let mut ready = Vec::new();
        for (leader, positions) in by_leader {
            ready.push(self.node(leader).await?.read(positions));
        }
        Ok(ready)
    }

    async fn want(&mut self, topic: Topic, wanted: bool, end: &mut DriverEnd) -> Result<(), Fault> {
        let Topic::Foreign(name) = &topic else {
            self.interest.set_own(topic, wanted);
            return Ok(());
        };
        let of: Name = topic_and_key(name).0.into();
        if !wanted {
            if let Some(names) = self.absent.get_mut(&of) {
                names.remove(name);
                if names.is_empty() {
                    self.absent.remove(&of);
                }
            }
            if self.interest.remove_foreign(name) {
                self.nodes.values().for_each(|node| node.stop_reading(&of));
            }
            return Ok(());
        }
        if let Some(names) = self.absent.get_mut(&of) {
            names.insert(Name::clone(name));
            return Ok(());
        }
        match self.leaders(&of).await? {
            Ok(leaders) => {
                if self.interest.add_foreign(name) {
                    self.read(&of, &leaders).await?;
                }
            }
            Err(reason) => {
                // Clients choose keys, so that each topic is reported once.
                self.absent.insert(of, BTreeSet::from([Name::clone(name)]));
                tracing::warn!(%topic, reason, "the broker refuses a subscription");
                let text = format!("it refuses the subscription of {topic}: {reason}");
                end.status.send_modify(|status| status.error = Some(text));
            }
        }
        Ok(())
    }

    /// Reads topics that exist by now.
    async fn look_again(&mut self) -> Result<(), Fault> {
        let absent: Vec<_> = self.absent.keys().cloned().collect();
        for of in absent {
            let Ok(leaders) = self.leaders(&of).await? else {
                continue;
            };
            for name in self.absent.remove(&of).unwrap_or_default() {
                self.interest.add_foreign(&name);
            }
            self.read(&of, &leaders).await?;
        }
        Ok(())
    }

    /// The leaders of another service's topic, or why there are none.
    async fn leaders(&mut self, name: &Name) -> Result<Result<Vec<i32>, String>, Fault> {
        if !is_topic(name) || **name == *self.settings.prefix {
            return Ok(Err("that is no name of a topic".to_owned()));
        }
        let now = clock::now();
        if let Some(known) = self.known.get(name)
            && (known.leaders.is_ok() || now.duration_since(known.asked) < ABSENT_TIME / 2)
        {
            return Ok(known.leaders.clone());
        }
        let metadata = self.metadata(name, false).await?;
        self.servers.extend(metadata.servers);
        let leaders = match metadata.error {
            NONE => Ok(metadata.leaders),
            code => Err(meaning(code)),
        };
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let known = Known {
            leaders: leaders.clone(),
            asked: now,
        };
        self.known.insert(Name::clone(name), known);
        Ok(leaders)
    }

    /// Hands a message to the connection of its partition's leader.
    async fn publish(&mut self, message: Outgoing) -> Result<(), Fault> {
        let refuse = |message: Outgoing, reason: String| {
            let _ = message.confirm.send(Err(NotCarried::Refused(reason)));
            Ok(())
        };
        if message.payload.len() > KAFKA_PAYLOAD_MAX {
            let reason = format!("it is larger than {KAFKA_PAYLOAD_MAX} bytes");
            return refuse(message, reason);
        }
        let own = || {
            (
                message.topic.key(),
                Arc::clone(&self.settings.prefix),
                self.own.clone(),
            )
        };
        let (key, topic, leaders) = match &message.topic {
            Topic::Foreign(name) => {
                let (topic, key) = topic_and_key(name);
                let (topic, key): (Name, _) = (topic.into(), key.map(str::to_owned));
                match self.leaders(&topic).await? {
                    Ok(leaders) => (key, topic, leaders),
                    Err(reason) => return refuse(message, reason),
                }
            }
            _ => own(),
        };
        // Messages of one gateway to another service's topic stay in order, too.
        let place = partition(key.as_deref().unwrap_or(&self.client), leaders.len());
        let Some(leader) = leaders.get(place) else {
            return refuse(message, "the topic has no partitions".to_owned());
        };
        let write = Write {
            topic,
            partition: i32::try_from(place).unwrap_or(0),
            key,
            message,
        };
        self.node(*leader).await?.write(write);
        Ok(())
    }
}

fn is_topic(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain)
}
