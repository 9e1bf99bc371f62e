//! `Range` (RFC 9110, section 14.2): one range of bytes. A request for several ranges gets the
//! whole, which a server may always send.

use std::ops::RangeInclusive;

/// What part of a representation a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: there is no range, or one that is ignored.
    Whole,
    /// These bytes.
    Bytes(RangeInclusive<u64>),
    /// No byte of it is in the range.
    Unsatisfiable,
}

impl Part {
    /// The part of a representation of `length` bytes that this `Range` asks for.
    pub fn of(range: Option<&str>, length: u64) -> Self {
        range
            .and_then(|text| parse(text, length))
            .unwrap_or(Self::Whole)
    }
}

/// `None` if the field is ignored.
fn parse(text: &str, length: u64) -> Option<Part> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    // Also of a list of ranges, whose second part is no number.
    let (first, last) = (first.trim(), last.trim());
    let end = length.checked_sub(1);
    let part = match (first, last) {
        ("", last) => {
            let suffix = number(last)?;
            let start = length.saturating_sub(suffix);
            end.filter(|_| suffix > 0).map(|end| start..=end)
        }
        (first, "") => {
            let first = number(first)?;
            end.filter(|end| first <= *end).map(|end| first..=end)
        }
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            end.filter(|end| first <= *end)
                .map(|end| first..=last.min(end))
        }
    };
    Some(part.map_or(Part::Unsatisfiable, Part::Bytes))
}

/// A number that is too large for any file counts as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(range: &str, length: u64, expected: Part) {
        assert_eq!(
            Part::of(Some(range), length),
            expected,
            "{range} of {length}"
        );
    }

    #[test]
    fn one_range_is_served() {
        check("bytes=0-0", 10, Part::Bytes(0..=0));
        check("bytes=2-5", 10, Part::Bytes(2..=5));
        check("Bytes = 2 - 5", 10, Part::Bytes(2..=5));
        check("bytes=2-", 10, Part::Bytes(2..=9));
        check("bytes=2-99", 10, Part::Bytes(2..=9));
        check("bytes=2-99999999999999999999999", 10, Part::Bytes(2..=9));
        check("bytes=-3", 10, Part::Bytes(7..=9));
        check("bytes=-99", 10, Part::Bytes(0..=9));
    }

    #[test]
    fn a_range_behind_the_end_is_unsatisfiable() {
        check("bytes=10-", 10, Part::Unsatisfiable);
        check("bytes=10-20", 10, Part::Unsatisfiable);
        check("bytes=99999999999999999999999-", 10, Part::Unsatisfiable);
        check("bytes=-0", 10, Part::Unsatisfiable);
        check("bytes=0-", 0, Part::Unsatisfiable);
        check("bytes=-1", 0, Part::Unsatisfiable);
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=+1-2",
            "lines=0-1",
            "bytes=0-1,3-4",
            "bytes=1--2",
            "bytes=0x1-2",
        ] {
            check(range, 10, Part::Whole);
        }
        assert_eq!(Part::of(None, 10), Part::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_inside(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", length in 0_u64..50) {
            if let Part::Bytes(bytes) = Part::of(Some(&text), length) {
                prop_assert!(bytes.start() <= bytes.end() && *bytes.end() < length);
            }
        }
    }
}
