//! `[sources]`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;

use crate::base::secret::Secret;
use crate::config::broker_name::BrokerName;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::model::{self, Model};
use crate::config::protect::Protect;
use crate::config::snapshot::{Dns, Etcd, ServiceTls, Sources};
use crate::config::validate::scope::Scope;
use crate::config::validate::service;
use crate::config::validate::values::{secret_text, text_without_secrets};

const WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// Entries of `document_broker_names`.
const BROKER_NAMES_MAX: usize = 256;
const DNS_SERVERS_MAX: usize = 16;
const DNS_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Between two lookups of a name.
const TTL_MIN: Duration = Duration::from_millis(100);
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const GRACE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn sources(at: &Scope<'_>, model: &Model) -> Option<Sources> {
    let etcd = match &model.sources.etcd {
        Some(etcd) => {
            let at = at.key("etcd");
            if model.node.state_dir.is_none() {
                at.warn(
                    "there is no `state_dir` in [node], so a start while etcd is away would know \
                     the file alone",
                );
            }
            Some(self::etcd(&at, etcd)?)
        }
        None => None,
    };
    let protect = match &model.sources.etcd {
        Some(etcd) => protect(&at.key("etcd").key("protect"), &etcd.protect, model)?,
        None => Vec::new(),
    };
    let dns = dns(&at.key("dns"), &model.sources.dns);
    Some(Sources {
        dns: dns?,
        watch_file: model.sources.file.watch,
        etcd,
        protect,
    })
}

fn dns(at: &Scope<'_>, model: &model::DnsSource) -> Option<Dns> {
    let servers = at.key("servers");
    servers.few(model.servers.len(), DNS_SERVERS_MAX)?;
    let servers = servers.each(&model.servers, |at, text| {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        let address = address.or_else(|_| text.parse::<SocketAddr>());
        address
            .map_err(|_| {
                at.fault_with(
                    format!("`{text}` is no address of a DNS server"),
                    "write `10.0.0.2`, `10.0.0.2:5353` or `[fd00::2]:53`",
                );
            })
            .ok()
    });
    let timeout = at.key("timeout").time(model.timeout, DNS_TIMEOUT_MAX);
    let interval = |key, time| at.key(key).interval(time, TTL_MIN, TTL_MAX);
    let ttl_min = interval("ttl_min", model.ttl_min);
    let ttl_max = interval("ttl_max", model.ttl_max);
    let stale_grace = at.key("stale_grace").time(model.stale_grace, GRACE_MAX);
    let (ttl_min, ttl_max) = (ttl_min?, ttl_max?);
    if ttl_min > ttl_max {
        at.key("ttl_min")
            .fault_with("this is more than `ttl_max`", "write a shorter time");
        return None;
    }
    Some(Dns {
        servers: servers?,
        timeout: timeout?,
        ttl_min,
        ttl_max,
        stale_grace: stale_grace?,
    })
}

fn protect(at: &Scope<'_>, entries: &[String], model: &Model) -> Option<Vec<Protect>> {
    at.each(entries, |at, text| {
        let entry = text.parse::<Protect>();
        match &entry {
            Err(fault) => at.fault_with(fault.to_string(), Protect::HELP),
            Ok(_) => {
                let key = text.parse::<DocumentKey>().ok();
                if let Some(key) = key.filter(|key| !is_in_file(model, key)) {
                    let (kind, name) = (key.kind.noun(), &key.name);
                    at.warn(format!("the file has no {kind} `{name}` to protect"));
                }
            }
        }
        entry.ok()
    })
}

/// Whether the file has an entry for this key; for a backend, whether it has the upstream.
fn is_in_file(model: &Model, key: &DocumentKey) -> bool {
    let name = &*key.name;
    match key.kind {
        Kind::Route => {
            let mut routes = model.routes.iter();
            routes.any(|route| route.name.as_deref() == Some(name))
        }
        Kind::Upstream | Kind::Backend => model.upstreams.contains_key(name),
        Kind::Authenticator => model.authenticators.contains_key(name),
        Kind::Revocation => model.revocations.contains_key(name),
    }
}

