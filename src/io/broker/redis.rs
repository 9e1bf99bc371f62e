//! Redis publish and subscribe in RESP3 (Redis 6 and newer), over one connection, or over one to
//! each server of a cluster.

mod cluster;
pub(super) mod log;
mod session;

use std::sync::Arc;

use bytes::{Buf, BytesMut};

use crate::config::snapshot::{Broker, BrokerServer, SignIn};
use crate::io::broker::DriverEnd;
use crate::io::broker::drive::run;
use crate::io::broker::reconnect::{BrokerClient, keep_connected};
use crate::io::broker::redis::cluster::Cluster;
use crate::io::broker::redis::session::Session;
use crate::io::redis::resp::{Found, Item, NOT_REDIS, command, scan};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;

/// Drives a Redis.
pub(super) async fn drive(end: DriverEnd, settings: Broker, node: Arc<str>) {
    let client = Redis {
        settings: settings.clone(),
        node,
    };
    keep_connected(end, settings, client).await;
}

/// Makes connections.
struct Redis {
    settings: Broker,
    node: Arc<str>,
}

/// What is connected.
enum Connected {
    Alone(Wire, Session),
    Cluster(Cluster),
}

impl BrokerClient for Redis {
    type Link = Connected;

    async fn connect(&self, server: &BrokerServer) -> Result<Connected, Fault> {
        let prefix = &self.settings.prefix;
        let (mut wire, is_cluster) = self.sign_in(server).await?;
        if !is_cluster {
            return Ok(Connected::Alone(wire, Session::new(prefix, false)));
        }
        let slots = cluster::slots(&mut wire, server).await?;
        let mut links = Vec::new();
        for server in &slots.servers {
            let (wire, _) = self.sign_in(server).await?;
            links.push((wire, Session::new(prefix, true)));
        }
        Ok(Connected::Cluster(Cluster { slots, links }))
    }

    async fn serve(&self, end: &mut DriverEnd, link: Connected) -> Result<(), Fault> {
        match link {
            Connected::Alone(wire, session) => run(end, (wire, session)).await,
            Connected::Cluster(cluster) => {
                cluster::serve(end, cluster, &self.settings.prefix).await
            }
        }
    }
}

impl Redis {
    /// A connection, and whether its server belongs to a cluster.
    async fn sign_in(&self, server: &BrokerServer) -> Result<(Wire, bool), Fault> {
        let mut wire = Wire::connect(&server.address, self.settings.connect_timeout).await?;
        if server.encrypted {
            wire = wire.secure(&self.settings.tls, &server.address).await?;
        }
        let plain = |letter: char| match letter.is_ascii_graphic() {
            true => letter,
            false => '-',
        };
        let name: String = format!("sessile-{}", self.node)
            .chars()
            .map(plain)
            .collect();
        let mut hello = BytesMut::new();
        match &self.settings.sign_in {
            SignIn::Password(user, password) => {
                let (user, password) = (user.as_bytes(), password.reveal().as_bytes());
                let name = name.as_bytes();
                let words = [
                    b"HELLO",
                    &b"3"[..],
                    b"AUTH",
                    user,
                    password,
                    b"SETNAME",
                    name,
                ];
                command(&mut hello, &words);
            }
            SignIn::Open | SignIn::Token(_) => {
                let words = [b"HELLO", &b"3"[..], b"SETNAME", name.as_bytes()];
                command(&mut hello, &words);
            }
        }
        wire.send(&hello).await?;
        let is_cluster = loop {
            if let Some(answer) = scan(&wire.input)? {
                match answer.items.first() {
                    Some(Item::Map(_)) => {}
                    Some(Item::Error(text)) if is_old(text) => {
                        return Err(Fault::Unfit(
                            "the server does not speak RESP3: it is older than Redis 6",
                        ));
                    }
                    Some(Item::Error(text)) => return Err(Fault::refused(text)),
                    _ => return Err(NOT_REDIS),
                }
                let (end, is_cluster) = (answer.end, is_cluster(&answer));
                wire.input.advance(end);
                break is_cluster;
            }
            wire.read_more().await?;
        };
        Ok((wire, is_cluster))
    }
}

fn is_old(error: &str) -> bool {
    error.starts_with("NOPROTO") || error.starts_with("ERR unknown command")
}

/// Whether the pairs of a greeting hold `mode: cluster`.
fn is_cluster(answer: &Found<'_>) -> bool {
    let mut pairs = answer.items.windows(2);
    pairs.any(|pair| *pair == [Item::Bulk(b"mode"), Item::Bulk(b"cluster")])
}
