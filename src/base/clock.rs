//! The only place that reads the clocks. Decisions take `now` as an argument, so that tests own the
//! time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock, for everything that is measured.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for everything that is shown to people.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970 of a wall time; zero for one before it.
pub fn unix_millis(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// The whole milliseconds of a length of time.
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// The wall time so many milliseconds after 1970; no later than the year 9999, the last that
/// RFC 3339 can show.
pub fn at_unix_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.min(253_402_300_799_999))
}

/// A length of time for people, to the millisecond: `5m`, `1s 250ms`.
pub fn readable(length: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(millis(length)))
}

/// A wall time as RFC 3339 in UTC with milliseconds, as records and the admin API show it.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
