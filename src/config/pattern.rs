//! What a route's `hosts` and `path` may be, and templates that are filled from a path's
//! parameters.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// A host name of a route: `chat.example.com`, or `*.example.com` for any number of labels in
/// front.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Lower case, without a port.
    Exact(String),
    /// Lower case, what follows `*.`; it does not match that name itself.
    Wildcard(String),
}

/// A path of a route: segments, each exact, `{name}` for one segment, and `{*name}` at the end for
/// all that is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(Vec<Segment>);

/// One part between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, byte for byte as it is in the request (percent signs and all).
    Exact(String),
    /// Any one segment that is not empty, under this name.
    Parameter(String),
    /// Everything that is left, slashes included, maybe nothing. Always last.
    Rest(String),
}

/// A path to be filled from parameters: `/rooms/{room}/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate(PathPattern);

/// The text is no pattern; the message says why and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a host.
    #[error(
        "`{0}` is not a host; write `chat.example.com` or `*.example.com`, without scheme, port or path"
    )]
    Host(String),
    /// Not a path.
    #[error("`{0}` does not begin with `/`")]
    NoSlash(String),
    /// A brace where none may be.
    #[error(
        "segment `{0}` mixes text and parameter; a parameter is a whole segment: `/{{name}}` or, at the end, `/{{*rest}}`"
    )]
    Segment(String),
    /// A parameter without a proper name.
    #[error("`{0}` is not a parameter's name; use letters, digits and `_`")]
    Name(String),
    /// A name used twice.
    #[error("parameter `{0}` stands in the path twice")]
    Twice(String),
    /// More after the rest.
    #[error("`{{*{0}}}` takes everything that is left, so it must be the last segment")]
    RestNotLast(String),
    /// Not a character of a path.
    #[error("`{0}` holds a character that no path has; write it percent-encoded")]
    Character(String),
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let lower = text.to_ascii_lowercase();
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let bracketed = name.starts_with('[')
            && name.ends_with(']')
            && name[1..name.len() - 1]
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        if !(name.split('.').all(label) || (bracketed && !wildcard)) || name.len() > 253 {
            return Err(PatternError::Host(text.to_owned()));
        }
        let name = name.to_owned();
        Ok(if wildcard {
            Self::Wildcard(name)
        } else {
            Self::Exact(name)
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
        }
    }
}

impl PathPattern {
    /// The pattern that matches every path: `/{*rest}`.
    pub fn everything() -> Self {
        Self(vec![Segment::Rest("rest".to_owned())])
    }

    /// What it is made of; `/` has one empty exact segment.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// What a path that it matches has at a parameter, undecoded.
    pub fn value<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut rest = Some(path.strip_prefix('/')?);
        for segment in &self.0 {
            if let Segment::Rest(known) = segment {
                return rest.filter(|_| known == name);
            }
            let (part, after) = match rest?.split_once('/') {
                Some((part, after)) => (part, Some(after)),
                None => (rest?, None),
            };
            match segment {
                Segment::Parameter(known) if known == name => return Some(part),
                Segment::Exact(text) if text != part => return None,
                _ => rest = after,
            }
        }
        None
    }

    /// Names of its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Exact(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name.as_str()),
        })
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let inner = text
            .strip_prefix('/')
            .ok_or_else(|| PatternError::NoSlash(text.to_owned()))?;
        let mut segments = Vec::new();
        for part in inner.split('/') {
            if let Some(Segment::Rest(name)) = segments.last() {
                return Err(PatternError::RestNotLast(name.clone()));
            }
            segments.push(segment(part)?);
        }
        let pattern = Self(segments);
        let mut seen = Vec::new();
        for name in pattern.parameters() {
            if seen.contains(&name) {
                return Err(PatternError::Twice(name.to_owned()));
            }
            seen.push(name);
        }
        Ok(pattern)
    }
}

fn segment(part: &str) -> Result<Segment, PatternError> {
    let Some(inner) = part
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        if part.contains(['{', '}']) {
            return Err(PatternError::Segment(part.to_owned()));
        }
        if !part
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
        {
            return Err(PatternError::Character(part.to_owned()));
        }
        return Ok(Segment::Exact(part.to_owned()));
    };
    let (name, rest) = match inner.strip_prefix('*') {
        Some(name) => (name, true),
        None => (inner, false),
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(PatternError::Name(name.to_owned()));
    }
    let name = name.to_owned();
    Ok(if rest {
        Segment::Rest(name)
    } else {
        Segment::Parameter(name)
    })
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Exact(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
                Segment::Rest(name) => write!(f, "/{{*{name}}}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for PathTemplate {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        text.parse().map(Self)
    }
}

impl PathTemplate {
    /// Names that it wants.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.parameters()
    }

    /// The path with each parameter's value in its place; a name that has no value leaves nothing.
    pub fn fill(&self, values: &HashMap<&str, &str>) -> String {
        let mut path = String::new();
        for segment in self.0.segments() {
            path.push('/');
            match segment {
                Segment::Exact(text) => path.push_str(text),
                Segment::Parameter(name) | Segment::Rest(name) => {
                    path.push_str(values.get(name.as_str()).unwrap_or(&""))
                }
            }
        }
        path
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_values_at_its_parameters() {
        let check = |pattern: &str, path: &str, name: &str, expected: Option<&str>| {
            let pattern: PathPattern = pattern.parse().expect("a pattern");
            assert_eq!(
                pattern.value(path, name),
                expected,
                "{pattern} {path} {name}"
            );
        };
        check("/ws/{room}", "/ws/7", "room", Some("7"));
        check("/ws/{room}", "/ws/7", "other", None);
        check("/ws/{room}", "/v2/7", "room", None);
        check("/ws/{room}", "/ws", "room", None);
        check("/{a}/b/{b}", "/1/b/2", "b", Some("2"));
        check("/{a}/{*rest}", "/1/b/2", "rest", Some("b/2"));
        check("/{a}/{*rest}", "/1/", "rest", Some(""));
        check("/{a}/{*rest}", "/1", "rest", None);
    }

    #[test]
    fn paths_are_read_and_written_alike() {
        for text in [
            "/",
            "/ws",
            "/ws/",
            "/ws/{room}",
            "/{a}/b/{*rest}",
            "/{*rest}",
            "/a%20b",
        ] {
            assert_eq!(text.parse::<PathPattern>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_says_why() {
        let check = |text: &str, fault: &str| {
            let error = text.parse::<PathPattern>().expect_err(text).to_string();
            assert!(error.contains(fault), "{text}: {error}");
        };
        check("ws", "does not begin with");
        check("/a{b}", "whole segment");
        check("/{}", "not a parameter's name");
        check("/{a}/{a}", "twice");
        check("/{*a}/b", "last segment");
        check("/a b", "percent-encoded");
        check("/a?b", "percent-encoded");
    }

    #[test]
    fn hosts_are_names_without_port_or_scheme() {
        for text in [
            "a",
            "chat.example.com",
            "*.example.com",
            "127.0.0.1",
            "[::1]",
        ] {
            assert_eq!(text.parse::<HostPattern>().expect(text).to_string(), text);
        }
        for text in [
            "", "*", "*.", "a..b", "http://a", "a:80", "a/b", "*.*.b", "a b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn templates_are_filled_by_name() {
        let template: PathTemplate = "/rooms/{room}/{*rest}".parse().expect("a template");
        let values = HashMap::from([("room", "7"), ("rest", "a/b")]);
        assert_eq!(template.fill(&values), "/rooms/7/a/b");
    }
}
