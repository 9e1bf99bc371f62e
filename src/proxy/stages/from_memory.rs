//! A stored response as the answer to a request: whole, or 304 if the client has it.

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::base::clock;
use crate::core::http::representation::preconditions::Verdict;
use crate::live::StoredResponse;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::record::AnswerState;
use crate::proxy::stages::answer::Reply;
use crate::proxy::stages::pass_on::add_cookie;
use crate::proxy::streams::body::Outgoing;

/// What a 304 has of the response that it stands for (RFC 9110, section 15.4.5).
const OF_304: [http::HeaderName; 7] = [
    CACHE_CONTROL,
    CONTENT_LOCATION,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    VARY,
];

/// Answers a GET or HEAD with these fields.
pub(crate) fn from_memory(
    placed: &Placed<'_>,
    stored: &StoredResponse,
    method: &Method,
    asked: &HeaderMap,
) -> Reply {
    let known = stored.status == StatusCode::OK
        && stored.validators().evaluate(method, asked) == Verdict::NotModified;
    let (status, mut fields) = match known {
        true => (StatusCode::NOT_MODIFIED, of_304(&stored.fields)),
        false => (stored.status, stored.fields.clone()),
    };
    let age = stored.freshness.age(clock::wall()).as_secs();
    fields.insert(AGE, HeaderValue::from(age));
    let bodiless = known || stored.status == StatusCode::NO_CONTENT;
    if !bodiless {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(stored.body.len()));
    }
    add_cookie(&mut fields, placed);
    let body = (!bodiless && *method == Method::GET).then(|| stored.body.clone());
    reply(placed, status, fields, body.filter(|body| !body.is_empty()))
}

fn of_304(fields: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| OF_304.contains(name)) {
        kept.append(name, value.clone());
    }
    kept
}

/// A response without a backend, with its record.
fn reply(
    placed: &Placed<'_>,
    status: StatusCode,
    fields: HeaderMap,
    body: Option<bytes::Bytes>,
) -> Reply {
    let route = Some(placed.route.config.name.clone());
    let upstream = Some(placed.upstream.config.name.clone());
    let mut report = placed.received.report(route, upstream, None);
    report.status = status.as_u16();
    report.bytes_out = body.as_ref().map_or(0, bytes::Bytes::len) as u64;
    report.state = AnswerState::Passed;
    report.finish();
    let mut response = Response::new(match body {
        Some(body) => Outgoing::own(body),
        None => Outgoing::Empty,
    });
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}
