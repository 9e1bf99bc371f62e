//! Header fields of forwarded messages: removes hop-by-hop fields, applies the operator's changes,
//! reads cookies. Forwarding fields are in `forwarded`.

use http::header::{
    AUTHORIZATION, CONNECTION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use crate::base::header_list::{has_token, items};
use crate::base::header_name::{alike, is_plain, plain, remove_alike};
use crate::config::snapshot::HeaderEdits;
use crate::config::untrusted;

/// Fields of one connection, whether `Connection` names them or not (RFC 9110 section 7.6.1). The
/// proxy credentials are among them because they are meant for the proxy that requested them.
/// `Trailer` is not: trailers are passed on, so their announcement is too.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that `Connection` cannot take away: with them gone the next hop would see another
/// message, another client or another right to be there than the gateway did. Beside these, every
/// name that begins with one of `END_TO_END_PREFIXES`, and those that the configuration decides by.
const END_TO_END: [&str; 14] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "set-cookie",
    "trailer",
    "vary",
    "x-real-ip",
    "x-request-id",
];
/// Further fields that clients send and HTTP gives a meaning, so that no route can claim them, and
/// no other spelling may replace them.
const STANDARD: [&str; 18] = [
    "date",
    "dnt",
    "expect",
    "from",
    "last-event-id",
    "max-forwards",
    "pragma",
    "priority",
    "proxy",
    "range",
    "referer",
    "save-data",
    "te",
    "traceparent",
    "tracestate",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
];
const STANDARD_PREFIXES: [&str; 5] = ["accept", "access-control-", "content-", "if-", "sec-"];
const END_TO_END_PREFIXES: [&str; 3] = ["x-forwarded-", "sec-websocket-", "sessile-"];

/// Takes off what belongs to the connection that a request or response came by. Of `TE` there
/// stays `trailers`, the only thing in it that the gateway can pass on.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_hop_by_hop_but(headers, |_| false);
}

/// The same, where `Connection` cannot take away fields of these names either.
pub fn strip_hop_by_hop_but(headers: &mut HeaderMap, stays: impl Fn(&str) -> bool) {
    let wants_trailers = has_token(headers, &TE, "trailers");
    headers.remove(TE);
    let named: SmallVec<[HeaderName; 2]> = items(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| {
            headers.contains_key(name) && !is_end_to_end(name.as_str()) && !stays(name.as_str())
        })
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Trailers that say something about the body, though their names are of a family that is kept out.
const DIGESTS: [&str; 2] = ["content-digest", "content-md5"];

/// Takes names out of what `Trailer` announces, and so out of the trailers that are passed on: some
/// servers put trailers among the fields of the head, where these would have been removed or would
/// decide something. `means` is true for names that the configuration uses.
pub fn restrict_trailers(headers: &mut HeaderMap, means: impl Fn(&str) -> bool) {
    if !headers.contains_key(TRAILER) {
        return;
    }
    let kept = items(headers, &TRAILER).filter(|name| {
        let plain = plain(name);
        !means(name) && (DIGESTS.contains(&&*plain) || !is_known(&plain))
    });
    let kept = kept.collect::<Vec<_>>().join(", ");
    headers.remove(TRAILER);
    if let Ok(line) = HeaderValue::from_str(&kept)
        && !line.is_empty()
    {
        headers.insert(TRAILER, line);
    }
}

/// Whether a request or an answer belongs to a login of the connection as a whole: NTLM and
/// Negotiate authenticate that, and not the request (RFC 4559, section 6).
pub fn logs_connection_in(headers: &HeaderMap) -> bool {
    const FIELDS: [HeaderName; 4] = [
        AUTHORIZATION,
        WWW_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
    ];
    let is_scheme = |word: &str| {
        ["ntlm", "negotiate"]
            .iter()
            .any(|one| one.eq_ignore_ascii_case(word))
    };
    let mut lines = FIELDS.iter().flat_map(|name| headers.get_all(name));
    headers.contains_key("persistent-auth")
        || lines.any(|line| {
            let line = String::from_utf8_lossy(line.as_bytes());
            // One line may hold several challenges.
            let mut words = line.split([' ', ',', '\t', '=']);
            words.any(is_scheme)
        })
}

/// Whether HTTP, proxies or the gateway give this name, in its plain form, a meaning.
pub fn is_known(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|known| known.as_str() == name)
        || STANDARD.contains(&name)
        || STANDARD_PREFIXES.iter().any(|one| name.starts_with(one))
        || is_end_to_end(name)
        || untrusted::is_listed(name)
}

fn is_end_to_end(name: &str) -> bool {
    END_TO_END.contains(&name)
        || END_TO_END_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Makes the operator's changes: remove, set, add, in this order. Names that are alike are one.
pub fn apply_edits(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        remove_alike(headers, name.as_str());
    }
    for (name, value) in &edits.set {
        remove_alike(headers, name.as_str());
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}

/// The first cookie of that name (RFC 6265 section 4.2), as it is written; quotes are part of it.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(http::header::COOKIE)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Every value that some reader could take for the cookie of that name, as it is written. Old
/// readers part cookies by commas too (RFC 2965), and most trim names.
pub fn cookie_values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(http::header::COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.flat_map(move |pair| values_in(pair, name))
}

/// The same, between two semicolons.
pub fn values_in<'p>(pair: &'p [u8], name: &'p str) -> impl Iterator<Item = &'p [u8]> {
    let parts = pair.split(|byte| *byte == b',').enumerate();
    let mut from = 0;
    parts.filter_map(move |(place, part)| {
        let start = from;
        from += part.len() + 1;
        let equals = part.iter().position(|byte| *byte == b'=')?;
        let is = part[..equals].trim_ascii() == name.as_bytes();
        // For readers that do not split at commas, the first value extends to the end.
        let end = if place == 0 {
            pair.len()
        } else {
            start + part.len()
        };
        is.then(|| pair[start + equals + 1..end].trim_ascii())
    })
}

/// Values of the fields of this name in all its spellings. Other spellings of a plain name are
/// removed on arrival, so only an unusual name is searched among all fields.
pub fn values_alike<'h>(
    headers: &'h HeaderMap,
    name: &'h HeaderName,
) -> impl Iterator<Item = &'h HeaderValue> {
    let others = (!is_plain(name.as_str())).then(|| {
        let fields = headers.iter();
        let others = fields.filter(move |(found, _)| alike(found.as_str(), name.as_str()));
        others.filter(move |(found, _)| *found != name)
    });
    let others = others.into_iter().flatten().map(|(_, value)| value);
    headers.get_all(name).iter().chain(others)
}

#[cfg(test)]
pub(crate) mod tests;
