//! Text that must never show (I11): not in logs, not in dumps of the configuration, not in errors.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A secret's text. `Debug`, `Display` and `Serialize` write `"***"`, so that values containing one
/// can be printed as a whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that compares or signs with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this secret, compared in constant time.
    pub fn matches(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A URL, or a path with its query. `Debug` leaves out what of it may be secret: user, password and
/// query.
#[derive(Clone, PartialEq, Eq)]
pub struct GuardedUrl(Arc<str>);

impl From<String> for GuardedUrl {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Deref for GuardedUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GuardedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match without_secrets(&self.0) {
            Some(shown) => shown.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

/// A URL or a path without user, password and query; `None` if it has none.
pub fn without_secrets(text: &str) -> Option<String> {
    let authority = text.find("://").map(|at| at + 3);
    if authority.is_none() && !text.starts_with('/') {
        return None;
    }
    let start = authority.unwrap_or(0);
    let end = text[start..].find(['/', '?', '#']).map(|at| start + at);
    let end = end.unwrap_or(text.len());
    let user = text[start..end].rfind('@').filter(|_| start > 0);
    let host = user.map_or(start, |at| start + at);
    let query = text[start..].find('?').map(|at| start + at + 1);
    let query = query.filter(|at| *at < text.len());
    if user.is_none() && query.is_none() {
        return None;
    }
    let mut shown = text[..start].to_owned();
    if user.is_some() {
        shown.push_str("***");
    }
    shown.push_str(&text[host..query.unwrap_or(text.len())]);
    if query.is_some() {
        shown.push_str("***");
    }
    Some(shown)
}

/// Whether it is a URL with a user or a password in it.
pub fn names_user(text: &str) -> bool {
    let rest = text.split_once("://").map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_a_secret_never_shows() {
        let secret = Secret::new("hunter2");
        let shown = format!(
            "{secret} {secret:?} {}",
            serde_json::to_string(&secret).expect("a string serialises")
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(secret.matches(b"hunter2") && !secret.matches(b"hunter3") && !secret.matches(b""));
    }
}
