//! Model to snapshot: the only validator. It checks everything before it fails, so that an operator
//! sees all faults at once, and it accesses the outside only through `Environment`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::base::addr::OwnAddresses;
use crate::base::names::UpstreamName;
use crate::base::revocation::RevocationOrigin;
use crate::base::source_id::SourceId;
use crate::config::conflict::conflicts;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::documents::Item;
use crate::config::footprint;
use crate::config::layers::Origin;
use crate::config::model::{self, AuthenticatorType, Model, Size, TextOr};
use crate::config::snapshot::{
    self, Admin, Authenticator, BROKER_UPSTREAM, Listener, Publish, Revocations, Route, Snapshot,
};

mod acme;
mod affinity;
mod auth;
mod authenticator;
mod broker;
mod certificates;
mod consul;
mod discovery;
mod document_rights;
mod edits;
mod endpoints;
mod environment;
mod events;
mod expiry;
mod failover;
mod function;
mod guard;
mod jwt;
mod kubernetes;
mod listener;
mod log;
mod methods;
mod node;
mod operations;
mod paths;
mod proxies;
mod publish;
mod revocation;
mod route;
mod scaling;
mod scope;
mod service;
mod session;
mod source;
mod state;
mod static_files;
mod subscribe;
mod syntax;
mod tls;
mod tracing;
mod upstream;
mod values;

use scope::{Check, Scope, all};

pub use environment::{CertificateFault, Environment, FileContent};
pub use revocation::{RevocationFault, read as read_revocation};

/// Checks the whole model. There is a snapshot only if there is no error (and `origin` has none);
/// the diagnostics are in the order of the file. Relative paths are relative to `directory`.
pub fn validate(
    model: &Model,
    origin: &Origin,
    directory: &Path,
    outside: &dyn Environment,
) -> (Option<Snapshot>, Vec<Diagnostic>) {
    let check = Check::new(origin, directory, outside);
    let snapshot = snapshot(&check.root(), model);
    let found = check.into_found();
    let refused = found.iter().any(|one| one.severity == Severity::Error);
    (snapshot.filter(|_| !refused), found)
}

/// Checks a document of this kind and name, in a model that contains only the document and the
/// names that it may refer to. Returns an item only if there is no error.
pub fn document(
    (source, key): (SourceId, &DocumentKey),
    model: &Model,
    origin: &Origin,
    directory: &Path,
    own: &OwnAddresses,
    outside: &dyn Environment,
) -> (Option<Item>, Vec<Diagnostic>) {
    let check = Check::new(origin, directory, outside);
    let item = item(&check.root(), (source, key), model);
    no_own_backends(&check.root(), model, own);
    let found = check.into_found();
    let refused = found.iter().any(|one| one.severity == Severity::Error);
    (item.filter(|_| !refused), found)
}

fn item(root: &Scope<'_>, (source, key): (SourceId, &DocumentKey), model: &Model) -> Option<Item> {
    let name = &*key.name;
    let upstream = || {
        let at = root.key("upstreams").key(name);
        upstream::upstream(&at, name, model.upstreams.get(name)?)
    };
    match key.kind {
        Kind::Upstream => upstream().map(|one| Item::Upstream(Arc::new(one))),
        Kind::Backend => upstream()?.backends.pop().map(Item::Backend),
        Kind::Authenticator => {
            let at = root.key("authenticators").key(name);
            let one = authenticator::authenticator(
                &at,
                name,
                model.authenticators.get(name)?,
                &model.authenticators,
            )?;
            Some(Item::Authenticator(one))
        }
        Kind::Revocation => {
            let (at, model) = (
                root.key("revocations").key(name),
                model.revocations.get(name)?,
            );
            let origin = RevocationOrigin::Source(source);
            let one = revocation::revocation(&at, name, origin, model)?;
            Some(Item::Revocation(Arc::new(one)))
        }
        Kind::Route => {
            let at = root.key("routes").index(0);
            let one = route::route(&at, model.routes.first()?, model)?;
            Some(Item::Route(Arc::new(one)))
        }
    }
}

fn authenticators(root: &Scope<'_>, model: &Model) -> Vec<Option<Authenticator>> {
    let each = model.authenticators.iter();
    each.map(|(name, one)| {
        let at = root.key("authenticators").key(name);
        authenticator::authenticator(&at, name, one, &model.authenticators)
    })
    .collect()
}

