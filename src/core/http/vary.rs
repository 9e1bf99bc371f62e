//! `Vary` (RFC 9111, section 4.1): which stored response a request selects.

use http::header::VARY;
use http::{HeaderMap, HeaderName};

/// The fields of a request that a response depends on, with the values that they had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<(HeaderName, Option<Vec<u8>>)>);

impl Selector {
    /// Of a response and of the request that it answers; none if the fields cannot be read.
    pub fn of(response: &HeaderMap, request: &HeaderMap) -> Option<Self> {
        let mut fields = Vec::new();
        for line in response.get_all(VARY) {
            let line = line.to_str().ok()?;
            for name in line
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
            {
                let name: HeaderName = name.parse().ok()?;
                let value = values(request, &name);
                fields.push((name, value));
            }
        }
        fields.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        fields.dedup();
        Some(Self(fields))
    }

    /// Whether a request has the same values.
    pub fn selects(&self, request: &HeaderMap) -> bool {
        let mut fields = self.0.iter();
        fields.all(|(name, value)| values(request, name) == *value)
    }

    /// The names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let of = |(name, value): &(HeaderName, Option<Vec<u8>>)| {
            64 + name.as_str().len() + value.as_ref().map_or(0, Vec::len)
        };
        self.0.iter().map(of).sum()
    }
}

/// All values of a field as one list, without the space around them.
fn values(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut joined = lines.next()?.as_bytes().trim_ascii().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes().trim_ascii());
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::http::headers::tests::headers;

    #[test]
    fn a_request_selects_the_response_to_an_equal_one() {
        let response = headers(&[("vary", "Accept, accept-language"), ("vary", "x-a")]);
        let asked = headers(&[
            ("accept", "a"),
            ("accept-language", "de"),
            ("accept-language", "en"),
        ]);
        let selector = Selector::of(&response, &asked).expect("it is read");
        assert_eq!(selector.names().count(), 3);
        assert!(selector.selects(&asked));
        for (other, expected) in [
            (
                &[("accept", " a "), ("accept-language", "de, en")][..],
                true,
            ),
            (
                &[("accept", "a"), ("accept-language", "de, en"), ("x-b", "1")],
                true,
            ),
            (&[("accept", "a"), ("accept-language", "en, de")], false),
            (
                &[("accept", "a"), ("accept-language", "de, en"), ("x-a", "")],
                false,
            ),
            (&[("accept", "b"), ("accept-language", "de, en")], false),
            (&[("accept-language", "de, en")], false),
        ] {
            assert_eq!(selector.selects(&headers(other)), expected, "{other:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_selects_nothing() {
        let of = |vary| Selector::of(&headers(&[("vary", vary)]), &HeaderMap::new());
        assert_eq!(of("a b"), None);
        assert_eq!(of("*").map(|one| one.names().count()), Some(1));
        assert_eq!(of(""), Some(Selector::default()));
        assert!(Selector::default().selects(&headers(&[("accept", "a")])));
    }
}
