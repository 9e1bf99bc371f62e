//! Opens sockets and certificates of listeners and of the admin API.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::Context;

use crate::admin;
use crate::admin::api_socket::ApiSocket;
use crate::base::names::ListenerName;
use crate::config::snapshot::{Admin, Listener, ListenerTls, Publish, Snapshot, TlsRecords};
use crate::control::certs;
use crate::control::ticket_keys::{HandedKeys, TicketKeyStore, TicketKeysError};
use crate::io::net::listener::{self, Inheritance, ListenOptions, Owner};
use crate::io::tls::challenges::Challenges;
use crate::io::tls::client;
use crate::io::tls::server::{ClientAuthorities, Resolver, ServerTls, ServerTlsSettings};
use crate::proxy::worker::ListenerContext;
use crate::publish;
use crate::telemetry::metrics::{ListenerMetrics, Metrics};

/// What certificates and tickets of the admin API are named by; `/` is in no listener's name.
const ADMIN: &str = "/admin";
/// The same for the publishing API.
const PUBLISH: &str = "/publish";

/// A listener as its connections see it, its sockets, and its certificates if TLS ends there.
type OpenListener = (
    Arc<ListenerContext>,
    Vec<listener::Bound>,
    Option<Arc<Resolver>>,
);

/// Everything that clients and operators connect to.
pub(super) struct Opened {
    pub(super) contexts: Vec<Arc<ListenerContext>>,
    pub(super) sockets: Vec<(usize, listener::Bound)>,
    pub(super) certificates: Vec<(ListenerName, ListenerTls, Arc<Resolver>)>,
    /// Second handles to all sockets, for the next process.
    pub(super) shares: Vec<(Owner, io::Result<listener::Bound>)>,
    pub(super) admin: admin::server::Bound,
    /// Where services publish messages.
    pub(super) publish: Option<ApiSocket>,
}

/// Opens all listeners, then the admin API.
pub(super) fn open_all(
    snapshot: &Snapshot,
    keys: (&TicketKeyStore, &Arc<Challenges>),
    metrics: &Arc<Metrics>,
    inheritance: &mut Inheritance,
) -> anyhow::Result<Opened> {
    let records = snapshot.node.tls_records;
    let (mut contexts, mut sockets) = (Vec::new(), Vec::new());
    let (mut certificates, mut shares) = (Vec::new(), Vec::new());
    for (place, config) in snapshot.listeners.iter().enumerate() {
        let opened = open_listener(config, records, metrics, keys, inheritance)?;
        let (context, bound, resolver) = opened;
        let owner = Owner::Listener(config.name.clone());
        let share = |socket: &listener::Bound| (owner.clone(), socket.share());
        shares.extend(bound.iter().map(share));
        contexts.push(context);
        sockets.extend(bound.into_iter().map(|socket| (place, socket)));
        let resolver = config.tls.clone().zip(resolver);
        let owned = |(tls, resolver)| (config.name.clone(), tls, resolver);
        certificates.extend(resolver.map(owned));
    }
    let opened = open_admin(&snapshot.admin, records, keys.0, inheritance);
    let (admin, resolver) = opened.context("admin API")?;
    let resolver = snapshot.admin.tls.clone().zip(resolver);
    certificates.extend(resolver.map(|(tls, resolver)| ("admin".into(), tls, resolver)));
    shares.push((Owner::Admin, admin.share()));
    let opened = open_publish(snapshot.publish.as_ref(), records, keys.0, inheritance);
    let (publish, resolver) = opened.context("publishing API")?;
    let tls = snapshot
        .publish
        .as_ref()
        .and_then(|publish| publish.tls.clone());
    let resolver = tls.zip(resolver);
    certificates.extend(resolver.map(|(tls, resolver)| ("publish".into(), tls, resolver)));
    shares.extend(publish.iter().map(|bound| (Owner::Publish, bound.share())));
    Ok(Opened {
        contexts,
        sockets,
        certificates,
        shares,
        admin,
        publish,
    })
}

