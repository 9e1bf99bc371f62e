//! The opening handshake of RFC 6455 as a gateway sees it: whether a request is a valid WebSocket
//! handshake, and whether a backend's answer accepts it (I9). The client's key, subprotocols and
//! extensions go to the backend as they are, so both ends of the gateway share one offer. Version
//! 13 over HTTP/1.1 only; RFC 8441 (HTTP/2) has another handshake.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::base::header_list::{has_token, items, line_items};

/// The only version (RFC 6455 section 4.4), as in `Sec-WebSocket-Version`.
pub const VERSION: &str = "13";

/// Appended to the key before it is hashed (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Sixteen bytes in base64, padding included.
const KEY_LEN: usize = 24;
/// A SHA-1 in base64, padding included.
const ACCEPT_LEN: usize = 28;

/// The kind of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary exchange. It may still carry an `Upgrade` to something else, such as `h2c`, or
    /// one over HTTP/1.0, which has no upgrades (RFC 9110, section 7.8). `Upgrade` is hop-by-hop
    /// and must be removed before the request is forwarded.
    Plain,
    /// A valid WebSocket handshake.
    WebSocket(Upgrade),
    /// An invalid WebSocket handshake, which is not forwarded.
    Refused(UpgradeFault),
}

/// What a client brought to its handshake, kept to judge the backend's answer by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    key: [u8; KEY_LEN],
    subprotocols: Vec<HeaderValue>,
    extensions: Vec<HeaderValue>,
}

/// Why a request for a WebSocket is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeFault {
    /// RFC 6455 section 4.1 point 2.
    #[error("a websocket handshake is a GET")]
    Method,
    /// The typical result of a proxy in front without support for upgrades.
    #[error("`Upgrade: websocket` came without `Connection: upgrade`")]
    NoConnectionOption,
    /// Missing, or not 13.
    #[error("only version 13 of the websocket protocol is spoken")]
    WebSocketVersion,
    /// A field that may occur once is repeated.
    #[error("`{0}` is in the request more than once")]
    Repeated(HeaderName),
    /// Missing, or not sixteen bytes in base64.
    #[error("`sec-websocket-key` is not 16 bytes in base64")]
    Key,
    /// Bytes behind the head would be taken for frames by one end and for a body by the other.
    #[error("a websocket handshake has no body")]
    Body,
}

impl UpgradeFault {
    /// The answer to the client. 426 goes with `Sec-WebSocket-Version: 13` (RFC 6455 section 4.4).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Determines the kind of a request.
pub fn classify(method: &Method, version: Version, headers: &HeaderMap) -> Kind {
    if version != Version::HTTP_11 || !has_token(headers, &UPGRADE, "websocket") {
        return Kind::Plain;
    }
    match upgrade(method, headers) {
        Ok(upgrade) => Kind::WebSocket(upgrade),
        Err(fault) => Kind::Refused(fault),
    }
}

fn upgrade(method: &Method, headers: &HeaderMap) -> Result<Upgrade, UpgradeFault> {
    if method != Method::GET {
        return Err(UpgradeFault::Method);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(UpgradeFault::NoConnectionOption);
    }
    let empty = |length: &HeaderValue| length == "0";
    if headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(empty)
    {
        return Err(UpgradeFault::Body);
    }
    let version = single(headers, &SEC_WEBSOCKET_VERSION)?;
    if version.is_none_or(|version| version != VERSION) {
        return Err(UpgradeFault::WebSocketVersion);
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY)?
        .and_then(|key| <[u8; KEY_LEN]>::try_from(key.as_bytes()).ok())
        .filter(is_key)
        .ok_or(UpgradeFault::Key)?;
    let lines = |name| headers.get_all(name).iter().cloned().collect();
    Ok(Upgrade {
        key,
        subprotocols: lines(SEC_WEBSOCKET_PROTOCOL),
        extensions: lines(SEC_WEBSOCKET_EXTENSIONS),
    })
}

fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, UpgradeFault> {
    let mut lines = headers.get_all(name).into_iter();
    let first = lines.next();
    match lines.next() {
        None => Ok(first),
        Some(_) => Err(UpgradeFault::Repeated(name.clone())),
    }
}

/// Twenty-two characters of base64 and their padding. The four bits of the last character that
/// carry nothing may be anything: the key is hashed as text, and a
/// strict backend can say so itself.
fn is_key(key: &[u8; KEY_LEN]) -> bool {
    let (text, padding) = key.split_at(KEY_LEN - 2);
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    padding == b"==" && text.iter().all(digit)
}

/// The subprotocols that a request offers, in the client's order of preference.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    items(headers, &SEC_WEBSOCKET_PROTOCOL)
}

