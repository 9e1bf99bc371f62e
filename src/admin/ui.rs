//! The dashboard: files that are the same for everyone and hold no data, so they are served without
//! a token. Their script asks for the token and calls the API like any other client, so it may do
//! exactly what the token may.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use xxhash_rust::xxh3::xxh3_128;

use crate::admin::problem::Problem;
use crate::admin::resource::Resource;

/// The address of the page.
pub(super) const PAGE: &str = "/ui/";
/// The file that is the page.
const PAGE_FILE: &str = "index.html";

/// Nothing from elsewhere, no inline script or style, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every answer below `/ui/`.
const PROTECTION: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// A file of the dashboard.
struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

macro_rules! assets {
    ($($kind:literal: $($name:literal),+;)+) => {
        /// All files, compiled into the program.
        const ASSETS: &[Asset] = &[$($(Asset {
            name: $name,
            kind: $kind,
            body: include_str!(concat!("ui/", $name)),
        }),+),+];
    };
}

assets! {
    "text/html; charset=utf-8": "index.html";
    "text/css; charset=utf-8": "style.css", "panels.css";
    "image/svg+xml": "icon.svg";
    "text/javascript; charset=utf-8":
        "app.js", "api.js", "dom.js", "format.js", "chart.js", "dialogs.js", "keys.js", "view.js",
        "overview.js", "fleet.js", "verdict.js", "traffic.js", "upstreams.js", "ring.js", "orders.js",
        "sessions.js", "session.js", "tap.js", "refusals.js", "history.js", "explain.js", "node.js",
        "certificates.js";
}

/// Names of the versions of all files, in the order of `ASSETS`.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let hash = |asset: &Asset| format!("\"{:032x}\"", xxh3_128(asset.body.as_bytes()));
    ASSETS.iter().map(hash).collect()
});

/// The resources of the dashboard.
pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::get(PAGE, page, "The dashboard. Needs no token."),
        Resource::get(
            "/ui/{file}",
            file,
            "A file of the dashboard. Needs no token.",
        )
        .statuses(&[200, 404]),
    ]
}

async fn page(headers: HeaderMap) -> Response {
    answer(PAGE_FILE, &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(index) = ASSETS.iter().position(|asset| asset.name == name) else {
        return Problem::not_found("the dashboard has no such file").into_response();
    };
    let (asset, tag) = (&ASSETS[index], &*TAGS[index]);
    let kept = headers.get_all(IF_NONE_MATCH).iter();
    let mut response = match kept.into_iter().any(|list| names(list, tag)) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Bytes::from_static(asset.body.as_bytes()).into_response(),
    };
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    // Browsers ask each time, so the files of two versions are never mixed.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let tag = HeaderValue::from_str(tag).expect("a tag is hexadecimal");
    fields.insert(ETAG, tag);
    response
}

/// Whether a list of entity tags names this one (RFC 9110, section 13.1.2).
fn names(list: &HeaderValue, tag: &str) -> bool {
    let mut tags = list.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whether anyone may read this: the files of the dashboard hold no data.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && path.starts_with(PAGE)
}

/// Whether a browser opens the dashboard by a link: such a navigation may come from a page of any
/// origin, which cannot read the answer.
pub(super) fn is_opened(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    *method == Method::GET
        && path == PAGE
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// The way to the dashboard for a browser that opens the API's root, where other clients get the
/// list of resources.
pub(super) fn redirect(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let browses = accept.is_some_and(|accept| accept.contains("text/html"));
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let leads = reads && (path == "/ui" || path == "/" && browses);
    leads.then(|| Redirect::temporary(PAGE).into_response())
}

/// Adds what keeps other pages and injected text out.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests;
