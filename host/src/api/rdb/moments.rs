//! Dates and times as this dialect writes them and as its clients do: RFC 3339, with a space instead of the `T`, and
//! without an offset, which is UTC then.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Serializer;

pub const HELP: &str = "for example 2030-01-02T03:04:05Z";

pub fn parse(text: &str) -> Option<Timestamp> {
    let looks_like = text.as_bytes().first().is_some_and(u8::is_ascii_digit)
        && text.len() <= 64
        && !text.contains('[');
    if !looks_like {
        return None;
    }
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    // A date without a time is not a moment.
    if text.parse::<Date>().is_ok() && !text.contains(':') {
        return None;
    }
    let naive: DateTime = text.parse().ok()?;
    let moment = naive.to_zoned(TimeZone::UTC).ok()?;
    Some(moment.timestamp())
}

/// The beginning of a day that a plugin wrote as `2030-01-02`; none for anything else.
pub fn day(text: &str) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// In UTC with microseconds, which is what clients can read.
pub fn write<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.6}"))
}

/// The same; null for none.
pub fn write_some<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => write(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_in_many_forms() {
        let expected: Timestamp = "2024-01-02T03:04:05.678Z".parse().unwrap();
        for text in [
            "2024-01-02T03:04:05.678Z",
            "2024-01-02T03:04:05.678000000Z",
            "2024-01-02T04:04:05.678+01:00",
            "2024-01-02 03:04:05.678000+00:00",
            "2024-01-02 03:04:05.678",
            "2024-01-02T03:04:05.678",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "now",
            "2024-01-02",
            "2024-13-02T00:00:00Z",
            "1704164645",
            "-1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        assert_eq!(
            day("2024-01-02").unwrap().to_string(),
            "2024-01-02T00:00:00Z"
        );
        assert_eq!(day(""), None);
    }
}
