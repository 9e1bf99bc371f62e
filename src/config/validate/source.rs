//! `[sources]`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::secret::Secret;
use crate::config::model::{self, Model};
use crate::config::snapshot::{Dns, Etcd, ServiceTls, Sources};
use crate::config::validate::consul::consul;
use crate::config::validate::document_rights::{document_broker_names, protect};
use crate::config::validate::endpoints::{Endpoints, GRACE_MAX, WAIT_MAX, endpoints};
use crate::config::validate::kubernetes::kubernetes;
use crate::config::validate::scope::Scope;
use crate::config::validate::service;
use crate::config::validate::values::secret_text;

const DNS_SERVERS_MAX: usize = 16;
const DNS_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Between two lookups of a name.
const TTL_MIN: Duration = Duration::from_millis(100);
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn sources(at: &Scope<'_>, model: &Model) -> Option<Sources> {
    let kubernetes = match &model.sources.kubernetes {
        Some(table) => {
            let at = at.key("kubernetes");
            if model.node.state_dir.is_none() {
                at.warn(
                    "there is no `state_dir` in [node], so a start while the API is away would know \
                     the file alone",
                );
            }
            kubernetes(&at, table, model.node.name.as_deref()).map(|one| Some(Box::new(one)))
        }
        None => Some(None),
    };
    let consul = match &model.sources.consul {
        Some(table) => {
            let at = at.key("consul");
            if model.node.state_dir.is_none() {
                at.warn(
                    "there is no `state_dir` in [node], so a start while Consul is away would know \
                     the file alone",
                );
            }
            consul(&at, table).map(|one| Some(Box::new(one)))
        }
        None => Some(None),
    };
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
    let etcd_protects = model.sources.etcd.as_ref().map(|etcd| &etcd.protect);
    let consul_protects = model.sources.consul.as_ref().map(|consul| &consul.protect);
    let cluster = model.sources.kubernetes.as_ref();
    let cluster_protects = cluster.map(|cluster| &cluster.protect);
    let mut protected = Vec::new();
    for (key, entries) in [
        ("kubernetes", cluster_protects),
        ("consul", consul_protects),
        ("etcd", etcd_protects),
    ] {
        if let Some(entries) = entries {
            protected.extend(protect(&at.key(key).key("protect"), entries, model)?);
        }
    }
    let dns = dns(&at.key("dns"), &model.sources.dns);
    Some(Sources {
        dns: dns?,
        watch_file: model.sources.file.watch,
        kubernetes: kubernetes?,
        consul: consul?,
        etcd,
        protect: protected,
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

fn etcd(at: &Scope<'_>, model: &model::EtcdSource) -> Option<Etcd> {
    if !cfg!(feature = "etcd") {
        at.fault_with(
            "this build cannot follow etcd",
            "take this table out, or build with `--features etcd`",
        );
        return None;
    }
    let asked = Endpoints {
        of: "etcd",
        example: "http://127.0.0.1:2379",
        examples: "`http://10.0.0.1:2379` or `https://etcd-1.example.com:2379`",
        has_tls: model.tls.is_some(),
        secret: model.password.as_ref().map(|_| "password"),
    };
    let endpoints = endpoints(&at.key("endpoints"), &model.endpoints, &asked);
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
