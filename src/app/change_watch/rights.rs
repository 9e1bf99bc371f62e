//! Counts the rights of live sessions that end soon, for the findings and as an event. One event
//! covers ten minutes, however many sessions there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Gateway;
use crate::admin::credentials::rights;
use crate::admin::rights_seen::{RightsSeen, SOON};
use crate::base::clock;
use crate::telemetry::events::{Fields, Kind};

/// Between two counts.
const PERIOD: Duration = Duration::from_secs(60);

/// Counts for as long as the gateway runs.
pub(super) async fn follow(gateway: Arc<Gateway>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let seen = RightsSeen(rights(&gateway.live, SOON).await);
        let now = clock::now();
        if let Some(fields) = event(&seen)
            && is_due(reported, now)
        {
            reported = Some(now);
            gateway.live.events().change(Kind::RightsExpiring, fields);
        }
        gateway.desk.set_rights(seen);
    }
}

/// Whether the last event covers no session that ends from now on.
fn is_due(reported: Option<Instant>, now: Instant) -> bool {
    reported.is_none_or(|at| now.duration_since(at) >= SOON)
}

fn event(seen: &RightsSeen) -> Option<Fields> {
    let expiring = seen.expiring();
    (expiring > 0).then(|| Fields {
        sessions: Some(expiring),
        ..Fields::new(seen.text())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::RightCounts;

    #[test]
    fn ten_minutes_are_one_event() {
        let began = clock::now();
        assert!(is_due(None, began));
        assert!(!is_due(Some(began), began + SOON - PERIOD));
        assert!(is_due(Some(began), began + SOON));
    }

    #[test]
    fn an_event_names_how_many_sessions_end_and_when() {
        let counts = |sessions, expiring, first| RightCounts {
            sessions,
            expiring,
            first,
        };
        let quiet = RightsSeen([("users".into(), counts(5, 0, Some(9)))].into());
        assert_eq!(event(&quiet), None);
        let seen = RightsSeen(
            [
                ("bots".into(), counts(2, 1, Some(60_000))),
                ("users".into(), counts(7, 3, Some(0))),
            ]
            .into(),
        );
        let fields = event(&seen).expect("some end");
        assert_eq!(fields.sessions, Some(4));
        let text = "4 of 9 sessions end within 10m with their right: users 3, bots 1; the first \
                    at 1970-01-01T00:00:00.000Z";
        assert_eq!(&*fields.text, text);
    }
}
