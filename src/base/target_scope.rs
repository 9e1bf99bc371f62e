//! What a token may publish to.

use std::fmt;
use std::str::FromStr;

use crate::base::target::Target;

/// Longest scope, in bytes.
const SCOPE_MAX: usize = 1100;

/// A pattern of targets: `group:lobby`, `group:room-*` (all names that begin so), `principal:*`
/// (all of a kind), `all` (only the target `all`), or `*` (every target).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What a target's text begins with, or what it is.
    text: Box<str>,
    /// Whether anything may follow.
    prefix: bool,
}

/// The text is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is a target, a target whose name ends with `*` (`group:room-*`, `principal:*`), \
     `all`, or `*` for every target"
)]
pub struct NotAScope;

impl Scope {
    /// Whether a target is within it.
    pub fn permits(&self, target: &Target) -> bool {
        let text = target.to_string();
        match self.prefix {
            true => text.starts_with(&*self.text),
            false => *text == *self.text,
        }
    }
}

impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let (begin, prefix) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        let kinds = ["session:", "principal:", "group:", "route:"];
        let known = kinds.iter().any(|kind| begin.starts_with(kind)) || text == "*";
        let whole = !prefix && text.parse::<Target>().is_ok();
        let plain = text.len() <= SCOPE_MAX && !begin.contains('*');
        let fits = plain && !text.chars().any(char::is_control);
        // A session's id is written in capitals.
        let begin = match begin.strip_prefix("session:") {
            Some(id) => format!("session:{}", id.to_ascii_uppercase()),
            None => begin.to_owned(),
        };
        (fits && (whole || prefix && known))
            .then(|| Self {
                text: begin.into(),
                prefix,
            })
            .ok_or(NotAScope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.prefix { "*" } else { "" };
        write!(f, "{}{star}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_permits_its_targets_only() {
        for (scope, within, without) in [
            (
                "group:lobby",
                &["group:lobby"][..],
                &["group:lobby2", "principal:lobby", "all"][..],
            ),
            (
                "group:room-*",
                &["group:room-", "group:room-1"],
                &["group:room", "route:room-1"],
            ),
            (
                "principal:*",
                &["principal:7", "principal:*"],
                &["group:7", "all"],
            ),
            ("all", &["all"], &["group:all", "route:x"]),
            ("*", &["all", "group:x", "principal:x", "route:x"], &[]),
            (
                "session:01arz3ndektsv4rrffq69g5fav",
                &[
                    "session:01ARZ3NDEKTSV4RRFFQ69G5FAV",
                    "session:01arz3ndektsv4rrffq69g5fav",
                ],
                &["session:01ARZ3NDEKTSV4RRFFQ69G5FAW"],
            ),
        ] {
            let parsed: Scope = scope.parse().expect(scope);
            for target in within {
                assert!(
                    parsed.permits(&target.parse().expect(target)),
                    "{scope} {target}"
                );
            }
            for target in without {
                assert!(
                    !parsed.permits(&target.parse().expect(target)),
                    "{scope} {target}"
                );
            }
        }
    }

    #[test]
    fn what_could_be_misread_is_no_scope() {
        for text in [
            "",
            "group",
            "group:*x",
            "gr*",
            "*:x",
            "all*",
            "group:a**",
            "user:*",
            "group:\n*",
        ] {
            assert_eq!(text.parse::<Scope>(), Err(NotAScope), "{text:?}");
        }
    }
}
