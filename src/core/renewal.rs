//! When a certificate is renewed, and when an order that failed is tried again.

use std::time::{Duration, SystemTime};

/// Wait before a failed order is tried again: the first one.
pub const RETRY_FIRST: Duration = Duration::from_secs(10);
/// The last one, however many have failed.
pub const RETRY_LAST: Duration = Duration::from_secs(6 * 60 * 60);
/// An authority that asks for more patience than this is asked again all the same.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a certificate of this validity is renewed. An authority that suggests a window (ARI, RFC
/// 9773) is asked at the point `fraction` (0 to 1) of it; otherwise two thirds of the life are
/// waited for. It is never later than shortly before the end.
pub fn renew_at(
    (not_before, not_after): (SystemTime, SystemTime),
    window: Option<(SystemTime, SystemTime)>,
    fraction: f64,
) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let latest = not_after - life / 10;
    match window {
        Some((start, end)) if start <= end => {
            let length = end.duration_since(start).unwrap_or_default();
            let fraction = if fraction.is_finite() {
                fraction.clamp(0.0, 1.0)
            } else {
                0.0
            };
            (start + length.mul_f64(fraction)).min(latest)
        }
        _ => not_before + life / 3 * 2,
    }
}

/// The wait that a `Retry-After` field asks for: seconds, or a date (RFC 9110, section 10.2.3). A
/// date that has passed asks for none.
pub fn asked_wait(field: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = field.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(field).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// How long to wait after a failure: `backoff`, or as long as the authority asked for if that is
/// longer, within a day.
pub fn retry_after(backoff: Duration, asked: Option<Duration>) -> Duration {
    backoff.max(asked.unwrap_or_default().min(PATIENCE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn day(number: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * (10_000 + number)
    }

    #[test]
    fn two_thirds_of_the_life_are_waited_for_or_a_point_of_the_window() {
        let validity = (day(0), day(90));
        assert_eq!(renew_at(validity, None, 0.5), day(60));
        let check = |window, fraction, expected| {
            assert_eq!(renew_at(validity, Some(window), fraction), expected);
        };
        check((day(50), day(52)), 0.0, day(50));
        check((day(50), day(52)), 0.5, day(51));
        check((day(50), day(52)), 7.0, day(52));
        check((day(50), day(52)), f64::NAN, day(50));
        // Revoked: the window has passed.
        check((day(1), day(2)), 1.0, day(2));
        // A window that is none, and one behind the end.
        check((day(52), day(50)), 0.5, day(60));
        check((day(100), day(200)), 0.5, day(81));
    }

    #[test]
    fn an_authority_asks_for_a_wait_in_seconds_or_until_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples.
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let before = date - Duration::from_secs(90);
        let check = |field: &str, expected: Option<u64>| {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(asked_wait(field, before), expected, "{field:?}");
        };
        check("120", Some(120));
        check("0", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(90));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(90));
        check("Sun Nov  6 08:49:37 1994", Some(90));
        check("Sun, 06 Nov 1994 08:47:00 GMT", Some(0));
        for odd in [
            "",
            "-1",
            "soon",
            "1.5",
            "99999999999999999999",
            "Sun, 06 Nov 1994",
        ] {
            check(odd, None);
        }
    }

    #[test]
    fn the_authoritys_wait_is_kept_within_a_day() {
        let backoff = Duration::from_secs(20);
        assert_eq!(retry_after(backoff, None), backoff);
        assert_eq!(retry_after(backoff, Some(Duration::from_secs(5))), backoff);
        assert_eq!(retry_after(backoff, Some(DAY / 2)), DAY / 2);
        assert_eq!(retry_after(backoff, Some(DAY * 400)), DAY);
    }
}