/// What `Sec-WebSocket-Accept` must be for `key` (RFC 6455 section 4.2.2 point 5.4).
pub fn accept_key(key: &str) -> [u8; ACCEPT_LEN] {
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(GUID);
    let mut text = [0; ACCEPT_LEN];
    BASE64_STANDARD
        .encode_slice(sha1.finish(), &mut text)
        .expect("20 bytes are 28 characters");
    text
}

/// Adds the upgrade fields of a handshake or its answer to `headers`. For a message whose
/// hop-by-hop fields have been stripped.
pub fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// A backend's answer to a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A valid 101: from here on both connections carry frames.
    Granted(Granted),
    /// Any other status: an ordinary response on an ordinary connection.
    Declined,
}

/// What client and backend agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The one the backend chose of those offered.
    pub subprotocol: Option<String>,
    /// Whether permessage-deflate (RFC 7692) is on, so that RSV1 may be set.
    pub compressed: bool,
    /// The lines of `Sec-WebSocket-Extensions`, parameters and all, as the backend wrote them.
    pub extensions: Vec<HeaderValue>,
}

/// Why a 101 is refused (I9).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// HTTP/1.0 switches to nothing.
    #[error("the 101 is not of HTTP/1.1")]
    HttpVersion,
    /// `Upgrade` is not `websocket` alone.
    #[error("the 101 has no `Upgrade: websocket`")]
    Upgrade,
    /// `Connection` lacks the option.
    #[error("the 101 has no `Connection: upgrade`")]
    Connection,
    /// Missing, there twice, or the answer to another key.
    #[error("`sec-websocket-accept` does not match the client's key")]
    Accept,
    /// One that was not offered, or more than one.
    #[error("the backend chose subprotocol `{0}`, which the client did not offer")]
    Subprotocol(String),
    /// One that was not offered, or one twice.
    #[error("the backend uses extension `{0}`, which the client did not offer")]
    Extension(String),
}

impl Upgrade {
    /// The client's `Sec-WebSocket-Key`.
    pub fn key(&self) -> &str {
        std::str::from_utf8(&self.key).expect("base64 is ASCII")
    }

    /// The subprotocols offered, in the client's order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.subprotocols.iter().flat_map(line_items)
    }

    /// The names of the offered extensions; one with several variants is listed several times.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions
            .iter()
            .flat_map(line_items)
            .map(extension_name)
    }
}

/// Judges a backend's answer to the handshake that brought `offer` (RFC 6455 section 4.1, the
/// client's side).
///
/// # Errors
/// When the status is 101 but the rest does not keep what a 101 promises.
pub fn verify_answer(
    offer: &Upgrade,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Answer, AnswerFault> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Answer::Declined);
    }
    if version != Version::HTTP_11 {
        return Err(AnswerFault::HttpVersion);
    }
    let mut protocols = items(headers, &UPGRADE);
    let protocol = protocols.next().unwrap_or_default();
    if !protocol.eq_ignore_ascii_case("websocket") || protocols.next().is_some() {
        return Err(AnswerFault::Upgrade);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(AnswerFault::Connection);
    }
    let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let accept = accepts.next().map(HeaderValue::as_bytes);
    if accept != Some(&accept_key(offer.key())[..]) || accepts.next().is_some() {
        return Err(AnswerFault::Accept);
    }
    let (extensions, compressed) = agreed_extensions(offer, headers)?;
    Ok(Answer::Granted(Granted {
        subprotocol: chosen_subprotocol(offer, headers)?,
        compressed,
        extensions,
    }))
}

fn chosen_subprotocol(offer: &Upgrade, headers: &HeaderMap) -> Result<Option<String>, AnswerFault> {
    let mut lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    // The whole line is the name, so that a list is no choice.
    let chosen = String::from_utf8_lossy(line.as_bytes().trim_ascii()).into_owned();
    if lines.next().is_none() && offer.subprotocols().any(|offered| offered == chosen) {
        Ok(Some(chosen))
    } else {
        Err(AnswerFault::Subprotocol(chosen))
    }
}

fn agreed_extensions(
    offer: &Upgrade,
    headers: &HeaderMap,
) -> Result<(Vec<HeaderValue>, bool), AnswerFault> {
    let lines: Vec<_> = headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .into_iter()
        .cloned()
        .collect();
    let mut agreed = Vec::new();
    for line in &lines {
        let lossy = || String::from_utf8_lossy(line.as_bytes()).into_owned();
        line.to_str().map_err(|_| AnswerFault::Extension(lossy()))?;
        for name in line_items(line).map(extension_name) {
            if agreed.contains(&name) || !offer.extensions().any(|offered| offered == name) {
                return Err(AnswerFault::Extension(name.to_owned()));
            }
            agreed.push(name);
        }
    }
    let compressed = agreed.contains(&"permessage-deflate");
    Ok((lines, compressed))
}

fn extension_name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests;
