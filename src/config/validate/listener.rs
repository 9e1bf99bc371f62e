//! `[[listeners]]`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::addr::{ListenAddr, Networks};
use crate::base::names::ListenerName;
use crate::config::layers::Part;
use crate::config::model::{self, Size};
use crate::config::snapshot::{Admin, Listener, ListenerLimits, ListenerTimeouts, Publish};
use crate::config::untrusted::{UntrustedHeaders, is_listed, is_own};
use crate::config::validate::edits;
use crate::config::validate::guard;
use crate::config::validate::proxies;
use crate::config::validate::scope::Scope;
use crate::config::validate::tls::listener_tls;
use crate::config::validate::values::{listen_address, socket_mode};

const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
const KEEPALIVE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// hyper reads into a buffer of at least this size.
pub(super) const HEADER_BYTES_MIN: Size = Size(8 << 10);
pub(super) const HEADER_BYTES_MAX: Size = Size(1 << 20);
pub(super) const HEADERS_MAX: usize = 10_000;
const BACKLOG_MAX: u32 = 65_535;
/// Addresses of all listeners; each is compared with each.
const ADDRESSES_MAX: usize = 1_000;

pub(super) fn listener(at: &Scope<'_>, model: &model::Listener) -> Option<Listener> {
    let name = at
        .required("name", &model.name, "name = \"edge\"")
        .and_then(|name| at.key("name").name(name, Part::Value));
    if model.listen.is_empty() {
        at.missing("listen", "listen = [\"0.0.0.0:8080\"]");
    }
    let listen = at
        .key("listen")
        .each(&model.listen, |at, text| listen_address(at, text));
    let socket_mode = socket_mode(&at.key("socket_mode"), &model.socket_mode);
    let proxy_protocol = match &model.proxy_protocol {
        Some(peers) => proxy_peers(&at.key("proxy_protocol"), peers).map(Some),
        None => Some(None),
    };
    let trusted_proxies = proxies::trusted(&at.key("trusted_proxies"), &model.trusted_proxies);
    let untrusted_headers = untrusted(&at.key("untrusted_headers"), &model.untrusted_headers);
    let addresses = guard::addresses(at, &model.allow, &model.deny);
    let tls = match &model.tls {
        Some(tls) => listener_tls(&at.key("tls"), tls).map(Some),
        None => Some(None),
    };
    let backlog = at.key("backlog").within(model.backlog, 1..=BACKLOG_MAX);
    let tcp_keepalive = match model.tcp_keepalive.0 {
        Some(time) => at
            .key("tcp_keepalive")
            .time(model::Time(time), KEEPALIVE_MAX)
            .map(Some),
        None => Some(None),
    };
    let limits = limits(&at.key("limits"), &model.limits);
    let timeouts = timeouts(&at.key("timeouts"), &model.timeouts);
    Some(Listener {
        name: ListenerName::from(name?),
        listen: listen?,
        socket_mode: socket_mode?,
        proxy_protocol: proxy_protocol?,
        trusted_proxies: trusted_proxies?,
        untrusted_headers: untrusted_headers?,
        addresses: addresses?,
        tls: tls?,
        discovery: model.discovery,
        backlog: backlog?,
        reuse_port: model.reuse_port,
        tcp_keepalive: tcp_keepalive?,
        limits: limits?,
        timeouts: timeouts?,
    })
}

fn untrusted(at: &Scope<'_>, model: &model::UntrustedHeaders) -> Option<UntrustedHeaders> {
    let remove = at.key("remove").each(&model.remove, |at, name: &String| {
        edits::free_header(at, name)
    });
    let keep = at.key("keep").each(&model.keep, |at, name: &String| {
        let name = edits::header_name(at, name)?;
        if is_own(name.as_str()) {
            at.fault_with(
                format!("`{name}` is read of trusted proxies alone"),
                "put those that write it into `trusted_proxies`",
            );
            return None;
        }
        if !is_listed(name.as_str()) {
            at.fault(format!("`{name}` is not removed from anything"));
            return None;
        }
        Some(name)
    });
    Some(UntrustedHeaders {
        remove: remove?,
        keep: keep?,
    })
}

