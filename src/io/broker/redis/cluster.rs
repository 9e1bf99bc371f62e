//! A cluster of Redis: each channel belongs to a slot, and each slot to a server (sharded publish
//! and subscribe, Redis 7). One connection to each server that has slots; if one of them is lost,
//! or slots move, all are made anew.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::base::addr::BackendAddr;
use crate::config::snapshot::BrokerServer;
use crate::core::messages::topic::Topic;
use crate::io::broker::drive::run;
use crate::io::broker::redis::session::{Session, channel};
use crate::io::broker::{DriverEnd, NotCarried, Outgoing, Subscriptions};
use crate::io::redis::resp::{Item, NOT_REDIS, command, scan};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;

const SLOTS: usize = 16_384;
const SERVERS_MAX: usize = 1024;
/// Messages that wait for one server.
const QUEUE_MAX: usize = 1024;

/// Which server has each slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// The place of the server in `servers`; `u16::MAX` for none.
    owners: Vec<u16>,
    pub(super) servers: Vec<BrokerServer>,
}

/// A cluster that is connected: one connection for each of its servers.
pub(super) struct Cluster {
    pub(super) slots: Slots,
    pub(super) links: Vec<(Wire, Session)>,
}

/// Asks a server for the map of its cluster.
pub(super) async fn slots(wire: &mut Wire, server: &BrokerServer) -> Result<Slots, Fault> {
    let mut question = BytesMut::new();
    command(&mut question, &[b"CLUSTER", b"SLOTS"]);
    wire.send(&question).await?;
    loop {
        if let Some(answer) = scan(&wire.input)? {
            if let [Item::Error(text), ..] = answer.items[..] {
                return Err(Fault::refused(text));
            }
            let slots = read(&answer.items, server).ok_or(NOT_REDIS)?;
            let end = answer.end;
            wire.input.advance(end);
            return match slots.are_whole() {
                true => Ok(slots),
                false => Err(Fault::Unfit("some slots of the cluster have no server")),
            };
        }
        wire.read_more().await?;
    }
}

/// Reads `[[first, last, [host, port, id, …], …replicas], …]`.
fn read(items: &[Item<'_>], seed: &BrokerServer) -> Option<Slots> {
    let mut items = items.iter();
    let Some(Item::Array(ranges)) = items.next() else {
        return None;
    };
    let mut slots = Slots {
        owners: vec![u16::MAX; SLOTS],
        servers: Vec::new(),
    };
    for _ in 0..*ranges {
        let (Item::Array(parts), Item::Int(first), Item::Int(last), Item::Array(fields)) =
            (items.next()?, items.next()?, items.next()?, items.next()?)
        else {
            return None;
        };
        let (host, Item::Int(port)) = (items.next()?, items.next()?) else {
            return None;
        };
        let address = match host {
            Item::Bulk(b"" | b"?") | Item::Null => with_port(&seed.address, *port)?,
            Item::Bulk(host) => address(std::str::from_utf8(host).ok()?, *port)?,
            _ => return None,
        };
        // The rest of the server's fields, and the replicas.
        let mut left = fields.checked_sub(2)?.checked_add(parts.checked_sub(3)?)?;
        while left > 0 {
            left = left - 1 + follow(items.next()?);
        }
        let known = slots.servers.iter().position(|one| one.address == address);
        let place = known.unwrap_or_else(|| {
            let server = BrokerServer {
                address,
                ..seed.clone()
            };
            slots.servers.push(server);
            slots.servers.len() - 1
        });
        if slots.servers.len() > SERVERS_MAX {
            return None;
        }
        let range = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
        let owner = u16::try_from(place).ok()?;
        slots.owners.get_mut(range)?.fill(owner);
    }
    Some(slots)
}

/// How many items belong to this one.
fn follow(item: &Item<'_>) -> usize {
    match item {
        Item::Array(size) | Item::Push(size) => *size,
        Item::Map(size) => 2 * size,
        _ => 0,
    }
}

fn address(host: &str, port: i64) -> Option<BackendAddr> {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
    .parse()
    .ok()
}

fn with_port(seed: &BackendAddr, port: i64) -> Option<BackendAddr> {
    address(&seed.host(), port)
}

impl Slots {
    /// The server that has this channel.
    fn owner(&self, channel: &str) -> usize {
        self.owners[slot(channel)].into()
    }

    /// Whether each slot has a server.
    fn are_whole(&self) -> bool {
        !self.owners.contains(&u16::MAX)
    }
}

/// The slot of a channel: of what is between its first braces, else of the whole name.
fn slot(channel: &str) -> usize {
    let tagged = channel.split_once('{').and_then(|(_, rest)| {
        let (tag, _) = rest.split_once('}')?;
        (!tag.is_empty()).then_some(tag)
    });
    let mut sum: u16 = 0;
    for byte in tagged.unwrap_or(channel).bytes() {
        sum ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = sum & 0x8000 != 0;
            sum = (sum << 1) ^ if carry { 0x1021 } else { 0 };
        }
    }
    usize::from(sum) % SLOTS
}

