//! Query strings: reading a parameter, and cutting secrets out of what is logged (I11). A query is
//! read as browsers write it (application/x-www-form-urlencoded), and never written.

use std::borrow::Cow;

/// Decoded values of every parameter called `name`, in order; `raw_query` is what follows the `?`.
/// `+` is a space, and what does not decode to UTF-8 is replaced by U+FFFD.
pub fn query_values<'q>(raw_query: &'q str, name: &'q str) -> impl Iterator<Item = Cow<'q, str>> {
    form_urlencoded::parse(raw_query.as_bytes())
        .filter(move |(found, _)| found == name)
        .map(|(_, value)| value)
}

/// A segment of a path, decoded; `None` if that is not UTF-8.
pub fn decode_path(segment: &str) -> Option<String> {
    // `+` is itself in a path.
    let name = segment
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let decoded = form_urlencoded::parse(name.as_bytes()).next();
    let decoded = decoded.map_or_else(String::new, |(name, _)| name.into_owned());
    // What is no UTF-8 was replaced by this, and is nothing to compare with.
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

/// Whether servers read a parameter of this decoded name as `name`: in another case, with brackets
/// behind it, with spaces around it, with a dot or a space for `_`, or cut off at a NUL.
pub fn is_alike(found: &str, name: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = char> {
        let end = name.find(['[', '\0']).unwrap_or(name.len());
        let letters = name[..end].trim().chars();
        letters.map(|letter| match letter {
            '.' | ' ' => '_',
            other => other.to_ascii_lowercase(),
        })
    }
    found == name || plain(found).eq(plain(name))
}

/// Whether a query holds something that servers may read as the parameter `name` and the gateway
/// does not: a name that is alike, or a `;` beside it, which some read as `&`.
pub fn holds_lookalike(raw_query: &str, name: &str) -> bool {
    raw_query.split('&').any(|pair| {
        let parted = pair.contains(';');
        let mut names = pair.split(';').map(decoded_name);
        names.any(|found| (parted || found != name) && is_alike(&found, name))
    })
}

/// A query without the parameters of these names, everything else byte for byte; `None` if nothing
/// is left. What stands between two `;` may be a parameter too.
pub fn without(raw_query: &str, cut: impl Fn(&str) -> bool) -> Option<String> {
    let left = raw_query.split('&').filter_map(|pair| {
        if cut(&decoded_name(pair)) {
            return None;
        }
        if !pair.contains(';') {
            return Some(Cow::Borrowed(pair));
        }
        let parts = pair.split(';').filter(|part| !cut(&decoded_name(part)));
        let parts: Vec<_> = parts.collect();
        (!parts.is_empty()).then(|| Cow::Owned(parts.join(";")))
    });
    let left = left.collect::<Vec<_>>().join("&");
    (!left.is_empty()).then_some(left)
}

fn decoded_name(pair: &str) -> Cow<'_, str> {
    let name = form_urlencoded::parse(pair.as_bytes()).next();
    name.map_or(Cow::Borrowed(""), |(name, _)| name)
}

/// Whole names that carry secrets, lower case, without `-` and `_`.
const SECRET_NAMES: [&str; 12] = [
    "assertion",
    "auth",
    "bearer",
    "code",
    "hmac",
    "key",
    "otp",
    "pass",
    "pwd",
    "sid",
    "sig",
    "state",
];
/// Whatever holds one of these carries a secret: `access_token`, `X-Amz-Signature`, `sessionId` …
const SECRET_PARTS: [&str; 10] = [
    "apikey",
    "authorization",
    "credential",
    "jwt",
    "passw",
    "secret",
    "session",
    "signature",
    "ticket",
    "token",
];

/// Path and query as a log may show them. Values of parameters that look like secrets are `***`:
/// by their name, because an operator listed it (`also`), or because they hold a JWT. Segments of
/// the path are masked by the same rules.
pub fn redact_target<'q>(target: &'q str, also: &[String]) -> Cow<'q, str> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let hidden = |segment: &str| hides_secret_segment(segment, also);
    let is_plain = !path.split('/').any(hidden)
        && !query.is_some_and(|query| query.split('&').any(|pair| secret_at(pair, also).is_some()));
    if is_plain {
        return Cow::Borrowed(target);
    }
    let mut shown = String::with_capacity(target.len());
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            shown.push('/');
        }
        shown.push_str(if hidden(segment) { "***" } else { segment });
    }
    if let Some(query) = query {
        push_redacted_query(&mut shown, query, also);
    }
    Cow::Owned(shown)
}

