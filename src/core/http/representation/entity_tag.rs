//! Entity tags (RFC 9110, section 8.8.3), and lists of them in preconditions.

use http::HeaderValue;
use http::header::GetAll;

/// How two tags are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both must be strong: the bytes are the same.
    Strong,
    /// Weak ones too: one can stand for the other.
    Weak,
}

/// Whether one of the listed tags equals `tag`, or the list is `*`.
pub fn listed(fields: GetAll<'_, HeaderValue>, tag: Option<&[u8]>, how: Comparison) -> bool {
    fields.iter().any(|field| {
        let field = field.as_bytes().trim_ascii();
        if field == b"*" {
            return true;
        }
        tag.is_some_and(|tag| Tags(field).any(|one| equals(one, tag, how)))
    })
}

/// Whether two tags are equal.
pub fn equals(one: &[u8], other: &[u8], how: Comparison) -> bool {
    let opaque = |tag| strip_weak(tag).unwrap_or(tag);
    match how {
        Comparison::Strong => one == other && strip_weak(one).is_none(),
        Comparison::Weak => opaque(one) == opaque(other),
    }
}

fn strip_weak(tag: &[u8]) -> Option<&[u8]> {
    tag.strip_prefix(b"W/")
}

/// The tags of a list. It ends at the first thing that is none: a tag may contain commas.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let list = self.0.trim_ascii_start();
        let list = match list
            .iter()
            .position(|byte| !matches!(byte, b',' | b' ' | b'\t'))
        {
            Some(start) => &list[start..],
            None => return None,
        };
        let prefix = list.len() - strip_weak(list).unwrap_or(list).len();
        let inner = list[prefix..].strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = list.split_at(prefix + end + 2);
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[track_caller]
    fn check(fields: &[&str], tag: &str, how: Comparison, expected: bool) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(IF_NONE_MATCH, field.parse().expect("a value"));
        }
        let fields = headers.get_all(IF_NONE_MATCH);
        assert_eq!(
            listed(fields, Some(tag.as_bytes()), how),
            expected,
            "{headers:?} {tag}"
        );
    }

    #[test]
    fn tags_are_compared_as_rfc_9110_does() {
        // The table of section 8.8.3.2.
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            check(&[one], other, Comparison::Strong, strong);
            check(&[one], other, Comparison::Weak, weak);
        }
    }

    #[test]
    fn lists_are_searched_to_their_end() {
        let list = ["\"a,b\" , W/\"c\"", ",\"d\""];
        for (tag, expected) in [
            ("\"a,b\"", true),
            ("\"c\"", true),
            ("\"d\"", true),
            ("\"a\"", false),
        ] {
            check(&list, tag, Comparison::Weak, expected);
        }
        check(&["*"], "\"x\"", Comparison::Strong, true);
        check(&["x, \"y\""], "\"y\"", Comparison::Weak, false);
        check(&["\"open"], "\"open", Comparison::Weak, false);
        check(&[""], "\"\"", Comparison::Weak, false);
        check(&["\"\""], "\"\"", Comparison::Strong, true);
    }

    #[test]
    fn without_a_tag_only_a_star_matches() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
        assert!(!listed(
            headers.get_all(IF_NONE_MATCH),
            None,
            Comparison::Weak
        ));
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(listed(
            headers.get_all(IF_NONE_MATCH),
            None,
            Comparison::Weak
        ));
    }
}
