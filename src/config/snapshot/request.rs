//! The conditions of a route, and its changes to requests.

use std::fmt;
use std::ops::Deref;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::expression::ClaimPath;
use crate::config::pattern::PathTemplate;

/// Parts not given are the request's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `https`, `http`, `wss` or `ws`.
    pub scheme: Option<String>,
    /// Host, with a port if it is not the scheme's.
    pub host: Option<String>,
    /// Template over the route's path parameters.
    pub path: Option<PathTemplate>,
    /// 301, 302, 303, 307 or 308. Default 308.
    pub status: u16,
}

/// How a client reached the gateway: without TLS, or with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Scheme {
    /// Without TLS: `http` and `ws`.
    Http,
    /// With TLS: `https` and `wss`.
    Https,
}

impl Scheme {
    /// That of a client with or without TLS.
    pub const fn of(tls: bool) -> Self {
        if tls { Self::Https } else { Self::Http }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A test of one header or query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// One of its values is this.
    Exact(MatchText),
    /// One of its values begins so.
    Prefix(MatchText),
}

/// The text that a condition asks for. Where it is a secret (`x-api-key`), `Debug` does not show it
/// (I11).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MatchText {
    text: String,
    is_secret: bool,
}

impl MatchText {
    /// The text of a condition; `is_secret` where it must not be shown.
    pub fn new(text: String, is_secret: bool) -> Self {
        Self { text, is_secret }
    }
}

impl From<&str> for MatchText {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned(), false)
    }
}

impl Deref for MatchText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for MatchText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.is_secret { "***" } else { &self.text };
        shown.fmt(f)
    }
}

/// `rewrite` of a route. `strip_prefix` and `path` exclude each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken off the path where the path has it (at a segment's end).
    pub strip_prefix: Option<String>,
    /// The new path, from the route's path parameters.
    pub path: Option<PathTemplate>,
    /// The new `Host`. Default: the client's.
    pub host: Option<String>,
}

/// Header changes, applied in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Names that the backend does not see.
    pub remove: Vec<HeaderName>,
    /// Replaces what the client sent.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Beside what the client sent.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Sources of an affinity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffinitySource {
    /// `claim:sub`, of the principal.
    Claim(ClaimPath),
    /// `path:room`, a parameter of the route's path.
    Path(String),
    /// `query:k`
    Query(String),
    /// `cookie:sid`
    Cookie(String),
    /// `header:x-user`
    Header(HeaderName),
    /// `client_address`
    ClientAddress,
    /// `{ issue_cookie = "sessile" }`: read if the client has it, made and set if not; always
    /// present, so always last.
    IssueCookie(String),
}

/// As it is written in the configuration.
impl fmt::Display for AffinitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(claim) => write!(f, "claim:{}", claim.0),
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::ClientAddress => f.write_str("client_address"),
            Self::IssueCookie(name) => write!(f, "issue_cookie:{name}"),
        }
    }
}
