//! The place of a message in the history of its group.

use std::fmt;
use std::str::FromStr;

/// Milliseconds since 1970, and a number among the messages of that millisecond. Later messages
/// have larger ids. Written `1764277200000-0`, as Redis writes the ids of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId {
    /// Milliseconds since 1970.
    pub millis: u64,
    /// Among those of the millisecond.
    pub number: u64,
}

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is milliseconds since 1970, or these with a number: `1764277200000-0`")]
pub struct NotAHistoryId;

impl HistoryId {
    /// The first id of a millisecond.
    pub const fn at(millis: u64) -> Self {
        Self { millis, number: 0 }
    }

    /// The next one behind this, at `millis` if that is later.
    #[must_use]
    pub fn next(self, millis: u64) -> Self {
        if millis > self.millis {
            return Self::at(millis);
        }
        match self.number.checked_add(1) {
            Some(number) => Self { number, ..self },
            None => Self::at(self.millis.saturating_add(1)),
        }
    }

    /// From where a client goes on that has this text: behind an id, or with the messages of a
    /// time in milliseconds.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse_since(text: &str) -> Result<Self, NotAHistoryId> {
        if text.contains('-') {
            return text.parse();
        }
        let millis: u64 = number(text)?;
        Ok(match millis.checked_sub(1) {
            Some(before) => Self {
                millis: before,
                number: u64::MAX,
            },
            None => Self::default(),
        })
    }
}

/// Digits only: `parse` alone also takes a sign.
fn number(text: &str) -> Result<u64, NotAHistoryId> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    value.ok_or(NotAHistoryId)
}

impl FromStr for HistoryId {
    type Err = NotAHistoryId;

    fn from_str(text: &str) -> Result<Self, NotAHistoryId> {
        let (millis, rest) = text.split_once('-').ok_or(NotAHistoryId)?;
        Ok(Self {
            millis: number(millis)?,
            number: number(rest)?,
        })
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_with_time_and_within_a_millisecond() {
        let first = HistoryId::default().next(1000);
        let second = first.next(1000);
        let back = second.next(900);
        assert_eq!(first.to_string(), "1000-0");
        assert_eq!(second.to_string(), "1000-1");
        assert_eq!(back.to_string(), "1000-2", "a clock that steps back");
        let last = HistoryId {
            millis: 5,
            number: u64::MAX,
        };
        assert_eq!(last.next(5), HistoryId::at(6));
    }

    #[test]
    fn a_time_goes_on_with_its_messages_and_an_id_behind_its_own() {
        let time = HistoryId::parse_since("1000").expect("a time");
        assert!(time < HistoryId::at(1000) && time > HistoryId::at(999));
        let id = HistoryId::parse_since("1000-3").expect("an id");
        assert_eq!(
            id,
            HistoryId {
                millis: 1000,
                number: 3
            }
        );
        for wrong in [
            "",
            "-",
            "1-",
            "-1",
            "1-2-3",
            "+1",
            "x",
            "99999999999999999999999",
        ] {
            assert_eq!(HistoryId::parse_since(wrong), Err(NotAHistoryId), "{wrong}");
        }
    }
}
