//! Names given by operators. Each kind is a separate type, so that a route's name cannot be passed
//! where an upstream's is expected; all are cheap to clone.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts any text; the configuration validates the characters of names.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// A `[[listeners]]` entry.
    ListenerName
);
name!(
    /// A `[[routes]]` entry.
    RouteName
);
name!(
    /// An `[upstreams.<name>]` table.
    UpstreamName
);
name!(
    /// An `[authenticators.<name>]` table.
    AuthenticatorName
);
name!(
    /// A `[functions.<name>]` table.
    FunctionName
);
name!(
    /// One member of an upstream. Unless the operator gives one, it is the backend's address as
    /// written; the placement of keys depends on it (I2), so it stays the same when other settings
    /// change.
    BackendId
);
