//! The one form in which a path is compared, and the one in which it is forwarded. Servers read
//! more than one spelling of a path: they decode, merge slashes, cut at `;`, resolve dots. A
//! gateway that compares other text than its backend serves guards nothing, so every path is
//! brought to a canonical form before anything is decided, and that form is what the backend gets.
//! Which spellings a route may pass on is the operator's decision; what they are is decided here.

use std::borrow::Cow;
use std::fmt;

/// How a route's backend reads what other servers read as structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathRules {
    /// An encoded slash, a backslash and an encoded backslash are data.
    pub encoded_slash: bool,
    /// A semicolon is data.
    pub semicolon: bool,
    /// Empty segments are data: they are forwarded, not merged.
    pub empty_segments: bool,
    /// Case, a trailing slash, and dots or spaces at the end of a segment distinguish paths.
    pub lookalikes: bool,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathFault {
    /// It does not begin with `/`: the `*` of OPTIONS, for example.
    NotAbsolute,
    /// A segment is `.` or `..`, plain, encoded, or in a form that some server reads so.
    DotSegment,
    /// `%` without two hexadecimal digits.
    Percent,
    /// The decoded bytes are not UTF-8.
    NotUtf8,
    /// A control character, NUL included, plain or encoded.
    Control,
    /// A character that no URI has.
    Character,
    /// An encoded slash, a backslash or an encoded backslash, on a route that does not pass it on.
    EncodedSlash,
    /// A semicolon, on a route that does not pass it on.
    Semicolon,
    /// Another spelling of a path that is guarded differently.
    Lookalike,
}

impl PathFault {
    /// For people, in a sentence without its full stop.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with `/`",
            Self::DotSegment => "the path has a `.` or `..` segment",
            Self::Percent => "the path has a `%` without two hexadecimal digits",
            Self::NotUtf8 => "the decoded path is not UTF-8",
            Self::Control => "the path has a control character",
            Self::Character => "the path has a character that no URI has",
            Self::EncodedSlash => {
                "the path has an encoded slash or a backslash, which this route does not pass on"
            }
            Self::Semicolon => "the path has a semicolon, which this route does not pass on",
            Self::Lookalike => "the path is another spelling of one that is guarded differently",
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    merged: String,
    /// With its empty segments, where it has some.
    unmerged: Option<String>,
    encoded_slash: bool,
    semicolon: bool,
}

impl CanonicalPath {
    /// Parses the path of a request target, without the query. The result is the normal form of RFC
    /// 3986, section 6.2.2: unreserved characters are not encoded, hexadecimal digits are upper
    /// case, and characters that a path may not contain are encoded; empty segments are merged.
    ///
    /// # Errors
    /// When servers would read it differently, on any route.
    pub fn read(raw: &str) -> Result<Self, PathFault> {
        if !raw.starts_with('/') {
            return Err(PathFault::NotAbsolute);
        }
        let mut path = Self {
            merged: String::new(),
            unmerged: None,
            encoded_slash: false,
            semicolon: false,
        };
        let text = path.normalise(raw)?;
        if has_dot_segment(&text) {
            return Err(PathFault::DotSegment);
        }
        if text.contains("//") {
            path.merged = merge(&text);
            path.unmerged = Some(text);
        } else {
            path.merged = text;
        }
        Ok(path)
    }

    /// The path that routes are matched with.
    pub fn as_str(&self) -> &str {
        &self.merged
    }

    /// The path that a backend with these rules gets.
    pub fn forwarded(&self, rules: PathRules) -> &str {
        match &self.unmerged {
            Some(unmerged) if rules.empty_segments => unmerged,
            _ => &self.merged,
        }
    }

    /// What a route must pass on to take it.
    pub fn needs(&self) -> PathRules {
        PathRules {
            encoded_slash: self.encoded_slash,
            semicolon: self.semicolon,
            ..PathRules::default()
        }
    }

    /// Whether a route with these rules passes this path on.
    ///
    /// # Errors
    /// What it does not pass on.
    pub fn allowed(&self, rules: PathRules) -> Result<(), PathFault> {
        if self.encoded_slash && !rules.encoded_slash {
            Err(PathFault::EncodedSlash)
        } else if self.semicolon && !rules.semicolon {
            Err(PathFault::Semicolon)
        } else {
            Ok(())
        }
    }

    /// Whether it has empty segments before its end.
    pub fn has_empty_segments(&self) -> bool {
        self.unmerged.is_some()
    }

    fn normalise(&mut self, raw: &str) -> Result<String, PathFault> {
        let bytes = raw.as_bytes();
        let mut out = String::with_capacity(bytes.len());
        let mut decoded = Vec::new();
        let mut left = bytes;
        while let [first, rest @ ..] = left {
            left = rest;
            let encoded = *first == b'%';
            let byte = if encoded {
                let byte = decode(rest).ok_or(PathFault::Percent)?;
                left = &rest[2..];
                byte
            } else {
                *first
            };
            match byte {
                0..0x20 | 0x7f => return Err(PathFault::Control),
                b' ' | b'"' | b'<' | b'>' | b'`' | b'#' | b'?' if !encoded => {
                    return Err(PathFault::Character);
                }
                b'/' if encoded => self.encoded_slash = true,
                b'\\' => self.encoded_slash = true,
                b';' => self.semicolon = true,
                _ => {}
            }
            if byte >= 0x80 {
                decoded.push(byte);
            } else if std::str::from_utf8(&decoded).is_ok() {
                decoded.clear();
            } else {
                return Err(PathFault::NotUtf8);
            }
            let plain = if encoded {
                is_unreserved(byte)
            } else {
                is_path_byte(byte)
            };
            if plain {
                out.push(char::from(byte));
            } else {
                encode(byte, &mut out);
            }
        }
        match std::str::from_utf8(&decoded) {
            Ok(_) => Ok(out),
            Err(_) => Err(PathFault::NotUtf8),
        }
    }
}

