//! Lists, page by page, and watches behind them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::pace::Pace;
use crate::control::kubernetes::access::{Access, AskError};
use crate::control::kubernetes::lines::Lines;
use crate::core::kubernetes::{Happened, Listed};
use crate::io::client::Parts;

/// Pages of a list: there are at most so many objects.
const PAGES_MAX: usize = 512;
/// Watches that end at once, in a row; further ones begin once in an interval.
const BURST: u32 = 4;
const INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// When the next watch begins.
pub(super) struct Rounds {
    pace: Pace,
    backoff: Backoff,
}

impl Rounds {
    pub(super) fn new() -> Self {
        Self {
            pace: Pace::new(BURST, INTERVAL),
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
        }
    }

    /// Waits before the next watch, longer after some that did not come to their end.
    pub(super) async fn next(&mut self, ended_well: bool) {
        if ended_well {
            self.backoff.reset();
        } else {
            sleep(self.backoff.next(fastrand::f64())).await;
        }
        sleep(self.pace.wait(clock::now())).await;
    }
}

/// Why a watch is over.
pub(super) enum Over {
    /// Its time is, or nothing takes reports any more.
    Ended,
    /// Its version is no longer kept.
    Gone,
}

/// What came next of a watch.
enum Step {
    Changed,
    Over(Over),
}

/// What is followed: where it is listed and watched, and what takes the reports.
pub(super) trait Followed<L>: Sync {
    /// The URL of a page of the list; the first one without a token.
    fn page(&self, next: Option<&str>) -> String;

    /// The URL of a watch from a version on, for so many seconds.
    fn watch(&self, version: &str, seconds: u64) -> String;

    /// Takes what is known: first what was known before the watch, then after each change. Returns
    /// whether to go on.
    fn report(&self, known: &L, first: bool) -> impl Future<Output = bool> + Send;
}

/// One watch, behind a list if nothing is known.
pub(super) async fn watch<L: Listed>(
    access: &Access,
    followed: &impl Followed<L>,
    known: &mut Option<L>,
) -> Result<Over, AskError> {
    let known = match known {
        Some(known) => known,
        None => known.insert(match list(access, followed).await {
            Err(error) if error.is_gone() => return Ok(Over::Gone),
            listed => listed?,
        }),
    };
    if !followed.report(known, true).await {
        return Ok(Over::Ended);
    }
    let seconds = access.settings.wait.as_secs().max(1);
    let target = followed.watch(known.version(), seconds);
    let mut watch = match Watch::begin(access, &target).await {
        Err(error) if error.is_gone() => return Ok(Over::Gone),
        begun => begun?,
    };
    loop {
        match watch.next(known).await? {
            Step::Over(over) => return Ok(over),
            Step::Changed => {
                if !followed.report(known, false).await {
                    return Ok(Over::Ended);
                }
            }
        }
    }
}

/// A watch that runs.
struct Watch {
    parts: Parts,
    lines: Lines,
    until: Instant,
}

/// All objects of a list.
async fn list<L: Listed>(access: &Access, followed: &impl Followed<L>) -> Result<L, AskError> {
    let mut objects = L::default();
    let mut next = None;
    for _ in 0..PAGES_MAX {
        let body: Bytes = access.get(&followed.page(next.as_deref())).await?;
        next = objects.page(&body)?;
        if next.is_none() {
            return Ok(objects);
        }
    }
    Err(AskError::Watch(format!(
        "a list has more than {PAGES_MAX} pages"
    )))
}

impl Watch {
    /// Begins at this URL.
    async fn begin(access: &Access, target: &str) -> Result<Self, AskError> {
        let settings = &access.settings;
        let until = Instant::now() + settings.wait + settings.answer;
        Ok(Self {
            parts: access.watch(target).await?,
            lines: Lines::default(),
            until,
        })
    }

    /// What comes next.
    async fn next<L: Listed>(&mut self, known: &mut L) -> Result<Step, AskError> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let Some(part) = self.parts.next(left).await? else {
                return Ok(Step::Over(Over::Ended));
            };
            let lines = self.lines.take(&part);
            let lines = lines.map_err(|fault| AskError::Watch(fault.to_string()))?;
            let mut changed = false;
            for line in lines {
                match known.event(&line)? {
                    Happened::Changed => changed = true,
                    Happened::Bookmark => {}
                    Happened::Gone => return Ok(Step::Over(Over::Gone)),
                    Happened::Failed(why) => return Err(AskError::Watch(why)),
                }
            }
            if changed {
                return Ok(Step::Changed);
            }
        }
    }
}
