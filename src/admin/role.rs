//! The two roles of the admin API's clients, and the role that a request requires.

use axum::http::Method;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Read only.
    Read,
    /// Change something.
    Operate,
}

impl Role {
    /// Its name in answers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// POST requests that change nothing; they are POST because they have a body.
const READ_BY_POST: [&str; 2] = ["/v1/preview", "/v1/resolve"];

/// The role that a request requires. GET and HEAD change nothing.
pub(super) fn role_of(method: &Method, path: &str) -> Role {
    match *method {
        Method::GET | Method::HEAD => Role::Read,
        Method::POST if READ_BY_POST.contains(&path) => Role::Read,
        _ => Role::Operate,
    }
}
