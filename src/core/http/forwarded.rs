//! What the gateway tells a backend about where a request came from, and what it believes of what
//! others say about that. Peers are strangers unless the listener's `trusted_proxies` names them.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::base::addr::{Networks, unmapped};
use crate::base::header_list::items;
use crate::base::session_id::SessionId;

/// The request's id, on every hop the same.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The session's id, for the backend.
pub static SESSILE_SESSION: HeaderName = HeaderName::from_static("sessile-session");

/// Who the request is from, for the backend.
pub static SESSILE_SUBJECT: HeaderName = HeaderName::from_static("sessile-subject");

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longest request id that is taken over.
const REQUEST_ID_MAX: usize = 128;

/// What is known about a request that is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'r> {
    /// Who connected, after a PROXY header has been heard; `None` behind a unix socket. It is the
    /// last hop, not what `client_address` finds.
    pub peer: Option<IpAddr>,
    /// Whether that peer is one whose forwarding fields are believed.
    pub trusted: bool,
    /// `http` or `https`, as the listener speaks.
    pub scheme: &'r str,
    /// The host that the client asked for, with its port; empty if it named none.
    pub host: &'r str,
    /// Set unless a trusted peer brought one.
    pub request_id: &'r str,
    /// Set on upgrades.
    pub session: Option<SessionId>,
    /// Whether the backend wants `Forwarded` (RFC 7239) too.
    pub rfc7239: bool,
}

/// Replaces what a stranger says about where a request came from, or adds this hop to what a
/// trusted peer says. `Sessile-*` is the gateway's own, whoever sends it.
pub fn forward(headers: &mut HeaderMap, hop: &Forwarding<'_>) {
    remove_matching(headers, |name| begins(name, "sessile-"));
    if !hop.trusted {
        remove_matching(headers, |name| {
            begins(name, "x-forwarded-")
                || ["forwarded", "x-real-ip", "x-request-id"]
                    .iter()
                    .any(|known| same(name, known))
        });
    }
    if let Some(peer) = hop.peer {
        append_to_list(headers, &X_FORWARDED_FOR, &unmapped(peer).to_string());
    }
    set_if_absent(headers, &X_FORWARDED_PROTO, hop.scheme);
    if !hop.host.is_empty() {
        set_if_absent(headers, &X_FORWARDED_HOST, hop.host);
    }
    if hop.rfc7239 {
        append_to_list(headers, &FORWARDED, &forwarded_element(hop));
    }
    if request_id(headers).is_none() {
        set(headers, &X_REQUEST_ID, hop.request_id);
    }
    if let Some(session) = hop.session {
        set(headers, &SESSILE_SESSION, &session.to_string());
    }
}

/// Takes away what a client sends under a name that the gateway speaks by, however it is spelt.
pub fn remove_alike(headers: &mut HeaderMap, name: &HeaderName) {
    remove_matching(headers, |found| {
        let bytes = name
            .as_str()
            .bytes()
            .map(|byte| if byte == b'_' { b'-' } else { byte });
        let known: Vec<u8> = bytes.collect();
        same_bytes(found.as_bytes(), &known)
    });
}

/// The request id in `headers`, if there is one that can be taken over: up to 128 visible ASCII
/// characters. Only a trusted peer's means anything.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(&X_REQUEST_ID).into_iter();
    let id = lines.next()?.to_str().ok()?;
    let fits = (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    (fits && lines.next().is_none()).then_some(id)
}

/// The client's address: the peer's own, unless it is trusted; then the rightmost address in
/// `X-Forwarded-For` that is not trusted in turn. Where that list ends, or holds something that is
/// no address, the last trusted one is as far as can be seen.
pub fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: &Networks) -> IpAddr {
    let mut client = unmapped(peer);
    if trusted.is_empty() {
        return client;
    }
    let mut hops = items(headers, &X_FORWARDED_FOR).rev().map(address);
    while trusted.contains(client) {
        let Some(Some(hop)) = hops.next() else { break };
        client = hop;
    }
    client
}

/// `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]`, and the first and the last with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| bracketed().map(IpAddr::V6))
        .map(unmapped)
}

/// This hop as RFC 7239 section 4 writes it. Our own side (`by`) is nobody's business.
fn forwarded_element(hop: &Forwarding<'_>) -> String {
    let mut element = String::from("for=");
    let written = match hop.peer.map(unmapped) {
        Some(IpAddr::V4(v4)) => write!(element, "{v4}"),
        Some(IpAddr::V6(v6)) => write!(element, "\"[{v6}]\""),
        None => write!(element, "unknown"),
    };
    written.expect("a String takes everything");
    element.push_str(";proto=");
    element.push_str(hop.scheme);
    if !hop.host.is_empty() {
        element.push_str(";host=\"");
        for letter in hop.host.chars() {
            if matches!(letter, '"' | '\\') {
                element.push('\\');
            }
            element.push(letter);
        }
        element.push('"');
    }
    element
}

/// Puts `element` behind what the list holds, and several lines into one.
fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let mut list: Vec<&str> = items(headers, name).collect();
    list.push(element);
    let list = list.join(", ");
    set(headers, name, &list);
}

fn set_if_absent(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if !headers.contains_key(name) {
        set(headers, name, value);
    }
}

/// A value that cannot stand in a header is left out, and with it whatever stood there.
fn set(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

fn remove_matching(headers: &mut HeaderMap, matches: impl Fn(&str) -> bool) {
    let names = headers.keys().filter(|name| matches(name.as_str()));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// `name` begins with `prefix`, `_` counting as `-`: CGI and WSGI make both the same variable, so
/// `Sessile_Subject` would be believed as `Sessile-Subject` is.
fn begins(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && same_bytes(&name.as_bytes()[..prefix.len()], prefix.as_bytes())
}

fn same(name: &str, known: &str) -> bool {
    same_bytes(name.as_bytes(), known.as_bytes())
}

fn same_bytes(name: &[u8], known: &[u8]) -> bool {
    let alike = |(name, known): (&u8, &u8)| name == known || (*name == b'_' && *known == b'-');
    name.len() == known.len() && name.iter().zip(known).all(alike)
}

#[cfg(test)]
mod tests;
