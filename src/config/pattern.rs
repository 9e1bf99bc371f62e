//! What a route's `hosts` and `path` may be, and templates that are filled from a path's
//! parameters.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

use crate::base::host;
use crate::base::path::{
    CanonicalPath, PathFault, PathRules, encode_key, fold_segment, path_key, split_segment,
};

mod foreign;

pub use foreign::probably_meant;

/// Bytes of a path pattern.
pub const PATH_BYTES_MAX: usize = 2048;
/// Segments of a path pattern. Whatever walks one, or the tree that is built of them, is no deeper.
pub const PATH_SEGMENTS_MAX: usize = 64;

/// A host name of a route: `chat.example.com`, or `*.example.com` for any number of labels in
/// front.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// In canonical form, without a port.
    Exact(String),
    /// In canonical form, what follows `*.`; it does not match that name itself.
    Wildcard(String),
}

/// A path of a route: segments, each exact, `{name}` for one segment, and `{*name}` at the end for
/// all that is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    segments: Vec<Segment>,
    /// What a route must pass on for this pattern to match anything.
    needs: PathRules,
}

/// One part between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A segment with this key (`base::path::path_key`).
    Exact(String),
    /// Any one segment that is not empty, under this name.
    Parameter(String),
    /// Everything that is left, slashes included, maybe nothing. Always last.
    Rest(String),
}

/// A path to be filled from parameters: `/rooms/{room}/{*rest}`. Its exact texts are in canonical
/// form, as they are forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate(Vec<Segment>);

/// Values of a path's parameters, in order.
pub type Captures<'p> = SmallVec<[&'p str; 4]>;

/// The text is no pattern; the message has the reason and an example.
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
    #[error("`{{*{0}}}` matches the rest of the path, so it must be the last segment")]
    RestNotLast(String),
    /// Not a character of a path.
    #[error("`{0}` holds a character that no path has; write it percent-encoded")]
    Character(String),
    /// No request has such a path.
    #[error("`{0}` matches no request: {1}")]
    Canonical(String, PathFault),
    /// Requests have none before their end.
    #[error("`{0}` has an empty segment; those of requests are merged, so it would match nothing")]
    EmptySegment(String),
    /// Too much of it.
    #[error("a path of {0} bytes is too long; use at most {PATH_BYTES_MAX}")]
    TooLong(usize),
    /// Too many parts.
    #[error("a path of {0} segments is too deep; use at most {PATH_SEGMENTS_MAX}")]
    TooDeep(usize),
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let canonical = host::canonical_name(name);
        match canonical.filter(|name| !(wildcard && name.starts_with('['))) {
            Some(name) if wildcard => Ok(Self::Wildcard(name)),
            Some(name) => Ok(Self::Exact(name)),
            None => Err(PatternError::Host(text.to_owned())),
        }
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
        Self {
            segments: vec![Segment::Rest("rest".to_owned())],
            needs: PathRules::default(),
        }
    }

    /// What it is made of; `/` has one empty exact segment.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What a route must pass on for this pattern to match anything.
    pub fn needs(&self) -> PathRules {
        self.needs
    }

    /// Its segments without what does not count between lookalikes (`base::path::fold`).
    pub fn folded(&self) -> Vec<Segment> {
        let fold = |segment: &Segment| match segment {
            Segment::Exact(text) => Segment::Exact(fold_segment(&text.to_lowercase()).to_owned()),
            Segment::Parameter(_) => Segment::Parameter(String::new()),
            Segment::Rest(_) => Segment::Rest(String::new()),
        };
        let mut folded: Vec<_> = self.segments.iter().map(fold).collect();
        if matches!(folded.last(), Some(Segment::Exact(text)) if text.is_empty()) {
            folded.pop();
        }
        folded
    }

    /// Values of its parameters in a canonical path, undecoded; `None` if it does not match. A path
    /// may have empty segments: runs of slashes count as one, except in what `{*name}` takes.
    pub fn captures<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        let mut values = Captures::new();
        let mut left = Some(path.strip_prefix('/')?);
        for segment in &self.segments {
            let text = match segment {
                Segment::Rest(_) => {
                    values.push(left.unwrap_or_default());
                    return Some(values);
                }
                Segment::Exact(wanted) if wanted.is_empty() => left?,
                Segment::Exact(_) | Segment::Parameter(_) => left?.trim_start_matches('/'),
            };
            let (part, after) = split_segment(text);
            match segment {
                Segment::Exact(wanted) if path_key(part) == *wanted => {}
                Segment::Parameter(_) if !part.is_empty() => values.push(part),
                _ => return None,
            }
            left = after;
        }
        let ended = left.is_none_or(|rest| {
            let slash =
                matches!(self.segments.last(), Some(Segment::Exact(last)) if last.is_empty());
            slash && rest.bytes().all(|byte| byte == b'/')
        });
        ended.then_some(values)
    }

    /// What a path that it matches has at a parameter, undecoded.
    pub fn value<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let place = self.parameters().position(|known| known == name)?;
        self.captures(path)?.get(place).copied()
    }

    /// Names of its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        names(&self.segments)
    }
}