/// Whether a parameter with this name and value may hold a secret, by the rules of
/// [`redact_target`].
pub fn is_secret_parameter(name: &str, value: &str, also: &[String]) -> bool {
    let target = format!("?{name}={value}");
    matches!(redact_target(&target, also), Cow::Owned(_))
}

/// Whether a segment of a path holds a token or, behind a `;` or encoded, a parameter whose name is
/// a secret's.
fn hides_secret_segment(segment: &str, also: &[String]) -> bool {
    hides_secret(segment, also) || (segment.contains(';') && names_secret(segment, also))
}

fn push_redacted_query(shown: &mut String, query: &str, also: &[String]) {
    for (place, pair) in query.split('&').enumerate() {
        shown.push(if place == 0 { '?' } else { '&' });
        match secret_at(pair, also) {
            Some(start) => {
                shown.push_str(&pair[..start]);
                shown.push_str("***");
            }
            None => shown.push_str(pair),
        }
    }
}

/// The start of a secret between two `&`, if there is one; it extends to the end. Some frameworks
/// split parameters at `;`, and clients append a query to a query, so names are searched after
/// those too.
fn secret_at(pair: &str, also: &[String]) -> Option<usize> {
    let mut rest = pair;
    loop {
        let (name, value) = match rest.find(['=', ';', '?']) {
            Some(end) if rest[end..].starts_with('=') => (&rest[..end], &rest[end + 1..]),
            _ => ("", rest),
        };
        if !value.is_empty() && (is_secret_name(name, also) || hides_secret(value, also)) {
            return Some(pair.len() - value.len());
        }
        rest = &rest[rest.find([';', '?'])? + 1..];
    }
}

/// How often a value is decoded: a link inside a link inside a link.
const LAYERS: usize = 3;

/// Whether a value contains a token, or a parameter or JSON key with the name of a secret, plain or
/// percent-encoded.
fn hides_secret(value: &str, also: &[String]) -> bool {
    let mut text = Cow::Borrowed(value);
    for layer in 0..=LAYERS {
        // The caller has split the text that is not encoded.
        if holds_jwt(&text) || (layer > 0 && names_secret(&text, also)) {
            return true;
        }
        let decoded = percent_decoded(&text);
        if decoded == *text {
            return false;
        }
        text = Cow::Owned(decoded);
    }
    // Nothing honest is encoded so often.
    true
}

/// Characters of a token's first part at least; `{"alg":""}` has more.
const HEADER_MIN: usize = 10;

/// Whether it contains `{"` in base64url, with which every JOSE header begins, and a dot after
/// that.
fn holds_jwt(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let token = &rest[at..];
        let in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=".contains(byte);
        let end = token.bytes().position(|byte| !in_token(&byte));
        let end = end.unwrap_or(token.len());
        if end >= HEADER_MIN && token[end..].starts_with('.') {
            return true;
        }
        rest = &token[end..];
    }
    false
}

/// Whether it contains `name=value` or `"name":` with the name of a secret.
fn names_secret(text: &str, also: &[String]) -> bool {
    let mut parts = text.split(['&', ';', '?', '#']);
    let named = parts.any(|part| {
        // The value may begin with a separator, so it may look empty here.
        let pair = part.split_once('=');
        pair.is_some_and(|(name, _)| is_secret_name(name, also))
    });
    let mut quoted = text.split('"').peekable();
    named
        || std::iter::from_fn(|| Some((quoted.next()?, quoted.peek().copied()))).any(
            |(name, after)| {
                let is_key = after.is_some_and(|after| after.trim_start().starts_with(':'));
                is_key && is_secret_name(name, also)
            },
        )
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let digit = |place: usize| char::from(*more.get(place)?).to_digit(16);
        let byte = || u8::try_from(digit(0)? * 16 + digit(1)?).ok();
        match (*first == b'%').then(byte).flatten() {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_secret_name(name: &str, also: &[String]) -> bool {
    let decoded = form_urlencoded::parse(name.as_bytes()).next();
    let is = decoded.as_ref().map(|(name, _)| name.as_ref());
    if also.iter().any(|known| Some(known.as_str()) == is) {
        return true;
    }
    let bare: String = decoded
        .iter()
        .flat_map(|(name, _)| name.chars())
        .filter(|letter| !matches!(letter, '-' | '_'))
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.contains(&bare.as_str()) || SECRET_PARTS.iter().any(|part| bare.contains(part))
}

#[cfg(test)]
mod tests;