fn etcd(at: &Scope<'_>, model: &model::EtcdSource) -> Option<Etcd> {
    if !cfg!(feature = "etcd") {
        at.fault_with(
            "this build cannot follow etcd",
            "take this table out, or build with `--features etcd`",
        );
        return None;
    }
    let endpoints = endpoints(&at.key("endpoints"), model);
    let prefix = prefix(&at.key("prefix"), &model.prefix);
    let user = user(at, model);
    let tls = match &model.tls {
        Some(tls) => service::tls(&at.key("tls"), tls),
        None => Some(ServiceTls::default()),
    };
    let wait = at.key("timeouts");
    let dial = wait.key("dial").time(model.timeouts.dial, WAIT_MAX);
    let answer = wait.key("answer").time(model.timeouts.answer, WAIT_MAX);
    let silence = wait.key("silence").time(model.timeouts.silence, WAIT_MAX);
    let names = &model.document_broker_names;
    let document_broker_names = document_broker_names(&at.key("document_broker_names"), names);
    let stale_grace = at.key("stale_grace").time(model.stale_grace, GRACE_MAX);
    Some(Etcd {
        endpoints: endpoints?,
        prefix: prefix?.into(),
        user: user?,
        tls: tls?,
        dial: dial?,
        answer: answer?,
        silence: silence?,
        stale_grace: stale_grace?,
        document_files: model
            .document_files
            .iter()
            .map(|path| at.resolve(path))
            .collect(),
        document_broker_names: document_broker_names?,
    })
}

/// What documents may use of the broker: entries that could allow something.
fn document_broker_names(at: &Scope<'_>, entries: &[String]) -> Option<Vec<String>> {
    at.few(entries.len(), BROKER_NAMES_MAX)?;
    at.each(entries, |at, entry| {
        let kind = entry.split_once(':').map(|(kind, _)| kind);
        let known = kind.is_some_and(|kind| BrokerName::KINDS.contains(&kind));
        let starred = entry.trim_end_matches('*');
        if !known || starred.contains('*') || entry.len() - starred.len() > 1 {
            at.fault_with(
                format!("`{entry}` is no name at a broker, and no beginning of one"),
                "write the name as routes do, `nats:chat.{room}`, or `nats:chat.*`",
            );
            return None;
        }
        Some(entry.clone())
    })
}

fn endpoints(at: &Scope<'_>, model: &model::EtcdSource) -> Option<Vec<String>> {
    if model.endpoints.is_empty() {
        if !at.is_explained() {
            at.fault_with(
                "there is no endpoint",
                "add `endpoints = [\"http://127.0.0.1:2379\"]`",
            );
        }
        return None;
    }
    let encrypted = |url: &String| url.starts_with("https://");
    let endpoints = at.each(&model.endpoints, |at, url| {
        let known = url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.port_u16().is_some()
                && matches!(uri.path(), "" | "/")
        });
        if !known {
            at.fault_with(
                format!("`{}` is no endpoint of etcd", text_without_secrets(url)),
                "write `http://10.0.0.1:2379` or `https://etcd-1.example.com:2379`",
            );
        } else if model.tls.is_some() && !encrypted(url) {
            at.fault_with(
                format!(
                    "`{}` is not encrypted, and there is a `tls` table",
                    text_without_secrets(url)
                ),
                "begin it with `https://`, or take `tls` out",
            );
        } else {
            return Some(url.trim_end_matches('/').to_owned());
        }
        None
    })?;
    if model.password.is_some() && !model.endpoints.iter().all(encrypted) {
        let local = |url: &String| {
            let uri = url.parse::<Uri>();
            uri.is_ok_and(|uri| {
                matches!(
                    uri.host(),
                    Some("localhost" | "127.0.0.1" | "[::1]" | "::1")
                )
            })
        };
        if !model
            .endpoints
            .iter()
            .all(|url| encrypted(url) || local(url))
        {
            at.warn("the password would cross the network in the clear");
        }
    }
    Some(endpoints)
}

fn prefix(at: &Scope<'_>, text: &str) -> Option<String> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() || text.chars().any(char::is_control) {
        at.fault_with(
            "this prefix is empty, or holds control characters",
            "write `prefix = \"/sessile\"`",
        );
        return None;
    }
    Some(trimmed.to_owned())
}

fn user(at: &Scope<'_>, model: &model::EtcdSource) -> Option<Option<(String, Secret)>> {
    match (&model.username, &model.password) {
        (Some(name), Some(password)) => {
            let password = secret_text(&at.key("password"), password)?;
            Some(Some((name.clone(), password)))
        }
        (None, None) => Some(None),
        (Some(_), None) => {
            at.missing("password", "password = { file = \"etcd.password\" }");
            None
        }
        (None, Some(_)) => {
            at.missing("username", "username = \"sessile\"");
            None
        }
    }
}
