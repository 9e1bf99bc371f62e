//! Forwarding fields: those that the gateway sends to a backend, and which of a peer's it trusts.
//! Only peers in the listener's `trusted_proxies` are trusted.

mod hops;

use std::net::IpAddr;

use http::header::{FORWARDED, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use crate::base::addr::{Networks, unmapped};
use crate::base::header_list::items;
use crate::base::header_name::{begins_alike, remove_where};
use crate::base::session_id::SessionId;
use crate::config::untrusted::{UntrustedHeaders, is_own};
use hops::{Hop, X_FORWARDED_FOR, X_FORWARDED_PROTO, hops};

pub use hops::MalformedForwarded;

/// The request's id, on every hop the same.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The session's id, for the backend.
pub static SESSILE_SESSION: HeaderName = HeaderName::from_static("sessile-session");
/// Groups that a backend puts its session in, in its 101.
pub static SESSILE_GROUPS: HeaderName = HeaderName::from_static("sessile-groups");

/// Who the request is from, for the backend.
pub static SESSILE_SUBJECT: HeaderName = HeaderName::from_static("sessile-subject");

static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longest request id that is taken over.
const REQUEST_ID_MAX: usize = 128;

/// The origin of a forwarded request.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'r> {
    /// Who connected, after a PROXY header has been heard; `None` behind a unix socket. It is the
    /// last hop, not what [`client`] finds.
    pub peer: Option<IpAddr>,
    /// Whether the peer's forwarding fields are trusted.
    pub trusted: bool,
    /// `http` or `https`, as the client speaks.
    pub scheme: &'static str,
    /// Whether the peer speaks TLS.
    pub tls: bool,
    /// What only trusted peers may send.
    pub untrusted: &'r UntrustedHeaders,
    /// The host that the client requested, with its port; empty if it named none.
    pub host: &'r str,
    /// Set unless a trusted peer brought one.
    pub request_id: &'r str,
    /// Set on upgrades.
    pub session: Option<SessionId>,
    /// Whether to send `Forwarded` (RFC 7239) too.
    pub rfc7239: bool,
}

/// Replaces the forwarding fields of an untrusted peer, or appends this hop to those of a trusted
/// one. `Sessile-*` is reserved for the gateway and always removed.
pub fn forward(headers: &mut HeaderMap, hop: &Forwarding<'_>) {
    remove_where(headers, |name| begins_alike(name, "sessile-"));
    let mut known = Vec::new();
    if hop.trusted {
        known = hops(headers).unwrap_or_default();
        if headers.contains_key(&X_FORWARDED_FOR) {
            // The trusted peer maintains `X-Forwarded-For`; `Forwarded` may come from the client.
            headers.remove(FORWARDED);
        }
    } else {
        remove_untrusted(headers, hop.untrusted);
    }
    // Both fields name the same hops, in whichever of them a trusted peer named them.
    let named = known.iter().map_while(|hop| hop.address.map(|_| hop));
    let named: Vec<_> = named.collect();
    if let Some(peer) = hop.peer {
        let own = Hop::of(unmapped(peer));
        let old = headers.contains_key(&X_FORWARDED_FOR);
        let before = named.iter().rev().copied().filter(|_| !old);
        let addresses = before.chain([&own]).filter_map(|hop| hop.address);
        let addresses: SmallVec<[String; 1]> = addresses.map(|one| one.to_string()).collect();
        append_to_list(headers, &X_FORWARDED_FOR, &addresses);
    }
    // The one that the gateway decides by, in place of a list that could be read in two ways.
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static(hop.scheme));
    if !hop.host.is_empty() {
        set_forwarded_host(headers, hop.host);
    }
    if hop.rfc7239 {
        let old = headers.contains_key(FORWARDED);
        let before = named.iter().rev().filter(|_| !old);
        let mut elements: Vec<_> = before.map(|hop| hop.element()).collect();
        elements.push(forwarded_element(hop));
        append_to_list(headers, &FORWARDED, &elements);
    }
    if request_id(headers).is_none() {
        set(headers, &X_REQUEST_ID, hop.request_id);
    }
    if let Some(session) = hop.session {
        let id = HeaderValue::from_bytes(&session.encode());
        headers.insert(&SESSILE_SESSION, id.expect("letters and digits"));
    }
}

/// Removes what only trusted proxies may send.
pub fn remove_untrusted(headers: &mut HeaderMap, untrusted: &UntrustedHeaders) {
    remove_where(headers, |name| is_own(name) || untrusted.contains(name));
}

/// The request id in `headers`, if there is one that can be taken over: up to 128 visible ASCII
/// characters. Only a trusted peer's means anything.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(&X_REQUEST_ID).into_iter();
    let id = lines.next()?.to_str().ok()?;
    let fits = (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    (fits && lines.next().is_none()).then_some(id)
}

/// The client, as far as trusted peers identify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientView {
    /// Its address.
    pub address: IpAddr,
    /// Whether it speaks TLS: to the gateway, or to the first trusted proxy.
    pub secure: bool,
}

impl ClientView {
    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// The client of a request by this peer, whose connection is TLS or not. It is the peer itself,
/// unless that is trusted; then it is the rightmost hop in `X-Forwarded-For` or `Forwarded` that is
/// not trusted in turn. If the list ends, or has an entry that is no address, the last trusted
/// address is the client.
///
/// # Errors
/// When a trusted peer's `Forwarded` cannot be read.
pub fn client(
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: &Networks,
    tls: bool,
) -> Result<ClientView, MalformedForwarded> {
    let mut client = ClientView {
        address: unmapped(peer),
        secure: tls,
    };
    if trusted.is_empty() || !trusted.contains(client.address) {
        return Ok(client);
    }
    for hop in hops(headers)? {
        client.secure = hop.secure.unwrap_or(client.secure);
        let Some(address) = hop.address else { break };
        client.address = address;
        if !trusted.contains(address) {
            break;
        }
    }
    Ok(client)
}

/// This hop as RFC 7239 section 4 writes it. The gateway's own side (`by`) is left out.
fn forwarded_element(hop: &Forwarding<'_>) -> String {
    let mut element = match hop.peer.map(unmapped) {
        Some(peer) => Hop::of(peer).element(),
        None => "for=unknown".to_owned(),
    };
    element.push_str(";proto=");
    element.push_str(if hop.tls { "https" } else { "http" });
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

/// Puts `elements` behind what the list holds, and several lines into one.
fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, elements: &[String]) {
    if let ([one], false) = (elements, headers.contains_key(name)) {
        return set(headers, name, one);
    }
    let list: Vec<&str> = items(headers, name).collect();
    let list = list.into_iter().chain(elements.iter().map(String::as_str));
    let list = list.collect::<Vec<_>>().join(", ");
    set(headers, name, &list);
}

/// Sets `X-Forwarded-Host` where it is absent. Without a copy where `Host` is the same.
fn set_forwarded_host(headers: &mut HeaderMap, host: &str) {
    if headers.contains_key(&X_FORWARDED_HOST) {
        return;
    }
    match headers.get(HOST).filter(|own| *own == host).cloned() {
        Some(own) => drop(headers.insert(&X_FORWARDED_HOST, own)),
        None => set(headers, &X_FORWARDED_HOST, host),
    }
}

/// A value that is invalid in a header is omitted, and any previous value removed.
fn set(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

#[cfg(test)]
mod tests;