/// The text by which a canonical path, or a part of one, is compared: decoded, so that two
/// spellings of a reserved character are one. What has a meaning beside its character stays
/// encoded: the slashes that part segments, and the percent sign.
pub fn path_key(canonical: &str) -> Cow<'_, str> {
    if !canonical.contains('%') {
        return Cow::Borrowed(canonical);
    }
    let mut out = Vec::with_capacity(canonical.len());
    let mut left = canonical.as_bytes();
    while let [first, rest @ ..] = left {
        match decode(rest).filter(|_| *first == b'%') {
            Some(b'/' | b'\\' | b'%') | None => {
                out.push(*first);
                left = rest;
            }
            Some(byte) => {
                out.push(byte);
                left = &rest[2..];
            }
        }
    }
    match String::from_utf8(out) {
        Ok(key) => Cow::Owned(key),
        // Not canonical: it is compared as written.
        Err(_) => Cow::Borrowed(canonical),
    }
}

/// The bytes that a part of a canonical path means.
pub fn decoded(part: &str) -> Cow<'_, [u8]> {
    if !part.contains('%') {
        return Cow::Borrowed(part.as_bytes());
    }
    let mut out = Vec::with_capacity(part.len());
    let mut left = part.as_bytes();
    while let [first, rest @ ..] = left {
        match decode(rest).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                left = &rest[2..];
            }
            None => {
                out.push(*first);
                left = rest;
            }
        }
    }
    Cow::Owned(out)
}

/// A key as it is written in a path.
pub fn encode_key(key: &str, out: &mut String) {
    for byte in key.bytes() {
        if is_path_byte(byte) || byte == b'%' {
            out.push(char::from(byte));
        } else {
            encode(byte, out);
        }
    }
}

/// What is equal of two keys that some server takes for one path: the case of letters, a slash at
/// the end, and dots or spaces at the end of a segment (file systems of Windows) do not count.
pub fn fold(key: &str) -> Cow<'_, str> {
    let odd = |byte: u8| byte.is_ascii_uppercase() || byte >= 0x80;
    let bytes = key.as_bytes();
    let ends_odd = |end: usize| matches!(bytes[end], b'.' | b' ' | b'/');
    let ends = memchr::memchr_iter(b'/', bytes).filter(|slash| *slash > 0);
    let plain = !bytes.iter().copied().any(odd)
        && !ends.into_iter().any(|slash| ends_odd(slash - 1))
        && bytes.last().is_some_and(|_| !ends_odd(bytes.len() - 1));
    if plain {
        return Cow::Borrowed(key);
    }
    let lower = key.to_lowercase();
    let mut out = String::with_capacity(lower.len());
    for segment in lower.split('/').filter(|segment| !segment.is_empty()) {
        out.push('/');
        out.push_str(fold_segment(segment));
    }
    Cow::Owned(out)
}

/// A segment in lower case without what `fold` takes off its end.
pub fn fold_segment(lower: &str) -> &str {
    match lower.trim_end_matches(['.', ' ']) {
        "" => lower,
        kept => kept,
    }
}

/// What follows `prefix`, if that ends where a segment of `path` does. Runs of slashes count as
/// one, so that it holds for a path with empty segments too.
pub fn strip_prefix<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    let mut left = path;
    for wanted in prefix.split('/').filter(|segment| !segment.is_empty()) {
        let inner = left.strip_prefix('/')?.trim_start_matches('/');
        let end = memchr::memchr(b'/', inner.as_bytes()).unwrap_or(inner.len());
        if path_key(&inner[..end]) != path_key(wanted) {
            return None;
        }
        left = &inner[end..];
    }
    Some(if left.is_empty() { "/" } else { left })
}

/// The first segment of `text`, and what follows its slash if one follows.
pub fn split_segment(text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', text.as_bytes()) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

fn merge(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter != '/' || !out.ends_with('/') {
            out.push(letter);
        }
    }
    out
}

/// Segments are cut where any server is known to cut them: at `/`, `\` and their encoded forms, and
/// a segment's dots end at `;` (path parameters of Java servers). The text is normalised: dots are
/// not encoded, the rest is in one spelling.
fn has_dot_segment(text: &str) -> bool {
    if !text.contains('.') {
        return false;
    }
    let dots = |segment: &str| matches!(segment, "." | "..");
    text.replace("%2F", "/")
        .replace("%5C", "/")
        .replace("%3B", ";")
        .split('/')
        .any(|segment| dots(segment.split(';').next().unwrap_or(segment)))
}

/// RFC 3986, section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a path may hold unencoded (RFC 3986, section 3.3), slashes included.
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

fn encode(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// The byte that two hexadecimal digits at the start of `text` mean.
pub(super) fn decode(text: &[u8]) -> Option<u8> {
    let digit = |place: usize| char::from(*text.get(place)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests;
