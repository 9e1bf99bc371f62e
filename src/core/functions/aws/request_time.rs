//! Times as AWS writes them in events.

use std::time::SystemTime;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `05/Apr/2020:05:20:58 +0000`, the time format of the common log format.
pub(super) fn common_log(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok();
    let month = month.and_then(|month| MONTHS.get(month.checked_sub(1)?));
    let month = month.copied().unwrap_or_default();
    format!(
        "{}/{month}/{}:{} +0000",
        part(8..10),
        part(0..4),
        part(11..19)
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_those_of_the_common_log_format() {
        let at = |seconds| common_log(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_586_064_058), "05/Apr/2020:05:20:58 +0000");
        assert_eq!(at(1_607_854_667), "13/Dec/2020:10:17:47 +0000");
        assert_eq!(at(0), "01/Jan/1970:00:00:00 +0000");
    }
}
