//! Keys of documents: the kind of a document, and the name under which its source stores it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `upstreams/<name>`, the value of an `[upstreams.<name>]` table.
    Upstream,
    /// `backends/<upstream>/<id>`, an element of an upstream's `backends`.
    Backend,
    /// `authenticators/<name>`, the value of an `[authenticators.<name>]` table.
    Authenticator,
    /// `routes/<name>`, a `[[routes]]` element.
    Route,
    /// `revocations/<name>`, the value of a `[revocations.<name>]` table.
    Revocation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Upstream,
        Self::Backend,
        Self::Authenticator,
        Self::Route,
        Self::Revocation,
    ];

    /// The first part of the keys of such documents.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Upstream => "upstreams",
            Self::Backend => "backends",
            Self::Authenticator => "authenticators",
            Self::Route => "routes",
            Self::Revocation => "revocations",
        }
    }

    /// The singular noun for this kind, for use in messages.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Backend => "backend",
            Self::Authenticator => "authenticator",
            Self::Route => "route",
            Self::Revocation => "revocation",
        }
    }
}

/// The key of a document, below the prefix of its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    /// What it is about.
    pub kind: Kind,
    /// Its name; of a backend, that of its upstream.
    pub name: Arc<str>,
    /// The id of a backend; empty for everything else.
    pub id: Arc<str>,
}

impl DocumentKey {
    /// The key of a backend's document.
    pub fn backend(upstream: &str, id: &str) -> Self {
        Self {
            kind: Kind::Backend,
            name: upstream.into(),
            id: id.into(),
        }
    }

    /// The key of any other document.
    pub fn named(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.into(),
            id: "".into(),
        }
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.folder(), self.name)?;
        if self.kind == Kind::Backend {
            write!(f, "/{}", self.id)?;
        }
        Ok(())
    }
}

/// An invalid key for a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDocumentKey {
    /// Its first part is unknown.
    #[error(
        "no documents are kept under `{0}/`, only under `routes/`, `upstreams/`, `authenticators/`, \
         `backends/` and `revocations/`"
    )]
    Folder(String),
    /// The key has too few or too many parts.
    #[error("a {0} is kept under `{1}`")]
    Shape(&'static str, &'static str),
}

impl FromStr for DocumentKey {
    type Err = NoDocumentKey;

    /// The id of a backend may hold slashes, as the path of a unix socket does.
    fn from_str(key: &str) -> Result<Self, NoDocumentKey> {
        let (folder, rest) = key.split_once('/').unwrap_or((key, ""));
        let kind = Kind::ALL.into_iter().find(|kind| kind.folder() == folder);
        let kind = kind.ok_or_else(|| NoDocumentKey::Folder(folder.to_owned()))?;
        let shape = |pattern| Err(NoDocumentKey::Shape(kind.noun(), pattern));
        match (kind, rest.split_once('/')) {
            (Kind::Backend, Some((name, id))) if !name.is_empty() && !id.is_empty() => {
                Ok(Self::backend(name, id))
            }
            (Kind::Backend, _) => shape("backends/<upstream>/<id>"),
            (_, None) if !rest.is_empty() => Ok(Self::named(kind, rest)),
            (Kind::Upstream, _) => shape("upstreams/<name>"),
            (Kind::Authenticator, _) => shape("authenticators/<name>"),
            (Kind::Route, _) => shape("routes/<name>"),
            (Kind::Revocation, _) => shape("revocations/<name>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_shown_alike() {
        let check = |text: &str, key: DocumentKey| {
            assert_eq!(text.parse(), Ok(key.clone()), "{text}");
            assert_eq!(key.to_string(), text);
        };
        check("routes/chat", DocumentKey::named(Kind::Route, "chat"));
        check(
            "revocations/ann",
            DocumentKey::named(Kind::Revocation, "ann"),
        );
        check("upstreams/a.b", DocumentKey::named(Kind::Upstream, "a.b"));
        check(
            "backends/chat/10.0.0.1:9000",
            DocumentKey::backend("chat", "10.0.0.1:9000"),
        );
        check(
            "backends/chat/unix:/run/a.sock",
            DocumentKey::backend("chat", "unix:/run/a.sock"),
        );
    }

    #[test]
    fn unknown_keys_are_reported() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<DocumentKey>().expect_err(text);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        };
        check("", "`/`");
        check("rutes/chat", "`rutes/`");
        check("routes/", "routes/<name>");
        check("routes", "routes/<name>");
        check("routes/a/b", "routes/<name>");
        check("upstreams/a/b", "upstreams/<name>");
        check("backends/chat", "backends/<upstream>/<id>");
        check("backends/chat/", "backends/<upstream>/<id>");
        check("backends//b", "backends/<upstream>/<id>");
    }
}
