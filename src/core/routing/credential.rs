//! Finds credentials in a request, and removes them from what is forwarded.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::header_name::remove_alike;
use crate::config::snapshot::{Authenticator, CredentialSource};
use crate::core::auth::CredentialFault;
use crate::core::http::{headers, query};
use crate::core::routing::Request;
use crate::core::wire::handshake;

/// What Kubernetes' clients put in front of a token in a subprotocol's name.
const KUBERNETES: &str = "base64url.bearer.authorization.k8s.io.";
/// The marker that they mean by it.
const BEARER: &str = "bearer";

/// A credential that is there, or what is wrong with the way it is.
pub type Found<'r> = Result<Cow<'r, str>, CredentialFault>;

/// The credential of `authenticator` in the first of its sources that has one, and that source.
/// `scheme` is the word in front of it in `Authorization`; one with another word is another's.
pub fn find<'r>(
    authenticator: &'r Authenticator,
    scheme: &str,
    request: &Request<'r>,
) -> Option<(&'r CredentialSource, Found<'r>)> {
    let mut sources = authenticator.from.iter();
    sources.find_map(|source| Some((source, at(source, scheme, request)?)))
}

fn at<'r>(source: &'r CredentialSource, scheme: &str, request: &Request<'r>) -> Option<Found<'r>> {
    match source {
        CredentialSource::Header(name) => in_header(request.headers, name, scheme),
        CredentialSource::Cookie(name) => in_cookies(request.headers, name),
        CredentialSource::Query(name) => in_query(request.query?, name),
        CredentialSource::Subprotocol(marker) if request.websocket => {
            in_subprotocols(request.headers, marker)
        }
        CredentialSource::Subprotocol(_) => None,
    }
}

fn in_header<'r>(headers: &'r HeaderMap, name: &'r HeaderName, scheme: &str) -> Option<Found<'r>> {
    let mut lines = headers::values_alike(headers, name);
    let first = lines.next()?;
    if lines.next().is_some() {
        return Some(Err(CredentialFault::Ambiguous));
    }
    let Ok(value) = first.to_str() else {
        return Some(Err(CredentialFault::Malformed));
    };
    let value = value.trim();
    let (word, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    match (word.eq_ignore_ascii_case(scheme), *name == AUTHORIZATION) {
        (true, _) if rest.is_empty() => Some(Err(CredentialFault::Malformed)),
        (true, _) => Some(Ok(Cow::Borrowed(rest))),
        (false, true) => None,
        (false, false) if value.is_empty() => None,
        (false, false) => Some(Ok(Cow::Borrowed(value))),
    }
}

/// If there are two cookies of one name, some readers take the first and others the last, so they
/// must be equal.
fn in_cookies<'r>(headers: &'r HeaderMap, name: &'r str) -> Option<Found<'r>> {
    let values = headers::cookie_values(headers, name).map(unquoted);
    let mut values = values.filter(|value| !value.is_empty());
    let first = values.next()?;
    if values.any(|other| other != first) {
        return Some(Err(CredentialFault::Ambiguous));
    }
    let text = std::str::from_utf8(first).map(Cow::Borrowed);
    Some(text.map_err(|_| CredentialFault::Malformed))
}

fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    value.strip_suffix(b"\"").unwrap_or(value)
}

fn in_query<'r>(raw: &'r str, name: &'r str) -> Option<Found<'r>> {
    let mut values = query::query_values(raw, name).filter(|value| !value.is_empty());
    let first = values.next()?;
    // One end would read the first, the other the last, or what only it takes for the parameter.
    match values.next().is_some() || query::holds_lookalike(raw, name) {
        true => Some(Err(CredentialFault::Ambiguous)),
        false => Some(Ok(first)),
    }
}

/// `bearer, <token>`, or Kubernetes' `base64url.bearer.authorization.k8s.io.<token in base64url>`.
fn in_subprotocols<'r>(headers: &'r HeaderMap, marker: &str) -> Option<Found<'r>> {
    let mut offered = handshake::subprotocols(headers);
    let mut encoded = None;
    while let Some(name) = offered.next() {
        if name == marker {
            let token = offered.next().filter(|token| *token != marker);
            return Some(token.map(Cow::Borrowed).ok_or(CredentialFault::Malformed));
        }
        if marker == BEARER && encoded.is_none() {
            encoded = name.strip_prefix(KUBERNETES);
        }
    }
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded?.trim_end_matches('='));
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    Some(text.map(Cow::Owned).ok_or(CredentialFault::Malformed))
}

