//! A response in memory.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, DATE, ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::base::names::RouteName;
use crate::core::http::freshness::Freshness;
use crate::core::http::representation::preconditions::Validators;
use crate::core::http::vary::Selector;

/// What a field takes beside its name and value.
const FIELD_BYTES: usize = 64;
/// What a response takes beside its fields and body.
const RESPONSE_BYTES: usize = 256;

/// A response in memory. Nothing of it refers to the buffers that it was read into.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    /// The route that it came by: another one may lead elsewhere, or change the request.
    pub route: RouteName,
    /// Which requests it answers.
    pub selector: Selector,
    /// Its status.
    pub status: StatusCode,
    /// Its fields, without those that are made anew each time.
    pub fields: HeaderMap,
    /// Its content.
    pub body: Bytes,
    /// How long it may be used.
    pub freshness: Freshness,
}

impl StoredResponse {
    /// The response to a request, which was asked for and arrived at these times; none if the
    /// requests that it answers are unknown.
    pub fn new(
        route: RouteName,
        request: &HeaderMap,
        (status, fields): (StatusCode, HeaderMap),
        body: Bytes,
        (asked, arrived): (SystemTime, SystemTime),
    ) -> Option<Self> {
        let selector = Selector::of(&fields, request)?;
        let mut kept = HeaderMap::with_capacity(fields.len());
        for (name, value) in &fields {
            if !is_made_anew(name) {
                kept.append(name, copied(value));
            }
        }
        Some(Self {
            route,
            selector,
            status,
            freshness: Freshness::of(&fields, asked, arrived),
            fields: kept,
            body,
        })
    }

    /// This response after the backend has said that it is still the same, with the fields of that
    /// answer (RFC 9111, section 3.2).
    pub fn confirmed(&self, fields: &HeaderMap, asked: SystemTime, arrived: SystemTime) -> Self {
        let mut new = self.clone();
        for name in fields
            .keys()
            .filter(|name| !is_made_anew(name) && *name != CONTENT_LENGTH)
        {
            new.fields.remove(name);
        }
        for (name, value) in fields {
            if !is_made_anew(name) && name != CONTENT_LENGTH {
                new.fields.append(name, copied(value));
            }
        }
        // Without a date of its own it is of now, not of when it was stored.
        if !fields.contains_key(DATE) {
            new.fields.remove(DATE);
        }
        let mut timed = new.fields.clone();
        if let Some(age) = fields.get(AGE) {
            timed.insert(AGE, age.clone());
        }
        new.freshness = Freshness::of(&timed, asked, arrived);
        new
    }

    /// Whether it answers a request that came by this route.
    pub fn answers(&self, route: &RouteName, request: &HeaderMap) -> bool {
        self.route == *route && self.selector.selects(request)
    }

    /// Whether the other one answers the same requests.
    pub fn answers_the_same_as(&self, other: &Self) -> bool {
        self.route == other.route && self.selector == other.selector
    }

    /// What it is asked again with, and compared by.
    pub fn validators(&self) -> Validators<'_> {
        let modified = self.fields.get(LAST_MODIFIED);
        let modified = modified.and_then(|date| date.to_str().ok());
        Validators {
            tag: self.fields.get(ETAG).map(HeaderValue::as_bytes),
            modified: modified.and_then(|date| httpdate::parse_http_date(date).ok()),
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| FIELD_BYTES + name.as_str().len() + value.len());
        RESPONSE_BYTES + self.body.len() + self.selector.bytes() + fields.sum::<usize>()
    }
}

fn is_made_anew(name: &HeaderName) -> bool {
    *name == AGE || *name == SET_COOKIE
}

/// A value that does not keep the buffer of a whole head alive.
fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).expect("it was a value")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock;
    use crate::core::http::headers::tests::headers;

    fn stored(fields: &[(&'static str, &'static str)]) -> StoredResponse {
        let (now, request) = (clock::wall(), headers(&[("accept", "a")]));
        let head = (StatusCode::OK, headers(fields));
        let body = Bytes::from_static(b"body");
        StoredResponse::new("all".into(), &request, head, body, (now, now)).expect("it is stored")
    }

    #[test]
    fn a_response_answers_equal_requests_of_its_route() {
        let one = stored(&[("vary", "accept")]);
        let request = headers(&[("accept", "a")]);
        assert!(one.answers(&"all".into(), &request));
        assert!(!one.answers(&"other".into(), &request));
        assert!(!one.answers(&"all".into(), &headers(&[("accept", "b")])));
        assert!(!one.answers_the_same_as(&stored(&[])));
    }

    #[test]
    fn a_confirmed_response_has_the_new_fields_and_the_old_body() {
        let old = stored(&[
            ("etag", "\"a\""),
            ("x-a", "1"),
            ("x-b", "1"),
            ("cache-control", "max-age=1"),
            ("content-length", "4"),
        ]);
        let later = clock::wall() + Duration::from_secs(100);
        let fields = headers(&[
            ("x-a", "2"),
            ("cache-control", "max-age=60"),
            ("content-length", "0"),
            ("age", "10"),
        ]);
        let new = old.confirmed(&fields, later, later);
        assert_eq!(new.fields["x-a"], "2");
        assert_eq!(new.fields["x-b"], "1");
        assert_eq!(new.fields["content-length"], "4");
        assert_eq!(new.body, old.body);
        assert_eq!(new.freshness.lifetime, Duration::from_secs(60));
        assert_eq!(new.freshness.age(later), Duration::from_secs(10));
    }

    #[test]
    fn cookies_and_ages_are_not_kept_and_bytes_are_counted() {
        let one = stored(&[("set-cookie", "a=1"), ("age", "5"), ("x-a", "1")]);
        assert_eq!(one.fields.len(), 1);
        assert_eq!(one.bytes(), RESPONSE_BYTES + 4 + FIELD_BYTES + 3 + 1);
    }
}
