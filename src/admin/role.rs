//! The two roles of the admin API's clients, and the one that a request needs.

use axum::http::Method;

/// What one must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// To look.
    Read,
    /// To change something.
    Operate,
}

/// What is asked with POST since it has a body, and changes nothing.
const READ_BY_POST: [&str; 2] = ["/v1/preview", "/v1/resolve"];

/// The role that a request needs. GET and HEAD change nothing.
pub(super) fn role_of(method: &Method, path: &str) -> Role {
    match *method {
        Method::GET | Method::HEAD => Role::Read,
        Method::POST if READ_BY_POST.contains(&path) => Role::Read,
        _ => Role::Operate,
    }
}
