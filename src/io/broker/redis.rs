//! Redis publish and subscribe in RESP3 (Redis 6 and newer), over one connection, or over one to
//! each server of a cluster.

mod cluster;
pub(super) mod log;
mod session;

use std::sync::Arc;

use crate::config::snapshot::{Broker, BrokerServer, SignIn};
use crate::io::broker::DriverEnd;
use crate::io::broker::drive::run;
use crate::io::broker::reconnect::{BrokerClient, keep_connected};
use crate::io::broker::redis::cluster::Cluster;
use crate::io::broker::redis::session::Session;
use crate::io::redis::hello::hello;
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
        let sign_in = match &self.settings.sign_in {
            SignIn::Password(user, password) => Some((user.as_str(), password)),
            SignIn::Open | SignIn::Token(_) => None,
        };
        let is_cluster = hello(&mut wire, &self.node, sign_in).await?;
        Ok((wire, is_cluster))
    }
}