fn names(segments: &[Segment]) -> impl Iterator<Item = &str> {
    segments.iter().filter_map(|segment| match segment {
        Segment::Exact(_) => None,
        Segment::Parameter(name) | Segment::Rest(name) => Some(name.as_str()),
    })
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (mut segments, needs) = parse(text)?;
        let last = segments.len() - 1;
        for (place, segment) in segments.iter_mut().enumerate() {
            match segment {
                Segment::Exact(exact) if exact.is_empty() && place < last => {
                    return Err(PatternError::EmptySegment(text.to_owned()));
                }
                Segment::Exact(exact) => {
                    if let Cow::Owned(key) = path_key(exact) {
                        *exact = key;
                    }
                }
                Segment::Parameter(_) | Segment::Rest(_) => {}
            }
        }
        Ok(Self { segments, needs })
    }
}

/// Segments with exact texts in canonical form, and the parts that only some routes pass on.
fn parse(text: &str) -> Result<(Vec<Segment>, PathRules), PatternError> {
    if text.len() > PATH_BYTES_MAX {
        return Err(PatternError::TooLong(text.len()));
    }
    let inner = text
        .strip_prefix('/')
        .ok_or_else(|| PatternError::NoSlash(text.to_owned()))?;
    let depth = inner.split('/').count();
    if depth > PATH_SEGMENTS_MAX {
        return Err(PatternError::TooDeep(depth));
    }
    let mut segments = Vec::with_capacity(depth);
    let mut needs = PathRules::default();
    for part in inner.split('/') {
        if let Some(Segment::Rest(name)) = segments.last() {
            return Err(PatternError::RestNotLast(name.clone()));
        }
        segments.push(segment(part, &mut needs)?);
    }
    let mut seen = HashSet::new();
    let twice = names(&segments).find(|name| !seen.insert(*name));
    match twice.map(str::to_owned) {
        Some(name) => Err(PatternError::Twice(name)),
        None => Ok((segments, needs)),
    }
}

fn segment(part: &str, needs: &mut PathRules) -> Result<Segment, PatternError> {
    let Some(inner) = part
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        if part.contains(['{', '}']) {
            return Err(PatternError::Segment(part.to_owned()));
        }
        return exact(part, needs).map(Segment::Exact);
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

/// The canonical form of a segment that is written out.
fn exact(part: &str, needs: &mut PathRules) -> Result<String, PatternError> {
    // An operator means `<` and `>` as characters; `foreign` warns of what was probably meant.
    let part = part.replace('<', "%3C").replace('>', "%3E");
    let path = CanonicalPath::read(&format!("/{part}")).map_err(|fault| match fault {
        PathFault::Character | PathFault::Control => PatternError::Character(part.clone()),
        fault => PatternError::Canonical(part.clone(), fault),
    })?;
    let more = path.needs();
    needs.encoded_slash |= more.encoded_slash;
    needs.semicolon |= more.semicolon;
    Ok(path.as_str()[1..].to_owned())
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_segments(&self.segments, f, |key| {
            let mut text = String::new();
            encode_key(key, &mut text);
            text
        })
    }
}

fn write_segments(
    segments: &[Segment],
    f: &mut fmt::Formatter<'_>,
    exact: impl Fn(&str) -> String,
) -> fmt::Result {
    for segment in segments {
        match segment {
            Segment::Exact(text) => write!(f, "/{}", exact(text))?,
            Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            Segment::Rest(name) => write!(f, "/{{*{name}}}")?,
        }
    }
    Ok(())
}

impl FromStr for PathTemplate {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        parse(text).map(|(segments, _)| Self(segments))
    }
}

impl PathTemplate {
    /// What it is made of.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Names that it needs.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        names(&self.0)
    }

    /// The path with each parameter's value in its place; a name that has no value leaves nothing.
    pub fn fill(&self, values: &HashMap<&str, &str>) -> String {
        let mut path = String::new();
        for segment in &self.0 {
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
        write_segments(&self.0, f, str::to_owned)
    }
}

#[cfg(test)]
mod tests;
