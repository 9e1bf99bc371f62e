//! A pace as operators write it: so many sessions in a second, a minute or an hour.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sessions in a time, written `"50/s"`, `"600/m"` or `"1000/h"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// More than nothing.
    count: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

const UNITS: [(&str, Unit); 3] = [("s", Unit::Second), ("m", Unit::Minute), ("h", Unit::Hour)];

/// A million in a second is as good as all at once.
const PER_SECOND_MAX: f64 = 1e6;

/// The text is no pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not {A_PACE}")]
pub struct NotAPace(String);

const A_PACE: &str = "a pace such as \"50/s\", \"600/m\" or \"1000/h\"";

impl Pace {
    /// So many in each second.
    pub const fn each_second(count: f64) -> Self {
        Self {
            count,
            unit: Unit::Second,
        }
    }

    /// How many in a second.
    pub fn per_second(self) -> f64 {
        let period = match self.unit {
            Unit::Second => Duration::from_secs(1),
            Unit::Minute => Duration::from_secs(60),
            Unit::Hour => Duration::from_secs(60 * 60),
        };
        self.count / period.as_secs_f64()
    }

    fn is_sound(self) -> bool {
        self.count > 0.0 && self.per_second() <= PER_SECOND_MAX
    }
}

impl FromStr for Pace {
    type Err = NotAPace;

    fn from_str(text: &str) -> Result<Self, NotAPace> {
        let wrong = || NotAPace(text.to_owned());
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let count: f64 = count.trim().parse().map_err(|_| wrong())?;
        let pace = Self {
            count,
            unit: unit.ok_or_else(wrong)?.1,
        };
        pace.is_sound().then_some(pace).ok_or_else(wrong)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, unit)| *unit == self.unit);
        write!(f, "{}/{}", self.count, unit.map_or("", |(name, _)| name))
    }
}

/// Reads a pace, or a number of sessions in a second: what files and processes of before wrote.
pub(super) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pace, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(Pace),
        PerSecond(f64),
    }
    let pace = match Written::deserialize(deserializer)? {
        Written::Text(pace) => pace,
        Written::PerSecond(count) => Pace::each_second(count),
    };
    pace.is_sound()
        .then_some(pace)
        .ok_or_else(|| de::Error::custom(NotAPace(pace.to_string())))
}

struct PaceVisitor;

impl Visitor<'_> for PaceVisitor {
    type Value = Pace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(A_PACE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Pace, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PaceVisitor)
    }
}

impl Serialize for Pace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces_are_read_as_they_are_written() {
        let check = |text: &str, per_second: f64| {
            let pace = text.parse::<Pace>().expect(text);
            assert!((pace.per_second() - per_second).abs() < 1e-9, "{text}");
            assert_eq!(pace.to_string(), text);
        };
        check("50/s", 50.0);
        check("0.5/s", 0.5);
        check("600/m", 10.0);
        check("3600/h", 1.0);
        for text in [
            "",
            "50",
            "50/d",
            "/s",
            "0/s",
            "-1/s",
            "NaN/s",
            "inf/s",
            "2000000/s",
        ] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }
}
