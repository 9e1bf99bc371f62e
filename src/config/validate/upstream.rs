//! `[upstreams.<name>]`.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::base::names::{BackendId, UpstreamName};
use crate::config::consul_service::ConsulService;
use crate::config::dns_name::DnsName;
use crate::config::kubernetes_service::KubernetesService;
use crate::config::layers::Part;
use crate::config::model::{self, TextOr};
use crate::config::snapshot::{
    BROKER_UPSTREAM, Backend, HeadLimits, Passive, Probe, ProbeKind, ProxyVersion, Upstream,
    UpstreamTls,
};
use crate::config::validate::failover::{PRIORITY_MAX, failover, zone};
use crate::config::validate::listener::{HEADER_BYTES_MAX, HEADER_BYTES_MIN, HEADERS_MAX};
use crate::config::validate::scaling::scaling;
use crate::config::validate::scope::Scope;
use crate::config::validate::syntax::{is_host, is_target, is_token};
use crate::config::validate::{certificates, operations};

/// One client alone never ejects a backend, and at most this many are distinguished.
const CLIENTS: RangeInclusive<u32> = 2..=8;
/// Names in DNS of one upstream.
const DNS_NAMES_MAX: usize = 16;
const WEIGHT_MAX: u32 = 1000;
const ID_LEN_MAX: usize = 255;
const TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// Between two probes of one backend.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const EJECTION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const ATTEMPTS_MAX: u32 = 100;
const STREAK_MAX: u32 = 1000;
const IDLE_CONNECTIONS_MAX: usize = 10_000;

pub(super) fn upstream(at: &Scope<'_>, name: &str, model: &model::Upstream) -> Option<Upstream> {
    if name == BROKER_UPSTREAM {
        at.fault_key(
            "`broker` is the upstream of routes without a backend",
            Some("give this upstream another name".to_owned()),
        );
        return None;
    }
    named(at, name, model)
}

/// The upstream of routes without a backend: it has no members.
pub(super) fn broker(root: &Scope<'_>) -> Option<Upstream> {
    local(&root.key("upstreams").key(BROKER_UPSTREAM), BROKER_UPSTREAM)
}

/// What stands for an upstream on routes without one: it has no members.
pub(super) fn local(at: &Scope<'_>, name: &str) -> Option<Upstream> {
    named(at, name, &model::Upstream::default())
}

fn named(at: &Scope<'_>, name: &str, model: &model::Upstream) -> Option<Upstream> {
    let name = at.name(name, Part::Key);
    let bounded_load = match model.bounded_load {
        Some(factor) => at
            .key("bounded_load")
            .within(factor, 1.0..=1000.0)
            .map(Some),
        None => Some(None),
    };
    let backends = backends(&at.key("backends"), &model.backends);
    let dns = dns(&at.key("dns"), &model.dns);
    let consul = service(&at.key("consul"), &model.consul, ConsulService::HELP);
    let kubernetes = service(
        &at.key("kubernetes"),
        &model.kubernetes,
        KubernetesService::HELP,
    );
    let probe = match &model.probe {
        Some(model) => probe(&at.key("probe"), model).map(Some),
        None => Some(None),
    };
    let passive = passive(&at.key("passive"), &model.passive);
    let panic_threshold = at
        .key("panic_threshold")
        .within(model.panic_threshold, 0.0..=1.0);
    let tls = match &model.tls {
        Some(model) => upstream_tls(&at.key("tls"), model).map(Some),
        None => Some(None),
    };
    let connect_timeout = at
        .key("connect_timeout")
        .time(model.connect_timeout, TIME_MAX);
    let attempts = at.key("attempts").within(model.attempts, 1..=ATTEMPTS_MAX);
    let idle_connections = at
        .key("idle_connections")
        .within(model.idle_connections, 0..=IDLE_CONNECTIONS_MAX);
    let response_limits = response_limits(&at.key("response_limits"), &model.response_limits);
    let failover = failover(&at.key("failover"), &model.failover);
    let drain = operations::drain(&at.key("drain"), &model.drain);
    let rebalance = operations::rebalance(&at.key("rebalance"), &model.rebalance);
    let scaling = scaling(&at.key("scaling"), &model.scaling);
    let slow_start = operations::slow_start(&at.key("slow_start"), model.slow_start);
    Some(Upstream {
        name: UpstreamName::from(name?),
        policy: model.policy,
        bounded_load: bounded_load?,
        backends: backends?,
        dns: dns?,
        consul: consul?,
        kubernetes: kubernetes?,
        probe: probe?,
        passive: passive?,
        panic_threshold: panic_threshold?,
        tls: tls?,
        forwarded_header: model.forwarded_header,
        proxy_protocol: model.proxy_protocol.map(|version| match version {
            model::ProxyVersion::V1 => ProxyVersion::V1,
            model::ProxyVersion::V2 => ProxyVersion::V2,
        }),
        connect_timeout: connect_timeout?,
        attempts: attempts?,
        idle_connections: idle_connections?,
        response_limits: response_limits?,
        failover: failover?,
        drain: drain?,
        rebalance: rebalance?,
        scaling: scaling?,
        slow_start: slow_start?,
        sessions_per_backend: (model.sessions_per_backend > 0)
            .then_some(model.sessions_per_backend),
    })
}

