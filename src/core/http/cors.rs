//! Cross-origin requests of pages to paths at which the gateway itself answers (the CORS protocol
//! of the Fetch standard). Backends answer for their own paths.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::config::origin::OriginRule;
use crate::core::http::origin::{self, OriginFault};

/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE: &str = "600";

/// Who may read an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Pages of the same origin, and programs that are no browsers: no `Origin` came.
    Same,
    /// Every page, but only answers to requests without credentials of the browser's own.
    Any,
    /// Pages of this origin, which may use credentials of the browser's own (cookies).
    Listed(HeaderValue),
}

/// Judges the `Origin` of a request to a path of the gateway's own; arguments as in
/// [`origin::check`].
///
/// # Errors
/// When the rule keeps the page out.
pub fn readers(
    rule: &OriginRule,
    headers: &HeaderMap,
    host: &str,
    tls: bool,
) -> Result<Readers, OriginFault> {
    origin::check(rule, headers, host, tls)?;
    Ok(match headers.get(ORIGIN) {
        None => Readers::Same,
        // Never an echoed origin here: together with credentials that would let in every page.
        Some(_) if rule.allowed.is_none() => Readers::Any,
        Some(origin) => Readers::Listed(origin.clone()),
    })
}

/// Whether a browser asks beforehand what it may send.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds to the answer to a preflight: what may be sent to a path that takes a `POST`. `credentials`
/// are the headers in which one may stand.
pub fn add_permissions<'h>(
    answer: &mut HeaderMap,
    credentials: impl IntoIterator<Item = &'h HeaderName>,
) {
    let mut names: Vec<_> = credentials.into_iter().map(HeaderName::as_str).collect();
    names.push("content-type");
    names.sort_unstable();
    names.dedup();
    let names = HeaderValue::try_from(names.join(", ")).expect("names are visible");
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    answer.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST"),
    );
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
}

/// Adds to an answer, whatever it is, who may read it. `None`: no page of another origin.
pub fn add_readers(answer: &mut HeaderMap, readers: Option<&Readers>) {
    // Caches must not give one origin the answer for another.
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let origin = match readers {
        None | Some(Readers::Same) => return,
        Some(Readers::Any) => HeaderValue::from_static("*"),
        Some(Readers::Listed(origin)) => {
            let credentials = HeaderValue::from_static("true");
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials);
            origin.clone()
        }
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let exposed = HeaderValue::from_static("Retry-After, WWW-Authenticate");
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn rule(patterns: Option<&[&str]>) -> OriginRule {
        let parse = |text: &&str| text.parse().expect("a pattern");
        OriginRule {
            allowed: patterns.map(|patterns| patterns.iter().map(parse).collect()),
            required: false,
        }
    }

    /// `Access-Control-Allow-Origin` and `-Credentials` of the answer to a page of this origin.
    fn answer(patterns: Option<&[&str]>, origin: Option<&str>) -> (String, String) {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).expect("a value"));
        }
        let readers = readers(&rule(patterns), &headers, "edge.example", true);
        let mut answer = HeaderMap::new();
        add_readers(&mut answer, readers.as_ref().ok());
        assert_eq!(answer[VARY], "Origin");
        let text = |name| {
            let value = answer.get(name).map(|value: &HeaderValue| value.to_str());
            value.map_or("", |text| text.expect("text")).to_owned()
        };
        (
            text(ACCESS_CONTROL_ALLOW_ORIGIN),
            text(ACCESS_CONTROL_ALLOW_CREDENTIALS),
        )
    }

    #[test]
    fn only_a_listed_origin_reads_answers_to_requests_with_credentials() {
        let check = |patterns: Option<&[&str]>, origin, allowed: &str, credentials: &str| {
            let expected = (allowed.to_owned(), credentials.to_owned());
            assert_eq!(
                answer(patterns, origin),
                expected,
                "{patterns:?} {origin:?}"
            );
        };
        let app = "https://app.example";
        let listed: Option<&[&str]> = Some(&["https://app.example", "https://*.apps.example"]);
        check(listed, Some(app), app, "true");
        let below = "https://a.apps.example";
        check(listed, Some(below), below, "true");
        for foreign in ["https://app.example.evil", "http://app.example", "null", ""] {
            check(listed, Some(foreign), "", "");
        }
        check(listed, None, "", "");
        let same: Option<&[&str]> = Some(&["same"]);
        check(
            same,
            Some("https://edge.example"),
            "https://edge.example",
            "true",
        );
        check(same, Some(app), "", "");
        // `*` is never sent with credentials, nor is an unlisted origin.
        check(None, Some(app), "*", "");
        check(None, Some("null"), "*", "");
    }

    #[test]
    fn a_preflight_is_told_of_post_and_of_the_headers_of_credentials() {
        let mut answer = HeaderMap::new();
        let key = HeaderName::from_static("x-api-key");
        add_permissions(&mut answer, [&AUTHORIZATION, &key, &key]);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(
            answer[ACCESS_CONTROL_ALLOW_HEADERS],
            "authorization, content-type, x-api-key"
        );
        let mut asked = HeaderMap::new();
        let asks = |asked: &HeaderMap| is_preflight(&Method::OPTIONS, asked);
        assert!(!asks(&asked));
        asked.insert(ORIGIN, HeaderValue::from_static("https://a.example"));
        assert!(!asks(&asked));
        asked.insert(
            ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static("POST"),
        );
        assert!(asks(&asked) && !is_preflight(&Method::POST, &asked));
        asked.remove(ORIGIN);
        assert!(!asks(&asked), "no browser sends it without an origin");
    }
}
