//! Lists, page by page, and watches behind them.

use bytes::Bytes;
use tokio::time::Instant;

use crate::control::kubernetes::access::{Access, AskError};
use crate::control::kubernetes::lines::Lines;
use crate::core::kubernetes::{Happened, Listed};
use crate::io::client::Parts;

/// Pages of a list: there are at most so many objects.
const PAGES_MAX: usize = 512;

/// What came next of a watch.
pub(super) enum Step {
    /// Something changed.
    Changed,
    /// Its time is over.
    Ended,
    /// Its version is no longer kept.
    Gone,
}

/// A watch that runs.
pub(super) struct Watch {
    parts: Parts,
    lines: Lines,
    until: Instant,
}

/// All objects of a list, whose pages have these URLs.
pub(super) async fn list<L: Listed>(
    access: &Access,
    page: impl Fn(Option<&str>) -> String,
) -> Result<L, AskError> {
    let mut objects = L::default();
    let mut next = None;
    for _ in 0..PAGES_MAX {
        let body: Bytes = access.get(&page(next.as_deref())).await?;
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
    pub(super) async fn begin(access: &Access, target: &str) -> Result<Self, AskError> {
        let settings = &access.settings;
        let until = Instant::now() + settings.wait + settings.answer;
        Ok(Self {
            parts: access.watch(target).await?,
            lines: Lines::default(),
            until,
        })
    }

    /// What comes next.
    pub(super) async fn next<L: Listed>(&mut self, known: &mut L) -> Result<Step, AskError> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let Some(part) = self.parts.next(left).await? else {
                return Ok(Step::Ended);
            };
            let lines = self.lines.take(&part);
            let lines = lines.map_err(|fault| AskError::Watch(fault.to_string()))?;
            let mut changed = false;
            for line in lines {
                match known.event(&line)? {
                    Happened::Changed => changed = true,
                    Happened::Bookmark => {}
                    Happened::Gone => return Ok(Step::Gone),
                    Happened::Failed(why) => return Err(AskError::Watch(why)),
                }
            }
            if changed {
                return Ok(Step::Changed);
            }
        }
    }
}