/// One server's share of the driver's work.
struct Shard {
    queue: mpsc::Sender<Outgoing>,
    wanted: Arc<Subscriptions>,
}

/// Carries messages over all connections. Returns without a fault when the last publisher is gone.
pub(super) async fn serve(
    end: &mut DriverEnd,
    cluster: Cluster,
    prefix: &str,
) -> Result<(), Fault> {
    let Cluster { slots, links } = cluster;
    let mut tasks = JoinSet::new();
    let mut shards = Vec::new();
    for link in links {
        let (queue, outgoing) = mpsc::channel(QUEUE_MAX);
        let wanted = Arc::new(Subscriptions::default());
        let mut part = DriverEnd {
            outgoing,
            wanted: Arc::clone(&wanted),
            incoming: end.incoming.clone(),
            // Refusals of subscriptions are shown, its own beginning and end are not.
            status: end.status.clone(),
        };
        tasks.spawn(async move { run(&mut part, link).await });
        shards.push(Shard { queue, wanted });
    }
    let shard = |topic: &Topic| {
        let owner = channel(prefix, topic).map_or(0, |channel| slots.owner(&channel));
        &shards[owner]
    };
    let mut changes: watch::Receiver<u64> = end.wanted.watch();
    // What is no name of a channel is refused by whichever connection it comes to.
    let want = |topic: Topic, wanted: bool| shard(&topic).wanted.change(topic, wanted);
    for topic in end.wanted.take_all() {
        want(topic, true);
    }
    loop {
        tokio::select! {
            message = end.outgoing.recv() => {
                let Some(message) = message else {
                    return Ok(());
                };
                pass_on(shard(&message.topic), message);
            }
            // The driver's own end holds the sender.
            _ = changes.changed() => {
                for (topic, wanted) in end.wanted.take_changes() {
                    want(topic, wanted);
                }
            }
            // A connection whose queue is open ends with a fault only.
            Some(ended) = tasks.join_next() => {
                return ended.unwrap_or(Err(Fault::Closed));
            }
        }
    }
}

fn pass_on(shard: &Shard, message: Outgoing) {
    if let Err(refused) = shard.queue.try_send(message) {
        let _ = refused.into_inner().confirm.send(Err(NotCarried::Busy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> BrokerServer {
        BrokerServer {
            address: "10.0.0.1:7000".parse().unwrap(),
            encrypted: true,
            virtual_host: "".into(),
        }
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo{bar}baz"), slot("bar"));
        assert_eq!(slot("foo{}{bar}"), 8363);
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
    }

    #[test]
    fn the_map_of_a_cluster_is_read_with_what_stands_beside() {
        let text = "*3\r\n\
            *4\r\n:0\r\n:5460\r\n\
            *4\r\n$8\r\n10.0.0.1\r\n:7000\r\n$1\r\na\r\n*2\r\n$8\r\nhostname\r\n$1\r\nh\r\n\
            *3\r\n$8\r\n10.0.0.9\r\n:7009\r\n$1\r\nr\r\n\
            *3\r\n:5461\r\n:10922\r\n*3\r\n$-1\r\n:7001\r\n$1\r\nb\r\n\
            *3\r\n:10923\r\n:16382\r\n*3\r\n$2\r\n::\r\n:7002\r\n$1\r\nc\r\n";
        let found = scan(text.as_bytes()).unwrap().unwrap();
        let slots = read(&found.items, &seed()).unwrap();
        let servers = slots.servers.iter().map(|one| one.address.to_string());
        let expected = ["10.0.0.1:7000", "10.0.0.1:7001", "[::]:7002"];
        assert_eq!(servers.collect::<Vec<_>>(), expected);
        assert!(slots.servers.iter().all(|one| one.encrypted));
        let owners = [0, 5460, 5461, 10_923, 16_382, 16_383].map(|slot| slots.owners[slot]);
        assert_eq!(owners, [0, 0, 1, 2, 2, u16::MAX]);
        assert!(!slots.are_whole());
        for bad in [
            "*1\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:16384\r\n*3\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n",
            "*1\r\n*3\r\n:-1\r\n:4\r\n*3\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n",
            "*1\r\n*3\r\n:0\r\n:4\r\n*1\r\n$1\r\na\r\n",
            "*1\r\n*3\r\n:0\r\n:4\r\n*3\r\n$1\r\na\r\n:99999\r\n$1\r\na\r\n",
        ] {
            let found = scan(bad.as_bytes()).unwrap().unwrap();
            assert_eq!(read(&found.items, &seed()), None, "{bad}");
        }
    }
}