pub(super) fn networks(at: &Scope<'_>, texts: &[String]) -> Option<Networks> {
    let mut networks = Networks::default();
    at.each(texts, |at, text| {
        networks
            .add(text)
            .map_err(|error| at.fault(error.to_string()))
            .ok()
    })?;
    Some(networks)
}

fn proxy_peers(at: &Scope<'_>, model: &model::PeersFrom) -> Option<Networks> {
    if model.from.is_empty() {
        at.missing("from", "from = [\"10.0.0.0/8\"]");
        return None;
    }
    networks(&at.key("from"), &model.from)
}

fn limits(at: &Scope<'_>, model: &model::ListenerLimits) -> Option<ListenerLimits> {
    let header_bytes = at
        .key("header_bytes")
        .within(model.header_bytes, HEADER_BYTES_MIN..=HEADER_BYTES_MAX);
    let headers_max = at
        .key("headers_max")
        .within(model.headers_max, 1..=HEADERS_MAX);
    Some(ListenerLimits {
        header_bytes: header_bytes?.0.try_into().ok()?,
        headers_max: headers_max?,
        connections_max: model.connections_max,
        connections_per_address: model.connections_per_address,
        connects_per_address: model.connects_per_address,
    })
}

fn timeouts(at: &Scope<'_>, model: &model::ListenerTimeouts) -> Option<ListenerTimeouts> {
    let tls_handshake = at
        .key("tls_handshake")
        .time(model.tls_handshake, TIMEOUT_MAX);
    let request_head = at.key("request_head").time(model.request_head, TIMEOUT_MAX);
    let between_requests = at
        .key("between_requests")
        .time(model.between_requests, TIMEOUT_MAX);
    Some(ListenerTimeouts {
        tls_handshake: tls_handshake?,
        request_head: request_head?,
        between_requests: between_requests?,
    })
}

/// Reports addresses that another listener or the admin API has already.
pub(super) fn addresses(
    root: &Scope<'_>,
    listeners: &[Listener],
    admin: &Admin,
    publish: Option<&Publish>,
) {
    let asked: usize = listeners.iter().map(|one| one.listen.len()).sum();
    if asked > ADDRESSES_MAX {
        let message =
            format!("there are {asked} addresses to listen on; use at most {ADDRESSES_MAX}");
        return root.key("listeners").fault(message);
    }
    let mut taken = vec![(&admin.listen, "the admin API".to_owned())];
    if let Some(publish) = publish {
        if collide(&publish.listen, &admin.listen) {
            let message = "the admin API listens on this address already";
            root.key("publish").key("listen").fault(message);
        }
        taken.push((&publish.listen, "the publishing API".to_owned()));
    }
    for (index, listener) in listeners.iter().enumerate() {
        for (place, address) in listener.listen.iter().enumerate() {
            if let Some((_, who)) = taken.iter().find(|(other, _)| collide(address, other)) {
                root.key("listeners")
                    .index(index)
                    .key("listen")
                    .index(place)
                    .fault(format!("{who} listens on this address already"));
            }
            taken.push((address, format!("listener `{}`", listener.name)));
        }
    }
}

fn collide(one: &ListenAddr, other: &ListenAddr) -> bool {
    let all_of = |one: &SocketAddr, other: &SocketAddr| {
        one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4()
    };
    match (one, other) {
        (ListenAddr::Tcp(one), ListenAddr::Tcp(other)) => {
            one.port() != 0
                && one.port() == other.port()
                && (one.ip() == other.ip() || all_of(one, other) || all_of(other, one))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_collide_when_one_socket_would_take_the_others_place() {
        let check = |one: &str, other: &str, expected: bool| {
            let parse = |text: &str| text.parse::<ListenAddr>().expect(text);
            let (one, other) = (parse(one), parse(other));
            assert_eq!(collide(&one, &other), expected, "{one} {other}");
            assert_eq!(collide(&other, &one), expected, "{other} {one}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("[::]:80", "[::1]:80", true);
        check("0.0.0.0:80", "[::]:80", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:0", "127.0.0.1:0", false);
        check("unix:/a", "unix:/a", true);
        check("unix:/a", "127.0.0.1:80", false);
    }
}
