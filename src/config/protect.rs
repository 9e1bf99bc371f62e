//! What of the file documents of other sources must leave alone: the entries of `protect`.

use std::fmt;
use std::str::FromStr;

use crate::config::document_key::{DocumentKey, Kind};

/// A key of a document, such as `routes/admin`, or the beginning of keys, such as
/// `authenticators/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protect {
    text: String,
    /// Whether any continuation of the text is covered.
    open: bool,
}

/// The text covers no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` covers no document")]
pub struct ProtectError(String);

impl Protect {
    /// What would be an entry.
    pub const HELP: &'static str = "write a key such as `routes/admin` or `backends/chat/a`, or the beginning of one with a `*` \
         at its end: `authenticators/*`, `backends/chat/*`, `*`";

    /// Whether a document of this key must leave the file alone.
    pub fn covers(&self, key: &DocumentKey) -> bool {
        let key = key.to_string();
        if self.open {
            key.starts_with(&self.text)
        } else {
            key == self.text
        }
    }
}

impl FromStr for Protect {
    type Err = ProtectError;

    fn from_str(text: &str) -> Result<Self, ProtectError> {
        let (fixed, open) = match text.strip_suffix('*') {
            Some(fixed) => (fixed, true),
            None => (text, false),
        };
        let folder = |kind: &Kind| {
            let folder = kind.folder();
            match fixed.split_once('/') {
                Some((first, _)) => first == folder,
                None => open && folder.starts_with(fixed),
            }
        };
        let known = Kind::ALL.iter().any(folder);
        let whole = open || fixed.parse::<DocumentKey>().is_ok();
        if !known || !whole || fixed.contains('*') {
            return Err(ProtectError(text.to_owned()));
        }
        Ok(Self {
            text: fixed.to_owned(),
            open,
        })
    }
}

impl fmt::Display for Protect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_cover_keys() {
        let check = |entry: &str, key: &str, covered: bool| {
            let entry: Protect = entry.parse().expect("an entry");
            let key: DocumentKey = key.parse().expect("a key");
            assert_eq!(entry.covers(&key), covered, "{entry} {key}");
        };
        check("routes/admin", "routes/admin", true);
        check("routes/admin", "routes/admin2", false);
        check("routes/admin*", "routes/admin2", true);
        check("authenticators/*", "authenticators/users", true);
        check("authenticators/*", "routes/users", false);
        check("backends/chat/*", "backends/chat/a", true);
        check("backends/chat/*", "backends/chat2/a", false);
        check("backends/chat/a", "backends/chat/a", true);
        check("*", "upstreams/chat", true);
        check("r*", "revocations/ann", true);
    }

    #[test]
    fn what_covers_nothing_is_no_entry() {
        for text in [
            "",
            "admin",
            "route/admin",
            "routes",
            "routes/",
            "routes/a/b",
            "*/admin",
            "routes/*/x",
            "routes/**",
            "backends/chat",
            "x*",
        ] {
            let error = text.parse::<Protect>().expect_err(text);
            assert!(error.to_string().contains("covers no document"), "{text}");
        }
    }
}
