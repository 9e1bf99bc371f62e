//! Resources of live sessions.

use axum::http::Method;
use axum::routing::MethodFilter;

use crate::admin::resource::Resource;
use crate::admin::sessions;

/// Live sessions.
pub(super) fn many() -> Vec<Resource> {
    let delete = (MethodFilter::DELETE, Method::DELETE);
    vec![
        Resource::get(
            "/v1/sessions",
            sessions::list,
            "Live sessions, the oldest first or sorted by a number.",
        )
        .query::<sessions::Filter>()
        .answers::<sessions::SessionPage>()
        .statuses(&[200, 400]),
        Resource::get(
            "/v1/top",
            sessions::top::show,
            "Who sends most now, the hottest keys, and load that is skewed.",
        )
        .query::<sessions::top::TopQuery>()
        .answers::<sessions::top::Top>()
        .statuses(&[200, 400]),
        Resource::new(
            delete,
            "/v1/sessions",
            sessions::close::many,
            "Closes all sessions that match.",
        )
        .query::<sessions::close::CloseMany>()
        .answers::<sessions::close::ClosingMany>()
        .statuses(&[202, 400]),
        Resource::post(
            "/v1/sessions/messages",
            sessions::send::many,
            "Sends a message in all sessions that match.",
        )
        .query::<sessions::send::SendMany>()
        .body::<sessions::send::Sent>()
        .answers::<sessions::send::SentMany>()
        .statuses(&[202, 400, 413]),
    ]
}

/// One live session.
pub(super) fn one() -> Vec<Resource> {
    let delete = (MethodFilter::DELETE, Method::DELETE);
    vec![
        Resource::get("/v1/sessions/{id}", sessions::one, "A live session.")
            .answers::<sessions::Session>()
            .statuses(&[200, 400, 404, 503]),
        Resource::new(
            (MethodFilter::PATCH, Method::PATCH),
            "/v1/sessions/{id}",
            sessions::change,
            "Changes when a session's right ends.",
        )
        .body::<sessions::Change>()
        .answers::<sessions::Session>()
        .statuses(&[200, 400, 404, 409, 503]),
        Resource::new(
            delete,
            "/v1/sessions/{id}",
            sessions::close::one,
            "Closes a session.",
        )
        .query::<sessions::close::Close>()
        .answers::<sessions::close::Closing>()
        .statuses(&[202, 400, 404, 409, 503]),
        Resource::post(
            "/v1/sessions/{id}/messages",
            sessions::send::one,
            "Sends a message in a session.",
        )
        .body::<sessions::send::Sent>()
        .answers::<sessions::send::SentOne>()
        .statuses(&[202, 400, 404, 409, 413, 429, 503]),
        Resource::get(
            "/v1/sessions/{id}/tap",
            sessions::tap::watch,
            "The frames of a session as they pass, as server-sent events.",
        )
        .query::<sessions::tap::Watch>()
        .statuses(&[200, 400, 403, 404, 409, 429, 503]),
        Resource::post(
            "/v1/sessions/{id}/move",
            sessions::moving::begin,
            "Moves a session to another backend.",
        )
        .body::<sessions::moving::Target>()
        .answers::<sessions::moving::Moving>()
        .statuses(&[202, 400, 404, 409, 503]),
    ]
}