fn snapshot(root: &Scope<'_>, model: &Model) -> Option<Snapshot> {
    let node = node::node(&root.key("node"), &model.node);
    let zone = failover::zone(&root.key("node").key("zone"), model.node.zone.as_deref());
    let limits = node::limits(&root.key("node"), &model.node);
    let admin = node::admin(&root.key("admin"), &model.admin);
    let publish = publish::publish(&root.key("publish"), &model.publish);
    let memberships = publish::memberships(&root.key("publish"), &model.publish);
    let log = log::log(&root.key("log"), &model.log);
    let state_dir = model.node.state_dir.is_some() || root.key("node").is_explained();
    let events = events::events(&root.key("events"), &model.events, state_dir);
    let tracing = tracing::tracing(&root.key("tracing"), &model.tracing);
    let shutdown = operations::shutdown(&root.key("shutdown"), &model.shutdown);
    let admission = operations::admission(&root.key("admission"), &model.admission);
    let sources = source::sources(&root.key("sources"), model);
    let broker = broker::optional(&root.key("broker"), model.broker.as_ref());
    let state = state::state(&root.key("state"), &model.state);
    let discovery = discovery::discovery(&root.key("discovery"), &model.discovery);
    let listeners = listeners(root, model);
    let upstreams = upstreams(root, model);
    let functions = function::functions(&root.key("functions"), model);
    let authenticators = authenticators(root, model);
    let revocations = revocations(root, model);
    let routes = routes(root, model);
    warn_of_unused(root, model);
    warn_of_unasked(root, model);
    function::warn_of_unused(root, model);
    consul::asked(root, model);
    kubernetes::asked(root, model);
    state::warn_of_no_store(root, model);
    own_paths(root, model);
    if let (Some(listeners), Some(admin)) = (&listeners, &admin) {
        places(root, model, (listeners, admin, publish.as_ref()));
    }
    let snapshot = Snapshot {
        node: node?,
        zone: zone?,
        limits: limits?,
        admin: admin?,
        publish: publish?,
        memberships: memberships?,
        log: log?,
        events: events?,
        tracing: tracing?,
        shutdown: shutdown?,
        admission: admission?,
        sources: sources?,
        broker: broker?,
        state: state?,
        discovery: discovery?,
        listeners: listeners?,
        authenticators: all(authenticators)?
            .into_iter()
            .map(|one| (one.name.clone(), one))
            .collect(),
        revocations: Arc::new(revocations?),
        functions: functions?,
        upstreams: upstreams?,
        routes: routes?,
    };
    no_own_backends(root, model, &snapshot.own_addresses());
    bounded_tables(root, &snapshot);
    Some(snapshot)
}

fn upstreams(
    root: &Scope<'_>,
    model: &Model,
) -> Option<BTreeMap<UpstreamName, Arc<snapshot::Upstream>>> {
    let written = model.upstreams.iter();
    let mut checked: Vec<_> = written
        .map(|(name, one)| upstream::upstream(&root.key("upstreams").key(name), name, one))
        .collect();
    let is_local = |route: &model::Route| route.upstream.as_deref() == Some(BROKER_UPSTREAM);
    if model.broker.is_some() || model.routes.iter().any(is_local) {
        checked.push(upstream::broker(root));
    }
    let named = |one: snapshot::Upstream| (one.name.clone(), Arc::new(one));
    Some(all(checked)?.into_iter().map(named).collect())
}

/// Reports upstreams whose tables would take too much memory.
fn bounded_tables(root: &Scope<'_>, snapshot: &Snapshot) {
    let tables = footprint::tables_bytes(snapshot.upstreams.values());
    if tables > footprint::TABLE_BYTES_MAX {
        let (asked, most) = (Size(tables), Size(footprint::TABLE_BYTES_MAX));
        root.key("upstreams").fault_with(
            format!("the tables of all upstreams would take {asked} of memory; {most} are allowed"),
            "use smaller weights, or `policy = \"rendezvous\"`, which has no table",
        );
    }
}

/// Reports addresses that are taken, and keys and certificates for which there is no place.
fn places(
    root: &Scope<'_>,
    model: &Model,
    (listeners, admin, publish): (&[Listener], &Admin, Option<&Option<Publish>>),
) {
    let publish = publish.and_then(Option::as_ref);
    listener::addresses(root, listeners, admin, publish);
    if model.sources.etcd.is_some() || root.key("sources").is_explained() {
        return;
    }
    tls::shared_ticket_keys(root, listeners, admin);
    if model.node.state_dir.is_none() {
        let tls = listeners.iter().enumerate();
        let tls = tls.filter_map(|(at, one)| Some((at, one.tls.as_ref()?)));
        acme::kept(root, tls);
    }
}

/// Reports backends that are the gateway itself.
fn no_own_backends(root: &Scope<'_>, model: &Model, own: &OwnAddresses) {
    for (name, upstream) in &model.upstreams {
        let at = root.key("upstreams").key(name).key("backends");
        for (index, backend) in upstream.backends.iter().enumerate() {
            let (at, written) = match backend {
                TextOr::Text(text) => (at.index(index), Some(text)),
                TextOr::Table(table) => (at.index(index).key("address"), table.address.as_ref()),
            };
            if written.is_some_and(|text| upstream::is_own(&at, text, own)) {
                at.fault_with(OWN_BACKEND, OWN_BACKEND_HELP);
            }
        }
    }
}

