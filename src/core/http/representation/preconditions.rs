//! Conditional requests, in the order of RFC 9110, section 13.2.2.

use std::time::{Duration, SystemTime};

use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use http::{HeaderMap, Method};

use crate::core::http::representation::entity_tag::{self, Comparison};

/// What a representation is compared by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'v> {
    /// As in `ETag`.
    pub tag: Option<&'v [u8]>,
    /// As in `Last-Modified`, in whole seconds.
    pub modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The representation is sent.
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412: it is another one than the client wants.
    Failed,
}

impl Validators<'_> {
    /// Evaluates the conditions of a request.
    pub fn evaluate(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let listed = |name: &HeaderName, how| {
            let present = headers.contains_key(name);
            present.then(|| entity_tag::listed(headers.get_all(name), self.tag, how))
        };
        let unchanged_since = |name: &HeaderName| {
            let date = date(headers, name)?;
            Some(self.modified.is_some_and(|modified| modified <= date))
        };
        let wanted =
            listed(&IF_MATCH, Comparison::Strong).or_else(|| unchanged_since(&IF_UNMODIFIED_SINCE));
        if wanted == Some(false) {
            return Verdict::Failed;
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let known = listed(&IF_NONE_MATCH, Comparison::Weak).or_else(|| {
            let date = reads.then(|| unchanged_since(&IF_MODIFIED_SINCE));
            date.flatten()
        });
        match known {
            Some(true) if reads => Verdict::NotModified,
            Some(true) => Verdict::Failed,
            _ => Verdict::Send,
        }
    }

    /// Whether a `Range` may be answered in part: `If-Range` names this very representation, or
    /// there is none. A date is a strong validator only if it is a second old.
    pub fn allow_part(&self, headers: &HeaderMap, now: SystemTime) -> bool {
        let Some(condition) = headers.get(IF_RANGE) else {
            return true;
        };
        let condition = condition.as_bytes().trim_ascii();
        if condition.ends_with(b"\"") {
            let same = |tag| entity_tag::equals(condition, tag, Comparison::Strong);
            return self.tag.is_some_and(same);
        }
        let strong = |modified: SystemTime| {
            let age = now.duration_since(modified);
            age.is_ok_and(|age| age >= Duration::from_secs(1))
        };
        let date = date(headers, &IF_RANGE);
        date.is_some() && date == self.modified.filter(|modified| strong(*modified))
    }
}

/// A field that is no date, or stands twice, is ignored.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut fields = headers.get_all(name).iter();
    let only = fields.next().filter(|_| fields.next().is_none())?;
    httpdate::parse_http_date(only.to_str().ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = fields.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.parse().expect("a value")))
            .collect()
    }

    fn file() -> Validators<'static> {
        Validators {
            tag: Some(b"\"a\""),
            modified: httpdate::parse_http_date(EXACT).ok(),
        }
    }

    #[track_caller]
    fn check(method: Method, fields: &[(HeaderName, &str)], expected: Verdict) {
        let found = file().evaluate(&method, &headers(fields));
        assert_eq!(found, expected, "{method} {fields:?}");
    }

    #[test]
    fn a_client_that_has_it_gets_304() {
        let get = |fields: &[_], expected| check(Method::GET, fields, expected);
        get(&[], Verdict::Send);
        get(&[(IF_NONE_MATCH, "\"a\"")], Verdict::NotModified);
        get(&[(IF_NONE_MATCH, "W/\"a\"")], Verdict::NotModified);
        get(&[(IF_NONE_MATCH, "\"b\"")], Verdict::Send);
        get(&[(IF_NONE_MATCH, "*")], Verdict::NotModified);
        get(&[(IF_MODIFIED_SINCE, OLD)], Verdict::Send);
        get(&[(IF_MODIFIED_SINCE, EXACT)], Verdict::NotModified);
        get(&[(IF_MODIFIED_SINCE, NEW)], Verdict::NotModified);
        get(&[(IF_MODIFIED_SINCE, "yesterday")], Verdict::Send);
        // The tag decides where both are there.
        get(
            &[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, NEW)],
            Verdict::Send,
        );
        check(
            Method::HEAD,
            &[(IF_NONE_MATCH, "\"a\"")],
            Verdict::NotModified,
        );
        check(Method::PUT, &[(IF_NONE_MATCH, "\"a\"")], Verdict::Failed);
        check(Method::PUT, &[(IF_MODIFIED_SINCE, NEW)], Verdict::Send);
    }

    #[test]
    fn a_client_that_wants_another_gets_412() {
        let get = |fields: &[_], expected| check(Method::GET, fields, expected);
        get(&[(IF_MATCH, "\"a\"")], Verdict::Send);
        get(&[(IF_MATCH, "W/\"a\"")], Verdict::Failed);
        get(&[(IF_MATCH, "\"b\"")], Verdict::Failed);
        get(&[(IF_MATCH, "*")], Verdict::Send);
        get(&[(IF_UNMODIFIED_SINCE, OLD)], Verdict::Failed);
        get(&[(IF_UNMODIFIED_SINCE, EXACT)], Verdict::Send);
        get(
            &[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, OLD)],
            Verdict::Send,
        );
        // Both sides hold: the first is checked before the second.
        get(
            &[(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")],
            Verdict::Failed,
        );
    }

    #[test]
    fn a_part_is_sent_only_of_what_the_client_has_the_rest_of() {
        let later = file().modified.expect("a date") + Duration::from_secs(1);
        let check = |value: &str, now, expected| {
            let headers = headers(&[(IF_RANGE, value)]);
            assert_eq!(file().allow_part(&headers, now), expected, "{value}");
        };
        assert!(file().allow_part(&HeaderMap::new(), later));
        check("\"a\"", later, true);
        check("\"b\"", later, false);
        check("W/\"a\"", later, false);
        check(EXACT, later, true);
        check(NEW, later, false);
        check("nonsense", later, false);
        // It may change again within the second.
        check(EXACT, later - Duration::from_secs(1), false);
    }
}
