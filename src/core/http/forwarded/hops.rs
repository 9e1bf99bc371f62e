//! Previous hops as reported by trusted proxies in `X-Forwarded-For` and `X-Forwarded-Proto` or in
//! `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::base::addr::unmapped;
use crate::base::header_list::items;

pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A trusted peer's `Forwarded` breaks the grammar, so its own part cannot be separated from a
/// stranger's part before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`forwarded` is malformed")]
pub struct MalformedForwarded;

/// One hop, as the proxy behind it saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    /// `None` for what is no address: `unknown`, a name, nonsense.
    pub(super) address: Option<IpAddr>,
    /// Whether it came over TLS, if reported.
    pub(super) secure: Option<bool>,
}

impl Hop {
    /// A hop with a known address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self {
            address: Some(address),
            secure: None,
        }
    }

    /// As RFC 7239, section 4, writes it.
    pub(super) fn element(&self) -> String {
        let mut element = match self.address {
            Some(IpAddr::V4(v4)) => format!("for={v4}"),
            Some(IpAddr::V6(v6)) => format!("for=\"[{v6}]\""),
            None => "for=unknown".to_owned(),
        };
        match self.secure {
            Some(true) => element.push_str(";proto=https"),
            Some(false) => element.push_str(";proto=http"),
            None => {}
        }
        element
    }
}

/// All hops, the nearest first. `Forwarded` is read where there is no `X-Forwarded-For`: a proxy
/// that writes both writes the same, and one that writes the older field may pass on what a
/// stranger put into the newer one.
///
/// # Errors
/// When `Forwarded` is read and breaks the grammar.
pub(super) fn hops(headers: &HeaderMap) -> Result<Vec<Hop>, MalformedForwarded> {
    if headers.contains_key(FORWARDED) && !headers.contains_key(&X_FORWARDED_FOR) {
        return forwarded(headers);
    }
    let schemes: Vec<_> = items(headers, &X_FORWARDED_PROTO).rev().collect();
    let secure = |place: usize| match schemes[..] {
        [] => None,
        // Set once, by the proxy that ends TLS, and passed on.
        [one] => is_secure(one),
        _ => schemes.get(place).and_then(|scheme| is_secure(scheme)),
    };
    let addresses = items(headers, &X_FORWARDED_FOR).rev().map(address);
    let hops = addresses.enumerate().map(|(place, address)| Hop {
        address,
        secure: secure(place),
    });
    let mut hops: Vec<_> = hops.collect();
    if hops.is_empty() {
        // It reports the scheme, but no address.
        let secure = secure(0);
        hops.extend(secure.map(|secure| Hop {
            address: None,
            secure: Some(secure),
        }));
    }
    Ok(hops)
}

fn is_secure(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
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

fn forwarded(headers: &HeaderMap) -> Result<Vec<Hop>, MalformedForwarded> {
    let mut hops = Vec::new();
    for line in headers.get_all(FORWARDED) {
        elements(line.to_str().map_err(|_| MalformedForwarded)?, &mut hops)?;
    }
    hops.reverse();
    Ok(hops)
}

/// The elements of one line, in its order.
fn elements(line: &str, hops: &mut Vec<Hop>) -> Result<(), MalformedForwarded> {
    let mut rest = line.trim();
    let mut element = None;
    while let Some(first) = rest.bytes().next() {
        if matches!(first, b',' | b';') {
            if first == b',' {
                hops.extend(element.take());
            }
            rest = rest[1..].trim_start();
            continue;
        }
        let (name, value, after) = pair(rest).ok_or(MalformedForwarded)?;
        let hop = element.get_or_insert_with(Hop::default);
        if name.eq_ignore_ascii_case("for") {
            hop.address = address(&value);
        } else if name.eq_ignore_ascii_case("proto") {
            hop.secure = is_secure(&value);
        }
        rest = after;
    }
    hops.extend(element);
    Ok(())
}

/// `name=token` or `name="quoted"`, and what follows it up to the next `;` or `,`.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return None;
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            // Addresses with colons have to be quoted, and often are not.
            let end = rest.find([';', ',', '"', ' ', '\t']).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        }
    };
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with([';', ','])).then_some((name, value, rest))
}

fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[place + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Shown = (Option<String>, Option<bool>);

    fn of(line: &str) -> Result<Vec<Shown>, MalformedForwarded> {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, HeaderValue::from_str(line).expect("a value"));
        let hops = hops(&headers)?.into_iter();
        let text = |hop: Hop| (hop.address.map(|address| address.to_string()), hop.secure);
        Ok(hops.map(text).collect())
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let hop = |address: &str, secure| (Some(address.to_owned()), secure);
        let check = |line: &str, expected: &[Shown]| {
            assert_eq!(of(line).as_deref(), Ok(expected), "{line}");
        };
        check("for=192.0.2.43", &[hop("192.0.2.43", None)]);
        check(
            r#"For="[2001:db8:cafe::17]:4711""#,
            &[hop("2001:db8:cafe::17", None)],
        );
        check(
            "for=192.0.2.60;proto=https;by=203.0.113.43",
            &[hop("192.0.2.60", Some(true))],
        );
        check(
            "for=192.0.2.43, for=198.51.100.17;proto=http",
            &[hop("198.51.100.17", Some(false)), hop("192.0.2.43", None)],
        );
        check("for=unknown", &[(None, None)]);
        check(
            "for=_hidden, proto=https",
            &[(None, Some(true)), (None, None)],
        );
        check(" , ,", &[]);
        // A comma inside quotes does not begin another hop.
        check(
            r#"by="a, for=10.0.0.1";for=192.0.2.1"#,
            &[hop("192.0.2.1", None)],
        );
        for broken in [
            "for",
            "for=\"1.1.1.1",
            "for=1.1.1.1 x",
            "=1.1.1.1",
            "f r=1",
            r#"by="\", for=10.0.0.1, "#,
            // A stranger's open quote before what a proxy adds.
            r#"a=", for=192.0.2.1"#,
            r#"a=", for="[2001:db8::1]:80""#,
        ] {
            assert_eq!(of(broken), Err(MalformedForwarded), "{broken}");
        }
    }
}
