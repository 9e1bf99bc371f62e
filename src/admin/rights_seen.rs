//! The rights of live sessions that end soon, as they were counted last.

use std::time::{Duration, UNIX_EPOCH};

use crate::base::clock;
use crate::live::Rights;

/// How far ahead the gateway looks at the rights of sessions by itself.
pub const SOON: Duration = Duration::from_secs(10 * 60);
/// Authenticators that a text names.
const NAMED_MAX: usize = 5;

/// The rights of live sessions with those that end within [`SOON`], as they were counted last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RightsSeen(pub Rights);

impl RightsSeen {
    /// Sessions with a right.
    pub fn sessions(&self) -> u64 {
        self.0.values().map(|counts| counts.sessions).sum()
    }

    /// Those whose right ends soon.
    pub fn expiring(&self) -> u64 {
        self.0.values().map(|counts| counts.expiring).sum()
    }

    /// How many end, of which authenticators, and when the first one does.
    pub fn text(&self) -> String {
        let first = self.0.values().filter_map(|counts| counts.first).min();
        let at = |end| UNIX_EPOCH.checked_add(Duration::from_millis(end));
        let first = first.and_then(at).map(clock::rfc3339).unwrap_or_default();
        let ending = self.0.iter().filter(|(_, counts)| counts.expiring > 0);
        let mut ending: Vec<_> = ending.collect();
        ending.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.expiring));
        let named = ending.iter().take(NAMED_MAX);
        let named: Vec<_> = named
            .map(|(name, counts)| format!("{name} {}", counts.expiring))
            .collect();
        let more = match ending.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{} of {} sessions end within {} with their right: {}{more}; the first at {first}",
            self.expiring(),
            self.sessions(),
            clock::readable(SOON),
            named.join(", ")
        )
    }
}
