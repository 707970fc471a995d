//! Notations of `berth.toml` that are more than a number or a text.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `FIRST-LAST`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<T> {
    pub first: T,
    pub last: T,
}

impl<T: Copy> Range<T> {
    pub fn inclusive(self) -> RangeInclusive<T> {
        self.first..=self.last
    }
}

impl<T: fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl<T: FromStr + PartialOrd> FromStr for Range<T> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let help = "must be two numbers with a hyphen between them, the smaller first";
        let (first, last) = text.split_once('-').ok_or(help)?;
        let first = first.trim().parse().map_err(|_| help)?;
        let last = last.trim().parse().map_err(|_| help)?;
        if last < first {
            return Err(help);
        }
        Ok(Self { first, last })
    }
}

impl<'de, T: FromStr + PartialOrd> Deserialize<'de> for Range<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<T: fmt::Display> Serialize for Range<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A length of time as people write it: `500ms`, `10s`, `2h 30m`, `7d` (a day is 24 hours).
pub mod duration {
    use std::time::Duration;

    use jiff::{SignedDuration, SpanRelativeTo};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            de::Error::custom(
                "must be a length of time above zero, such as \"500ms\", \"10s\" or \"2h\"",
            )
        })
    }

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let signed = SignedDuration::try_from(*value).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&format!("{signed:#}"))
    }

    fn parse(text: &str) -> Option<Duration> {
        let span: jiff::Span = text.parse().ok()?;
        let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(signed).ok().filter(|d| !d.is_zero())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn people_write_durations_in_many_ways() {
            assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
            assert_eq!(parse("2h 30m"), Some(Duration::from_secs(9000)));
            assert_eq!(parse("7d"), Some(Duration::from_secs(604_800)));
            for bad in ["", "0s", "-3s", "10", "soon"] {
                assert_eq!(parse(bad), None, "{bad:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_needs_two_numbers_in_order() {
        assert_eq!(
            "20-30".parse(),
            Ok(Range {
                first: 20_u16,
                last: 30
            })
        );
        for bad in ["30-20", "20", "-20", "a-b", "20-99999"] {
            assert!(bad.parse::<Range<u16>>().is_err(), "{bad:?}");
        }
    }
}