fn response_limits(at: &Scope<'_>, model: &model::ResponseLimits) -> Option<HeadLimits> {
    let header_bytes = at
        .key("header_bytes")
        .within(model.header_bytes, HEADER_BYTES_MIN..=HEADER_BYTES_MAX);
    let headers_max = at
        .key("headers_max")
        .within(model.headers_max, 1..=HEADERS_MAX);
    Some(HeadLimits {
        header_bytes: header_bytes?.0.try_into().ok()?,
        headers_max: headers_max?,
    })
}

fn backends(at: &Scope<'_>, models: &[TextOr<model::Backend>]) -> Option<Vec<Backend>> {
    let mut places = HashMap::new();
    let backends = at.each(models, |at, model| match model {
        TextOr::Text(address) => {
            let table = model::Backend {
                address: Some(address.clone()),
                ..model::Backend::default()
            };
            backend(at, at, &table)
        }
        TextOr::Table(table) => backend(at, &at.key("address"), table),
    });
    let mut backends = backends?;
    for (index, backend) in backends.iter().enumerate() {
        if places.insert(backend.id.clone(), index).is_some() {
            at.index(index).fault_with(
                format!("two backends of this upstream are `{}`", backend.id),
                "give one of them an `id` of its own, or take it out",
            );
        }
    }
    backends.sort_by(|one, other| one.id.cmp(&other.id));
    Some(backends)
}

fn dns(at: &Scope<'_>, names: &[String]) -> Option<Vec<DnsName>> {
    if !names.is_empty() && !cfg!(feature = "dns") {
        at.fault_with(
            "this build cannot find backends by DNS",
            "take it out, or build with `--features dns`",
        );
        return None;
    }
    at.few(names.len(), DNS_NAMES_MAX)?;
    let mut parsed = at.each(names, |at, text| {
        let name = text.parse::<DnsName>();
        name.map_err(|fault| at.fault_with(fault.to_string(), DnsName::HELP))
            .ok()
    })?;
    parsed.sort_unstable();
    if parsed.windows(2).any(|pair| pair[0] == pair[1]) {
        at.fault_with("a name stands here twice", "take one of them out");
        return None;
    }
    Some(parsed)
}

/// The service of a registry whose instances are members, if there is one.
fn service<T: FromStr<Err: Display>>(
    at: &Scope<'_>,
    written: &Option<String>,
    help: &str,
) -> Option<Option<T>> {
    let Some(text) = written else {
        return Some(None);
    };
    let service = text.parse::<T>();
    let service = service.map_err(|fault| at.fault_with(fault.to_string(), help));
    service.ok().map(Some)
}

fn backend(at: &Scope<'_>, at_address: &Scope<'_>, model: &model::Backend) -> Option<Backend> {
    let written = at.required("address", &model.address, "address = \"10.0.0.1:9000\"");
    let address = written.and_then(|text| at_address.parse::<BackendAddr>(text));
    let weight = at.key("weight").within(model.weight, 1..=WEIGHT_MAX);
    let zone = zone(&at.key("zone"), model.zone.as_deref());
    let priority = at.key("priority").within(model.priority, 0..=PRIORITY_MAX);
    let id = match &model.id {
        Some(id) => backend_id(&at.key("id"), id),
        None => written.map(|text| BackendId::from(text.as_str())),
    };
    Some(Backend {
        id: id?,
        address: match address? {
            BackendAddr::Unix(path) => {
                let path = at.resolve(path);
                let allowed = at.outside().socket(&path);
                allowed.map_err(|why| at_address.fault(why)).ok()?;
                BackendAddr::Unix(path)
            }
            other => other,
        },
        weight: weight?,
        zone: zone?,
        priority: priority?,
        labels: model.labels.clone(),
        state: model.state,
    })
}

/// Whether a backend's address is one of the gateway's own.
pub(super) fn is_own(at: &Scope<'_>, text: &str, own: &OwnAddresses) -> bool {
    match text.parse::<BackendAddr>() {
        Ok(BackendAddr::Unix(path)) => own.shows_in(&BackendAddr::Unix(at.resolve(path))),
        Ok(address) => own.shows_in(&address),
        Err(_) => false,
    }
}

fn backend_id(at: &Scope<'_>, id: &str) -> Option<BackendId> {
    if !id.is_empty() && id.len() <= ID_LEN_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(BackendId::from(id));
    }
    at.fault(format!(
        "`{id}` is not an id; use 1 to {ID_LEN_MAX} visible ASCII characters"
    ));
    None
}

