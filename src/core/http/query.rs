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

/// Path and query as a log may show them: values of parameters that look like secrets are `***`,
/// by their name, or because they are a JWT under whatever name or none.
pub fn redact_query(path_and_query: &str) -> Cow<'_, str> {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return Cow::Borrowed(path_and_query);
    };
    if !query.split('&').any(|pair| secret_at(pair).is_some()) {
        return Cow::Borrowed(path_and_query);
    }
    let mut shown = String::with_capacity(path_and_query.len());
    shown.push_str(path);
    for (place, pair) in query.split('&').enumerate() {
        shown.push(if place == 0 { '?' } else { '&' });
        match secret_at(pair) {
            Some(start) => {
                shown.push_str(&pair[..start]);
                shown.push_str("***");
            }
            None => shown.push_str(pair),
        }
    }
    Cow::Owned(shown)
}

/// Where the secret begins in what stands between two `&`, if there is one; it goes on to the end.
/// Some frameworks part parameters by `;`, and clients put a query behind a query: a name is looked
/// for behind those too.
fn secret_at(pair: &str) -> Option<usize> {
    let mut rest = pair;
    loop {
        let (name, value) = match rest.find(['=', ';', '?']) {
            Some(end) if rest[end..].starts_with('=') => (&rest[..end], &rest[end + 1..]),
            _ => ("", rest),
        };
        if !value.is_empty() && (is_jwt(value) || is_secret_name(name)) {
            return Some(pair.len() - value.len());
        }
        rest = &rest[rest.find([';', '?'])? + 1..];
    }
}

/// `{"` in base64url, which every JOSE header begins with.
fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.contains('.')
}

fn is_secret_name(name: &str) -> bool {
    let decoded = form_urlencoded::parse(name.as_bytes()).next();
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
    fn i11_secrets_are_cut_out_of_what_is_logged() {
        let check = |text: &str, expected: &str| assert_eq!(redact_query(text), expected);
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

    proptest! {
        #[test]
        fn i11_a_token_shows_nowhere_and_the_rest_stays(
            before in "(&?[a-d]{0,3}(=[0-9%+]{0,4})?){0,3}",
            after in "(&[a-d]{0,3}(=[0-9%+]{0,4})?){0,3}",
            token in "[!-%'-~]{1,20}",
        ) {
            let shown = redact_query(&format!("/p?{before}&token={token}{after}")).into_owned();
            prop_assert_eq!(shown, format!("/p?{before}&token=***{after}"));
        }
    }
}