fn open_listener(
    config: &Listener,
    records: TlsRecords,
    metrics: &Arc<Metrics>,
    (ticket_keys, challenges): (&TicketKeyStore, &Arc<Challenges>),
    inheritance: &mut Inheritance,
) -> anyhow::Result<OpenListener> {
    let name = &config.name;
    let options = ListenOptions {
        backlog: config.backlog,
        reuse_port: config.reuse_port,
        keepalive: config.tcp_keepalive,
        mode: config.socket_mode,
    };
    let owner = Owner::Listener(name.clone());
    let bound = listener::bind_all(&config.listen, options, &owner, inheritance)
        .with_context(|| format!("listener `{name}`"))?;
    let tls = config.tls.as_ref();
    let opened = tls.map(|tls| open_tls(name, tls, records, (ticket_keys, Some(challenges))));
    let opened = opened.transpose();
    let (tls, resolver) = opened
        .with_context(|| format!("listener `{name}`"))?
        .unzip();
    let context = Arc::new(ListenerContext {
        config: config.clone(),
        addresses: bound
            .iter()
            .map(|socket| socket.address().clone())
            .collect(),
        tls,
        open: AtomicUsize::new(0),
        metrics: ListenerMetrics::new(metrics, name),
    });
    Ok((context, bound, resolver))
}

/// What the handshakes of a listener need, and the certificates in them, which can be replaced.
fn open_tls(
    name: &ListenerName,
    settings: &ListenerTls,
    records: TlsRecords,
    (ticket_keys, challenges): (&TicketKeyStore, Option<&Arc<Challenges>>),
) -> anyhow::Result<(Arc<ServerTls>, Arc<Resolver>)> {
    let resolver = certs::open(name, settings)?;
    let clients = match &settings.clients {
        Some((ca, required)) => Some(ClientAuthorities {
            roots: client::read_roots(ca)?,
            required: *required,
        }),
        None => None,
    };
    let tls = ServerTlsSettings {
        listener: name.as_str(),
        minimum: settings.minimum,
        clients,
        authorities: settings.client_authorities,
        ticket_keys: ticket_keys.of(&settings.ticket_keys),
        records,
        challenges: challenges.map(Arc::clone),
    };
    let tls = ServerTls::new(&resolver, tls)?;
    Ok((Arc::new(tls), resolver))
}

/// Opens the ticket keys of all listeners and of the admin API.
pub(super) fn open_ticket_keys(
    snapshot: &Snapshot,
    handed: Option<HandedKeys>,
) -> Result<TicketKeyStore, TicketKeysError> {
    let listeners = snapshot.listeners.iter().filter_map(|one| one.tls.as_ref());
    let publish = snapshot
        .publish
        .iter()
        .filter_map(|publish| publish.tls.as_ref());
    let all = listeners.chain(&snapshot.admin.tls).chain(publish);
    TicketKeyStore::open(all.map(|tls| &tls.ticket_keys), handed)
}

fn open_admin(
    admin: &Admin,
    records: TlsRecords,
    ticket_keys: &TicketKeyStore,
    inheritance: &mut Inheritance,
) -> anyhow::Result<(admin::server::Bound, Option<Arc<Resolver>>)> {
    let tls = admin.tls.as_ref();
    let opened = tls.map(|tls| open_tls(&ADMIN.into(), tls, records, (ticket_keys, None)));
    let (tls, resolver) = opened.transpose()?.unzip();
    Ok((admin::server::bind(admin, tls, inheritance)?, resolver))
}

/// The publishing API, if there is one, and its certificates, if TLS ends there.
type OpenPublish = (Option<ApiSocket>, Option<Arc<Resolver>>);

fn open_publish(
    settings: Option<&Publish>,
    records: TlsRecords,
    ticket_keys: &TicketKeyStore,
    inheritance: &mut Inheritance,
) -> anyhow::Result<OpenPublish> {
    let Some(settings) = settings else {
        return Ok((None, None));
    };
    let tls = settings.tls.as_ref();
    let opened = tls.map(|tls| open_tls(&PUBLISH.into(), tls, records, (ticket_keys, None)));
    let (tls, resolver) = opened.transpose()?.unzip();
    Ok((Some(publish::bind(settings, tls, inheritance)?), resolver))
}