fn probe(at: &Scope<'_>, model: &model::Probe) -> Option<Probe> {
    let kind = at
        .required("type", &model.kind, "type = \"websocket\"")
        .and_then(|kind| probe_kind(at, *kind, model));
    let interval = at
        .key("interval")
        .interval(model.interval, INTERVAL_MIN, TIME_MAX);
    let timeout = at.key("timeout").time(model.timeout, TIME_MAX);
    let rise = at.key("rise").within(model.rise, 1..=STREAK_MAX);
    let fall = at.key("fall").within(model.fall, 1..=STREAK_MAX);
    Some(Probe {
        kind: kind?,
        interval: interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
    })
}

fn probe_kind(at: &Scope<'_>, kind: model::ProbeType, model: &model::Probe) -> Option<ProbeKind> {
    use model::ProbeType::{Http, Tcp, Websocket};
    let given = [
        ("path", model.path.is_some(), kind != Tcp),
        ("host", model.host.is_some(), kind != Tcp),
        ("status", model.status.is_some(), kind == Http),
        ("body", model.body.is_some(), kind == Http),
        (
            "subprotocol",
            model.subprotocol.is_some(),
            kind == Websocket,
        ),
        ("send", model.send.is_some(), kind == Websocket),
        ("expect", model.expect.is_some(), kind == Websocket),
    ];
    let mut fits = true;
    for (key, _, _) in given
        .iter()
        .filter(|(_, given, allowed)| *given && !allowed)
    {
        let what = match kind {
            Tcp => "tcp",
            Http => "http",
            Websocket => "websocket",
        };
        at.key(key)
            .fault_key(format!("a probe of type `{what}` has no `{key}`"), None);
        fits = false;
    }
    let path = model.path.clone().unwrap_or_else(|| "/".to_owned());
    if !is_target(&path) {
        at.key("path")
            .fault(format!("`{path}` is not a path; write `/healthz`"));
        fits = false;
    }
    let host = model.host.clone();
    if let Some(host) = host.as_ref().filter(|host| !is_host(host)) {
        at.key("host").fault(format!("`{host}` is not a host"));
        fits = false;
    }
    let subprotocol = model.subprotocol.clone();
    if let Some(name) = subprotocol.as_ref().filter(|name| !is_token(name)) {
        at.key("subprotocol")
            .fault(format!("`{name}` is not a subprotocol's name"));
        fits = false;
    }
    fits.then_some(match kind {
        Tcp => ProbeKind::Tcp,
        Http => ProbeKind::Http {
            path: path.into(),
            host,
            status: match &model.status {
                Some(ranges) => ranges.iter().map(|range| (range.0, range.1)).collect(),
                None => vec![(200, 299)],
            },
            body: model.body.clone(),
        },
        Websocket => ProbeKind::WebSocket {
            path: path.into(),
            host,
            subprotocol,
            send: model.send.clone(),
            expect: model.expect.clone(),
        },
    })
}

fn passive(at: &Scope<'_>, model: &model::Passive) -> Option<Passive> {
    let ejection = at.key("ejection").time(model.ejection, EJECTION_MAX);
    let ejection_max = at
        .key("ejection_max")
        .time(model.ejection_max, EJECTION_MAX);
    if let (Some(first), Some(longest)) = (ejection, ejection_max)
        && first > longest
    {
        at.key("ejection")
            .fault("the first ejection is longer than `ejection_max`");
    }
    let share = at
        .key("ejected_share_max")
        .within(model.ejected_share_max, 0.0..=1.0);
    let early_close = at.key("early_close").time(model.early_close, TIME_MAX);
    let clients = at.key("clients").within(model.clients, CLIENTS);
    Some(Passive {
        failures: model.failures,
        clients: clients?,
        ejection: ejection?,
        ejection_max: ejection_max?,
        ejected_share_max: share?,
        early_close: early_close?,
    })
}

pub(super) fn upstream_tls(at: &Scope<'_>, model: &model::UpstreamTls) -> Option<UpstreamTls> {
    let mut fits = true;
    let ca = model.ca.as_ref().map(|path| at.resolve(path));
    match &ca {
        Some(path) => fits &= certificates::authorities(&at.key("ca"), path).is_some(),
        None => {
            if let Err(why) = at.outside().system_roots() {
                at.fault(why);
                fits = false;
            }
        }
    }
    let server_name = model.server_name.clone();
    let known = |name: &String| rustls_pki_types::ServerName::try_from(name.as_str()).is_ok();
    if let Some(name) = server_name.as_ref().filter(|name| !known(name)) {
        at.key("server_name")
            .fault(format!("`{name}` is not a server's name"));
        fits = false;
    }
    fits.then_some(UpstreamTls { ca, server_name })
}
