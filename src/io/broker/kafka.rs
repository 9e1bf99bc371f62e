//! Kafka: one topic for the fleet, of which each gateway reads all partitions from their ends,
//! without a consumer group, and keeps what it wants. Other services' topics are read likewise.
//!
//! The protocol is spoken here and not by a library, because those send a message again after a
//! lost answer: it would arrive twice.

mod connection;
mod interest;
mod node;
mod scram;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::base::clock;
use crate::config::broker_name::topic_and_key;
use crate::config::snapshot::{Broker, BrokerServer};
use crate::core::messages::topic::Topic;
use crate::io::broker::kafka::connection::{
    Connection, Metadata, NO_LEADER, NONE, Position, UNKNOWN_TOPIC, meaning,
};
use crate::io::broker::kafka::interest::Interest;
use crate::io::broker::kafka::node::{Node, Shared, Trouble, Write};
use crate::io::broker::kafka::wire::{Name, partition};
use crate::io::broker::reconnect::{BrokerClient, keep_connected};
use crate::io::broker::refusals::log_refusal;
use crate::io::broker::{DriverEnd, Incoming, NotCarried, Outgoing};
use crate::io::service::fault::Fault;

/// Attempts to see a topic that the server has just been asked to create.
const CREATION_ATTEMPTS: u32 = 20;
const CREATION_PAUSE: Duration = Duration::from_millis(150);
/// How often a topic that does not exist is looked for.
const ABSENT_TIME: Duration = Duration::from_secs(5);
/// A server that leads only topics of other services holds up the fleet's messages for no longer
/// than that while it is connected to, and after a failure not again for some time.
const FOREIGN_CONNECT_MAX: Duration = Duration::from_secs(1);
const UNREACHABLE_TIME: Duration = Duration::from_secs(30);
/// Troubles that wait to be looked at.
const TROUBLES_MAX: usize = 64;
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
    /// For questions about topics.
    control: Connection,
    servers: HashMap<i32, BrokerServer>,
    /// Leaders of the fleet's partitions.
    own: Vec<i32>,
    nodes: HashMap<i32, Node>,
    /// Servers that could not be reached, and when.
    unreachable: HashMap<i32, Instant>,
    known: HashMap<Name, Known>,
    shared: Shared,
    troubles: mpsc::Receiver<Trouble>,
    /// Topics of other services that cannot be read now, with the names that are wanted of them.
    absent: BTreeMap<Name, BTreeSet<Name>>,
    /// Those that are read again, unless they are absent again by the next look.
    retried: Vec<Name>,
    tasks: JoinSet<(i32, Fault)>,
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
        let (report, troubles) = mpsc::channel(TROUBLES_MAX);
        let mut cluster = Cluster {
            settings: self.settings.clone(),
            client: Name::clone(&self.client),
            control,
            servers: HashMap::new(),
            own: Vec::new(),
            nodes: HashMap::new(),
            unreachable: HashMap::new(),
            known: HashMap::new(),
            shared: Shared {
                interest: Arc::new(Interest::new(&self.settings.prefix)),
                incoming: self.incoming.clone(),
                troubles: report,
            },
            troubles,
            absent: BTreeMap::new(),
            retried: Vec::new(),
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
                _ = look_again.tick(), if cluster.looks_again() => {
                    cluster.look_again(end).await?;
                }
                // The cluster itself holds a sender.
                Some(Trouble { topic, reason }) = cluster.troubles.recv() => {
                    cluster.give_up(&topic, reason, end);
                }
                // A task ends with a fault only. Those of servers that were given up are cancelled.
                Some(ended) = cluster.tasks.join_next() => match ended {
                    Ok((number, fault)) => cluster.lose(number, fault, end)?,
                    Err(error) if error.is_cancelled() => {}
                    Err(_) => return Err(Fault::Closed),
                },
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
            let failed = self.unreachable.get(&number);
            if failed.is_some_and(|at| at.elapsed() < UNREACHABLE_TIME) {
                return Err(Fault::Unfit("the server of a partition was not reached"));
            }
            match self.open(number).await {
                Ok(connections) => {
                    let node = Node::start(&mut self.tasks, number, connections, &self.shared);
                    self.unreachable.remove(&number);
                    self.nodes.insert(number, node);
                }
                Err(fault) => {
                    self.unreachable.insert(number, clock::now());
                    return Err(fault);
                }
            }
        }
        Ok(&self.nodes[&number])
    }

    /// Two connections to a server: to read, and to append.
    async fn open(&mut self, number: i32) -> Result<(Connection, Connection), Fault> {
        let absent = Fault::Unfit("a partition is led by a server that is not listed");
        let server = self.servers.get(&number).ok_or(absent)?;
        let within = self.settings.connect_timeout;
        let within = match self.own.contains(&number) {
            true => within,
            false => within.min(FOREIGN_CONNECT_MAX),
        };
        let open = async || {
            let open = Connection::open(&self.settings, server, &self.client);
            let opened = tokio::time::timeout(within, open).await;
            opened.unwrap_or(Err(Fault::Late(within)))
        };
        Ok((open().await?, open().await?))
    }

    /// A server is lost. If it leads partitions of the fleet, so is the connection; else only the
    /// topics that it leads.
    fn lose(&mut self, number: i32, fault: Fault, end: &mut DriverEnd) -> Result<(), Fault> {
        if self.own.contains(&number) {
            return Err(fault);
        }
        let read = self.nodes.remove(&number).map(|node| node.topics());
        self.unreachable.insert(number, clock::now());
        let leads = |known: &Known| matches!(&known.leaders, Ok(all) if all.contains(&number));
        let led = self.known.iter().filter(|(_, known)| leads(known));
        let led = led.map(|(name, _)| Name::clone(name));
        let led: BTreeSet<_> = led.chain(read.unwrap_or_default()).collect();
        for topic in led {
            self.give_up(&topic, fault.text(), end);
        }
        Ok(())
    }

    /// A topic of another service cannot be read now. It is looked for again from time to time.
    fn give_up(&mut self, topic: &Name, reason: String, end: &mut DriverEnd) {
        self.nodes
            .values()
            .for_each(|node| node.stop_reading(topic));
        let names = self.shared.interest.take_foreign(topic);
        if !names.is_empty() {
            report(topic, &reason, end);
            let absent = self.absent.entry(Name::clone(topic)).or_default();
            absent.extend(names);
        }
        self.remember(topic, Err(reason));
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
            self.shared.interest.set_own(topic, wanted);
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
            if self.shared.interest.remove_foreign(name) {
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
                if self.shared.interest.add_foreign(name) {
                    self.read_foreign(&of, &leaders, end).await;
                }
            }
            Err(reason) => {
                // Clients choose keys, so that each topic is reported once.
                report(&of, &reason, end);
                self.absent.insert(of, BTreeSet::from([Name::clone(name)]));
            }
        }
        Ok(())
    }

    /// Reads a topic of another service, if its servers can be reached.
    async fn read_foreign(&mut self, of: &Name, leaders: &[i32], end: &mut DriverEnd) {
        if let Err(fault) = self.read(of, leaders).await {
            self.give_up(of, fault.text(), end);
        }
    }

    fn looks_again(&self) -> bool {
        !self.absent.is_empty() || !self.retried.is_empty()
    }

    /// Reads topics that exist by now.
    async fn look_again(&mut self, end: &mut DriverEnd) -> Result<(), Fault> {
        for of in std::mem::take(&mut self.retried) {
            if !self.absent.contains_key(&of) {
                forget_report(&of, end);
            }
        }
        let absent: Vec<_> = self.absent.keys().cloned().collect();
        for of in absent {
            let Ok(leaders) = self.leaders(&of).await? else {
                continue;
            };
            for name in self.absent.remove(&of).unwrap_or_default() {
                self.shared.interest.add_foreign(&name);
            }
            self.read_foreign(&of, &leaders, end).await;
            self.retried.push(of);
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
        self.remember(name, leaders.clone());
        Ok(leaders)
    }

    fn remember(&mut self, name: &Name, leaders: Result<Vec<i32>, String>) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let asked = clock::now();
        self.known
            .insert(Name::clone(name), Known { leaders, asked });
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
        let is_own = *write.topic == *self.settings.prefix;
        match self.node(*leader).await {
            Ok(node) => node.write(write),
            Err(fault) if is_own => return Err(fault),
            Err(fault) => {
                self.remember(&write.topic, Err(fault.text()));
                return refuse(write.message, fault.text());
            }
        }
        Ok(())
    }
}

/// Shows which topic of another service is not read, and why. What lasts is logged once.
fn report(topic: &Name, reason: &str, end: &mut DriverEnd) {
    let text = format!("{}{reason}", refusal_of(topic));
    end.status.send_modify(|status| {
        if status.error.as_ref() != Some(&text) {
            log_refusal(topic, reason);
        }
        status.error = Some(text);
    });
}

/// The topic is read again.
fn forget_report(topic: &Name, end: &mut DriverEnd) {
    let refusal = refusal_of(topic);
    let is_of = |error: &String| error.starts_with(&refusal);
    end.status.send_if_modified(|status| {
        let over = status.error.as_ref().is_some_and(is_of);
        if over {
            status.error = None;
        }
        over
    });
}

fn refusal_of(topic: &Name) -> String {
    format!("it refuses the subscription of {topic}: ")
}

fn is_topic(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