const OWN_BACKEND: &str = "the gateway itself listens on this address";
const OWN_BACKEND_HELP: &str = "name the address of the service behind the gateway";

fn listeners(root: &Scope<'_>, model: &Model) -> Option<Vec<Listener>> {
    let at = root.key("listeners");
    if model.listeners.is_empty() && !at.is_explained() {
        root.fault_with(
            "there are no listeners, so no client could connect",
            "add [[listeners]] with `name = \"edge\"` and `listen = [\"0.0.0.0:8080\"]`",
        );
    }
    at.distinct(
        "listeners",
        model
            .listeners
            .iter()
            .map(|listener| listener.name.as_deref()),
    );
    at.each(&model.listeners, listener::listener)
}

fn revocations(root: &Scope<'_>, model: &Model) -> Option<Revocations> {
    let read = model.revocations.iter().map(|(name, one)| {
        let at = root.key("revocations").key(name);
        let origin = RevocationOrigin::Source(SourceId::File);
        revocation::revocation(&at, name, origin, one)
    });
    let read = all(read.collect())?.into_iter();
    Some(
        read.map(|one| (Arc::clone(&one.id), Arc::new(one)))
            .collect(),
    )
}

fn routes(root: &Scope<'_>, model: &Model) -> Option<Vec<Arc<Route>>> {
    let at = root.key("routes");
    let kubernetes = model.sources.kubernetes.as_ref();
    let elsewhere = kubernetes.is_some_and(|source| source.gateway.is_some());
    if model.routes.is_empty() && !elsewhere && !at.is_explained() {
        root.warn("there are no routes, so every request would be answered with 404");
    }
    at.distinct(
        "routes",
        model.routes.iter().map(|route| route.name.as_deref()),
    );
    let routes = at.each(&model.routes, |at, route| {
        route::route(at, route, model).map(Arc::new)
    })?;
    for (first, second) in conflicts(&routes) {
        let (first, name) = (&routes[first].name, &routes[second].name);
        at.index(second).key("name").fault_with(
            format!("routes `{first}` and `{name}` match the same requests"),
            "they have a host in common, a path that matches the same and equal conditions; change \
             one of them or take it out",
        );
    }
    paths::warn_of_open_prefixes(&at, model, &routes);
    Some(routes)
}

fn warn_of_unused(root: &Scope<'_>, model: &Model) {
    let routes = model.routes.iter();
    let used: HashSet<&str> = routes
        .filter_map(|route| route.upstream.as_deref())
        .collect();
    for (name, upstream) in &model.upstreams {
        let at = root.key("upstreams").key(name);
        if !used.contains(name.as_str()) && !root.key("routes").is_explained() {
            at.warn(format!("no route leads to upstream `{name}`"));
        }
        let registry = upstream.consul.is_some() || upstream.kubernetes.is_some();
        let found = registry || !upstream.dns.is_empty();
        let empty = upstream.backends.is_empty() && !found;
        if empty && !at.key("backends").is_explained() {
            at.warn(format!("upstream `{name}` has no backends"));
        }
    }
}

/// Client certificates are used only if a listener requests them.
fn warn_of_unasked(root: &Scope<'_>, model: &Model) {
    let mut tls = model.listeners.iter().filter_map(|one| one.tls.as_ref());
    if tls.any(|tls| tls.client_ca.is_some()) || root.key("listeners").is_explained() {
        return;
    }
    for (name, one) in &model.authenticators {
        if one.kind == Some(AuthenticatorType::Mtls) {
            let at = root.key("authenticators").key(name);
            at.warn("no listener has `tls.client_ca`, so no client is asked for a certificate");
        }
    }
}

/// A path at which the gateway itself answers has one meaning.
fn own_paths(root: &Scope<'_>, model: &Model) {
    let mut taken = BTreeMap::new();
    let mut take = |at: Scope<'_>, path: &str, whose: String| {
        let own = paths::own(path).unwrap_or_else(|| path.to_owned());
        if let Some(other) = taken.insert(own, whose) {
            let help = format!("{other} answers there; give this one another path");
            at.fault_with(format!("`{path}` is taken"), help);
        }
    };
    for (name, one) in &model.authenticators {
        if let Some(path) = &one.mint {
            let at = root.key("authenticators").key(name).key("mint");
            take(at, path, format!("`mint` of authenticator `{name}`"));
        }
    }
    for (index, route) in model.routes.iter().enumerate() {
        if let Some(path) = &route.renew {
            let name = route.name.as_deref().unwrap_or_default();
            let at = root.key("routes").index(index).key("renew");
            take(at, path, format!("`renew` of route `{name}`"));
        }
    }
}

#[cfg(test)]
mod tests;
