//! Opens sockets and certificates of listeners and of the admin API.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::Context;
use rustls::ServerConfig;

use crate::admin;
use crate::base::names::ListenerName;
use crate::config::snapshot::{Admin, Listener, ListenerTls};
use crate::control::certs;
use crate::io::net::listener::{self, Inheritance, ListenOptions, Owner};
use crate::io::tls::client;
use crate::io::tls::server::{self, ClientAuthorities, Resolver};
use crate::proxy::worker::ListenerContext;
use crate::telemetry::metrics::{ListenerMetrics, Metrics};

/// A listener as its connections see it, its sockets, and its certificates if TLS ends there.
type OpenListener = (ListenerContext, Vec<listener::Bound>, Option<Arc<Resolver>>);

pub(super) fn open_listener(
    config: &Listener,
    metrics: &Arc<Metrics>,
    inheritance: &mut Inheritance,
) -> anyhow::Result<OpenListener> {
    let name = &config.name;
    let options = ListenOptions {
        backlog: config.backlog,
        keepalive: config.tcp_keepalive,
        mode: config.socket_mode,
    };
    let owner = Owner::Listener(name.clone());
    let bound = listener::bind_all(&config.listen, options, &owner, inheritance)
        .with_context(|| format!("listener `{name}`"))?;
    let opened = config.tls.as_ref().map(|tls| open_tls(name, tls));
    let opened = opened.transpose();
    let (tls, resolver) = opened
        .with_context(|| format!("listener `{name}`"))?
        .unzip();
    let context = ListenerContext {
        config: config.clone(),
        addresses: bound
            .iter()
            .map(|socket| socket.address().clone())
            .collect(),
        tls,
        open: AtomicUsize::new(0),
        metrics: ListenerMetrics::new(metrics, name),
    };
    Ok((context, bound, resolver))
}

/// What the handshakes of a listener need, and the certificates in them, which can be replaced.
pub(super) fn open_tls(
    name: &ListenerName,
    settings: &ListenerTls,
) -> anyhow::Result<(Arc<ServerConfig>, Arc<Resolver>)> {
    let resolver = certs::open(name, settings)?;
    let clients = match &settings.clients {
        Some((ca, required)) => Some(ClientAuthorities {
            roots: client::read_roots(ca)?,
            required: *required,
        }),
        None => None,
    };
    let config = server::server_config(Arc::clone(&resolver), settings.minimum, clients)?;
    Ok((config, resolver))
}

pub(super) fn open_admin(
    admin: &Admin,
    inheritance: &mut Inheritance,
) -> anyhow::Result<(admin::server::Bound, Option<Arc<Resolver>>)> {
    let opened = admin.tls.as_ref().map(|tls| open_tls(&"admin".into(), tls));
    let (tls, resolver) = opened.transpose()?.unzip();
    Ok((admin::server::bind(admin, tls, inheritance)?, resolver))
}
