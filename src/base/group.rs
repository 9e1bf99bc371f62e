//! The name of a group of sessions.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest name, in bytes. With it every broker takes the name as a part of its own names.
pub const GROUP_NAME_MAX: usize = 128;

/// A group of sessions, wherever they are: 1 to 128 bytes of text without control characters.
/// Names are compared byte for byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct GroupName(Arc<str>);

/// The text is no name of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a group is 1 to 128 bytes of text without control characters")]
pub struct NotAGroupName;

impl GroupName {
    /// The group with this name.
    ///
    /// # Errors
    /// When no group can have it.
    pub fn parse(text: &str) -> Result<Self, NotAGroupName> {
        let fits = (1..=GROUP_NAME_MAX).contains(&text.len());
        let plain = fits && !text.chars().any(char::is_control);
        plain.then(|| Self(text.into())).ok_or(NotAGroupName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_names_are_bounded_text() {
        let longest = "x".repeat(GROUP_NAME_MAX);
        for good in ["a", "room:lobby", "Straße 7", "a.b*c>d", &longest] {
            assert_eq!(
                GroupName::parse(good).map(|name| name.to_string()),
                Ok(good.to_owned())
            );
        }
        let longer = "x".repeat(GROUP_NAME_MAX + 1);
        for bad in ["", "a\nb", "a\0", "\u{85}", &longer] {
            assert_eq!(GroupName::parse(bad), Err(NotAGroupName), "{bad:?}");
        }
    }
}
