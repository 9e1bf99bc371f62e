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
    fn the_authoritys_wait_is_kept_within_a_day() {
        let backoff = Duration::from_secs(20);
        assert_eq!(retry_after(backoff, None), backoff);
        assert_eq!(retry_after(backoff, Some(Duration::from_secs(5))), backoff);
        assert_eq!(retry_after(backoff, Some(DAY / 2)), DAY / 2);
        assert_eq!(retry_after(backoff, Some(DAY * 400)), DAY);
    }
}