/// Removes subprotocols that are credentials from the offer, for the markers of all authenticators
/// of a route. Returns the subprotocol to answer if the backend selects none: a browser fails a 101
/// without any of its offers, and the marker is one of them. Kubernetes' form has none, so the
/// whole name is answered where nothing else was offered.
pub fn take_subprotocols<'m>(
    headers: &mut HeaderMap,
    markers: impl Iterator<Item = &'m str> + Clone,
) -> Option<HeaderValue> {
    let mut kept = Vec::new();
    let mut answer = None;
    let mut encoded = None;
    let mut offered = handshake::subprotocols(headers);
    while let Some(name) = offered.next() {
        if markers.clone().any(|marker| marker == name) {
            answer = answer.or(Some(name));
            offered.next();
        } else if name.starts_with(KUBERNETES) && markers.clone().any(|marker| marker == BEARER) {
            encoded = encoded.or(Some(name));
        } else {
            kept.push(name);
        }
    }
    drop(offered);
    if answer.is_none() && encoded.is_none() {
        return None;
    }
    let answer = answer.or_else(|| encoded.filter(|_| kept.is_empty()));
    let answer = answer.and_then(|name| HeaderValue::from_str(name).ok());
    let kept = kept.join(", ");
    match HeaderValue::from_str(&kept) {
        Ok(line) if !kept.is_empty() => headers.insert(SEC_WEBSOCKET_PROTOCOL, line),
        _ => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
    answer
}

/// Removes from the headers what a backend must not receive: the whole credential of an
/// authenticator that strips it, and for the others every credential that was not `verified`. A
/// backend that reads another place than the gateway would otherwise trust an unverified
/// credential.
pub fn strip(
    authenticator: &Authenticator,
    scheme: &str,
    verified: Option<&CredentialSource>,
    fields: &mut HeaderMap,
) {
    for source in &authenticator.from {
        if !authenticator.strip && verified == Some(source) {
            continue;
        }
        match source {
            // Words of other schemes are no credential of this authenticator.
            CredentialSource::Header(name)
                if authenticator.strip || in_header(fields, name, scheme).is_some() =>
            {
                remove_alike(fields, name.as_str());
            }
            CredentialSource::Cookie(name) => strip_cookie(fields, name),
            CredentialSource::Header(_)
            | CredentialSource::Query(_)
            | CredentialSource::Subprotocol(_) => {}
        }
    }
}

fn strip_cookie(fields: &mut HeaderMap, name: &str) {
    if headers::cookie_values(fields, name).next().is_none() {
        return;
    }
    let lines: Vec<_> = fields.get_all(COOKIE).into_iter().cloned().collect();
    fields.remove(COOKIE);
    for line in lines {
        let kept: Vec<_> = line
            .as_bytes()
            .split(|byte| *byte == b';')
            .filter(|pair| headers::values_in(pair, name).next().is_none())
            .collect();
        let kept = kept.join(&b';');
        if let Ok(line) = HeaderValue::from_bytes(kept.trim_ascii())
            && !line.is_empty()
        {
            fields.append(COOKIE, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::config::snapshot::AuthMethod;

    fn authenticator(from: Vec<CredentialSource>) -> Authenticator {
        Authenticator {
            name: "users".into(),
            from,
            strip: true,
            method: AuthMethod::Anonymous,
        }
    }

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, value.parse().expect("a value"));
        }
        fields
    }

    #[test]
    fn credentials_are_found_where_they_may_be() {
        use CredentialFault::{Ambiguous, Malformed};
        let users = authenticator(vec![
            CredentialSource::Header(AUTHORIZATION),
            CredentialSource::Header(HeaderName::from_static("x-key")),
            CredentialSource::Cookie("sid".to_owned()),
            CredentialSource::Query("t".to_owned()),
            CredentialSource::Subprotocol("bearer".to_owned()),
        ]);
        type Expected<'e> = Option<Result<&'e str, CredentialFault>>;
        let check =
            |lines: &[(&'static str, &str)], query: Option<&str>, expected: Expected<'_>| {
                let headers = fields(lines);
                let request = Request {
                    method: &Method::GET,
                    host: "a",
                    path: "/",
                    query,
                    headers: &headers,
                    websocket: true,
                    tls: false,
                };
                let found = find(&users, "Bearer", &request);
                let found = found
                    .as_ref()
                    .map(|(_, found)| found.as_deref().map_err(|fault| *fault));
                assert_eq!(found, expected, "{lines:?} {query:?}");
            };
        check(&[], None, None);
        check(&[("authorization", "Bearer abc")], None, Some(Ok("abc")));
        check(&[("authorization", "bearer  abc ")], None, Some(Ok("abc")));
        check(&[("authorization", "Bearer")], None, Some(Err(Malformed)));
        check(&[("authorization", "Basic abc")], None, None);
        check(&[("authorization", "abc")], None, None);
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        check(&twice, None, Some(Err(Ambiguous)));
        check(&[("x-key", "abc")], None, Some(Ok("abc")));
        check(&[("x-key", "Bearer abc")], None, Some(Ok("abc")));
        check(&[("cookie", "a=1; sid=\"abc\"")], None, Some(Ok("abc")));
        check(&[("cookie", "sid=")], Some("t=x"), Some(Ok("x")));
        check(&[("cookie", "sid=a; sid=a")], None, Some(Ok("a")));
        for twice in [
            "sid=a; sid=b",
            "sid=a; sid =b",
            "x=1,sid=a; sid=b",
            "sid=a;sid=\"b",
        ] {
            check(&[("cookie", twice)], None, Some(Err(Ambiguous)));
        }
        let lines = [("cookie", "sid=a"), ("cookie", "c=1; sid=b")];
        check(&lines, None, Some(Err(Ambiguous)));
        check(&[("x-key", "a"), ("x_key", "b")], None, Some(Ok("a")));
        check(&[], Some("a=1&t=a%62c"), Some(Ok("abc")));
        for twice in ["t=a&t=b", "t=a&T=b", "t=a;t=b"] {
            check(&[], Some(twice), Some(Err(Ambiguous)));
        }
        check(&[], Some("t=&T=b&t[]=c"), None);
        let offers = |offer: &str, expected: Expected<'_>| {
            check(&[("sec-websocket-protocol", offer)], None, expected);
        };
        offers("chat, bearer, abc", Some(Ok("abc")));
        offers("bearer", Some(Err(Malformed)));
        offers("chat", None);
        offers(&format!("{KUBERNETES}YWJj, chat"), Some(Ok("abc")));
        offers(&format!("{KUBERNETES}YWI"), Some(Ok("ab")));
        offers(&format!("{KUBERNETES}?"), Some(Err(Malformed)));
        check(
            &[("authorization", "Bearer a"), ("cookie", "sid=b")],
            Some("t=c"),
            Some(Ok("a")),
        );
    }

    #[test]
    fn i7_no_backend_sees_a_token_among_subprotocols() {
        let check = |offer: &str, left: Option<&str>, answer: Option<&str>| {
            let mut headers = fields(&[("sec-websocket-protocol", offer)]);
            let answered = take_subprotocols(&mut headers, ["bearer"].into_iter());
            let answered = answered.as_ref().map(|value| value.to_str().expect("text"));
            let kept = headers.get(SEC_WEBSOCKET_PROTOCOL);
            let kept = kept.map(|value| value.to_str().expect("text"));
            assert_eq!((kept, answered), (left, answer), "{offer}");
        };
        let k8s = "base64url.bearer.authorization.k8s.io.YWJj";
        check("bearer, abc", None, Some("bearer"));
        check("chat,bearer,abc,v2", Some("chat, v2"), Some("bearer"));
        check("bearer, abc, bearer, def", None, Some("bearer"));
        check("bearer", None, Some("bearer"));
        check(k8s, None, Some(k8s));
        check(
            &format!("{k8s}, v4.channel.k8s.io"),
            Some("v4.channel.k8s.io"),
            None,
        );
        check(&format!("bearer, x, {k8s}"), None, Some("bearer"));
        check("chat", Some("chat"), None);
    }

    #[test]
    fn what_is_stripped_is_gone_and_the_rest_stays() {
        let users = authenticator(vec![
            CredentialSource::Header(AUTHORIZATION),
            CredentialSource::Cookie("sid".to_owned()),
        ]);
        let mut headers = fields(&[
            ("authorization", "Bearer a"),
            ("cookie", "a=1; sid=x; b=2"),
            ("cookie", "sid=y"),
            ("x", "1"),
        ]);
        strip(&users, "Bearer", None, &mut headers);
        assert_eq!(headers, fields(&[("cookie", "a=1; b=2"), ("x", "1")]));
    }

    #[test]
    fn only_the_verified_credential_goes_on() {
        let mut users = authenticator(vec![
            CredentialSource::Header(AUTHORIZATION),
            CredentialSource::Cookie("sid".to_owned()),
        ]);
        users.strip = false;
        let sent = fields(&[("authorization", "Bearer a"), ("cookie", "a=1; sid=x")]);
        let left = |verified: Option<usize>, sent: &HeaderMap| {
            let mut headers = sent.clone();
            let verified = verified.map(|place| &users.from[place]);
            strip(&users, "Bearer", verified, &mut headers);
            headers
        };
        let by_header = fields(&[("authorization", "Bearer a"), ("cookie", "a=1")]);
        assert_eq!(left(Some(0), &sent), by_header);
        assert_eq!(left(Some(1), &sent), fields(&[("cookie", "a=1; sid=x")]));
        assert_eq!(left(None, &sent), fields(&[("cookie", "a=1")]));
        // Another scheme is the backend's business.
        let basic = fields(&[("authorization", "Basic a"), ("cookie", "sid=x")]);
        assert_eq!(left(Some(1), &basic), basic);
    }
}
