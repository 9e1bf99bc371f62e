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
        // What is not encoded was parted by the caller.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let check = |query: &str, name: &str, expected: &[&str]| {
            let values: Vec<_> = query_values(query, name).collect();
            assert_eq!(values, expected, "{query}");
        };
        check("a=1&b=2&a=3", "a", &["1", "3"]);
        check("a=b+c%20d%2Bé", "a", &["b c d+é"]);
        check("%61=1&a", "a", &["1", ""]);
        check("a=%zz&a=%ff&a=x=y", "a", &["%zz", "\u{fffd}", "x=y"]);
        check("", "a", &[]);
        check("A=1&aa=2", "a", &[]);
    }

    #[test]
    fn segments_of_paths_are_decoded() {
        let check = |segment: &str, expected: Option<&str>| {
            assert_eq!(decode_path(segment).as_deref(), expected, "{segment}");
        };
        check("room", Some("room"));
        check("a+b&c=d", Some("a+b&c=d"));
        check("a%20b%2Fc", Some("a b/c"));
        check("%ff", None);
        check("", Some(""));
    }

    #[test]
    fn parameters_are_taken_out_and_the_rest_stays() {
        let check = |query: &str, left: Option<&str>| {
            assert_eq!(
                without(query, |name| name == "t").as_deref(),
                left,
                "{query}"
            );
        };
        check("a=1&t=2&b=%20+&t=3&t", Some("a=1&b=%20+"));
        check("%74=1&T=2", Some("T=2"));
        check("t=1", None);
        check("a=t&tt=1&&", Some("a=t&tt=1&&"));
        check("a=1;t=2;b&t=3;c=4&d;e", Some("a=1;b&d;e"));
        check("a;t=1&;", Some("a&;"));
        check("x=1&;t=2", Some("x=1&"));
    }

    #[test]
    fn i13_what_some_server_reads_as_a_parameter_is_a_lookalike() {
        let check = |query: &str, expected: bool| {
            assert_eq!(holds_lookalike(query, "as_of"), expected, "{query}");
        };
        check("", false);
        check("as_of=1&b=2", false);
        check("%61s_of=1&as_of=2", false);
        check("as=1&of=2&as_of2=3&xas_of=1", false);
        check("a=as_of;x", false);
        for lookalike in [
            "AS_OF=1",
            "as_of[]=1",
            "as_of%5B0%5D=1",
            "as_of[a][b]",
            "+as_of=1",
            "as_of%20=1",
            "as.of=1",
            "as+of=1",
            "as_of%00x=1",
            "a=1;as_of=2",
            "as_of=1;x",
            ";AS_of",
        ] {
            check(lookalike, true);
            check(&format!("b=1&{lookalike}&c"), true);
        }
    }

    #[test]
    fn i11_secrets_are_cut_out_of_what_is_logged() {
        let check = |text: &str, expected: &str| assert_eq!(redact_target(text, &[]), expected);
        check("/ws", "/ws");
        check("/token=x", "/token=x");
        check("/ws?", "/ws?");
        check("/ws?room=7&keyboard=us", "/ws?room=7&keyboard=us");
        check("/ws?access_token=abc", "/ws?access_token=***");
        check("/ws?a=1&Token=x&b=2&", "/ws?a=1&Token=***&b=2&");
        check(
            "/ws?api-key=x&apikey=y&API_KEY=z",
            "/ws?api-key=***&apikey=***&API_KEY=***",
        );
        check(
            "/ws?access%5Ftoken=abc&t%6Fken=d",
            "/ws?access%5Ftoken=***&t%6Fken=***",
        );
        check("/cb?code=1&state=2", "/cb?code=***&state=***");
        check(
            "/s?X-Amz-Signature=1&X-Amz-Date=2",
            "/s?X-Amz-Signature=***&X-Amz-Date=2",
        );
        check("/io?EIO=4&sid=abc", "/io?EIO=4&sid=***");
        check("/ws?t=eyJhbGciOi.eyJzdWIi.c2ln", "/ws?t=***");
        check("/ws?eyJhbGciOi.eyJzdWIi.c2ln", "/ws?***");
        check("/ws?token=a=b?c", "/ws?token=***");
        check("/ws?token=", "/ws?token=");
        check("/ws?a=1?token=x", "/ws?a=1?token=***");
        check("/ws?a;b=1;token=x;y&c=1", "/ws?a;b=1;token=***&c=1");
        let also = ["u".to_owned(), "a b".to_owned()];
        let shown = redact_target("/ws?a+b=1&%75=2&v=3", &also);
        assert_eq!(shown, "/ws?a+b=***&%75=***&v=3");
        for name in [
            "access_token",
            "token",
            "jwt",
            "key",
            "api_key",
            "apikey",
            "auth",
            "authorization",
            "password",
            "secret",
            "sig",
            "signature",
            "session",
            "ticket",
            "code",
        ] {
            check(&format!("/?{name}=v1"), &format!("/?{name}=***"));
        }
    }

    #[test]
    fn i11_encoded_secrets_under_other_names_are_cut_out() {
        let check = |text: &str, expected: &str| assert_eq!(redact_target(text, &[]), expected);
        for (value, hides) in [
            ("eyJhbGciOi%2EeyJzdWIi%2Ec2ln", true),
            ("%65yJhbGciOi.eyJzdWIi.c2ln", true),
            ("Bearer%20eyJhbGciOi.eyJzdWIi.c2ln", true),
            ("abc%26access_token%3Ds3cret", true),
            ("https%3A%2F%2Fa.b%2F%3Ftoken%3Ds3cret", true),
            ("https%253A%252F%252Fa.b%252F%253Ftoken%253Ds3cret", true),
            ("%7B%22access_token%22%3A%20%22s3cret%22%7D", true),
            ("%7B%22a%22%3A%7B%22password%22:1", true),
            ("%2525252525252525", true),
            ("a%20b%26c%3Dd", false),
            ("keyJack.x", false),
            ("https%3A%2F%2Fa.b%2F%3Froom%3D7", false),
            ("100%", false),
            ("token", false),
        ] {
            let shown = if hides { "***" } else { value };
            check(
                &format!("/?data={value}&b=1"),
                &format!("/?data={shown}&b=1"),
            );
        }
    }

    #[test]
    fn i11_tokens_in_paths_are_cut_out() {
        let check = |path: &str, expected: &str| {
            assert_eq!(redact_target(path, &[]), expected);
            // With a query behind it too.
            let (path, expected) = (format!("{path}?room=7"), format!("{expected}?room=7"));
            assert_eq!(redact_target(&path, &[]), expected);
        };
        check("/ws/eyJhbGciOi.eyJzdWIi.c2ln/room", "/ws/***/room");
        check("/eyJhbGciOi%2EeyJzdWIi%2Ec2ln", "/***");
        check("/%65yJhbGciOi.eyJzdWIi.c2ln", "/***");
        check("/a/Bearer%20eyJhbGciOi.eyJzdWIi.c2ln/", "/a/***/");
        check("/a/%2565yJhbGciOi.eyJzdWIi.c2ln", "/a/***");
        check("/a;token=s3cret/b", "/***/b");
        check("/a;jsessionid=s3cret", "/***");
        check("/a%3Bsession=s3cret", "/***");
        check("/go%3Faccess_token%3Ds3cret", "/***");
        check("/token=x", "/token=x");
        check("/keyJack.x/a;v=1/caf%C3%A9", "/keyJack.x/a;v=1/caf%C3%A9");
        check("*", "*");
        check("", "");
    }

    proptest! {
        #[test]
        fn i11_a_token_shows_nowhere_and_the_rest_stays(
            before in "(&?[a-d]{0,3}(=[0-9%+]{0,4})?){0,3}",
            after in "(&[a-d]{0,3}(=[0-9%+]{0,4})?){0,3}",
            token in "[!-%'-~]{1,20}",
        ) {
            let shown = redact_target(&format!("/p?{before}&token={token}{after}"), &[]).into_owned();
            prop_assert_eq!(shown, format!("/p?{before}&token=***{after}"));
        }
    }
}
