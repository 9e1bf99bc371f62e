//! The objects of one kind: listed, then watched from that version on, for ever.

use std::sync::Arc;
use std::time::Duration;

use form_urlencoded::Serializer;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::base::backoff::Backoff;
use crate::base::causes;
use crate::base::clock;
use crate::base::pace::Pace;
use crate::control::kubernetes::access::{Access, AskError};
use crate::control::kubernetes::stream::{Step, Watch, list};
use crate::core::kubernetes::Listed as _;
use crate::core::kubernetes::gateway::{Kind, Objects};

/// Watches that end at once, in a row; further ones begin once in an interval.
const BURST: u32 = 4;
const INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// Objects on a page: each may be as large as etcd takes, 1.5 MiB.
const PAGE: &str = "20";

/// What came of a list or a watch.
#[derive(Debug)]
pub(super) struct KindReport {
    pub(super) kind: Kind,
    pub(super) outcome: Result<Objects, String>,
    /// Everything was listed: what is missing may not have been deleted on purpose.
    pub(super) listed: bool,
}

/// Follows for ever.
pub(super) async fn repeat(kind: Kind, access: Arc<Access>, reports: mpsc::Sender<KindReport>) {
    let mut pace = Pace::new(BURST, INTERVAL);
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
    let mut known = None;
    loop {
        sleep(pace.wait(clock::now())).await;
        let wait = match round(kind, &access, &reports, &mut known).await {
            Ok(Step::Gone) => {
                known = None;
                backoff.next(fastrand::f64())
            }
            Ok(_) => {
                backoff.reset();
                Duration::ZERO
            }
            Err(error) => {
                if error.needs_list() {
                    known = None;
                }
                let report = KindReport {
                    kind,
                    outcome: Err(causes::chain(&error)),
                    listed: false,
                };
                if reports.send(report).await.is_err() {
                    return;
                }
                backoff.next(fastrand::f64())
            }
        };
        if reports.is_closed() {
            return;
        }
        sleep(wait).await;
    }
}

/// One watch, behind a list if nothing is known.
async fn round(
    kind: Kind,
    access: &Access,
    reports: &mpsc::Sender<KindReport>,
    known: &mut Option<Objects>,
) -> Result<Step, AskError> {
    let report = async |objects: &Objects, listed| {
        let report = KindReport {
            kind,
            outcome: Ok(objects.clone()),
            listed,
        };
        reports.send(report).await.is_ok()
    };
    let listed = known.is_none();
    let known = match known {
        Some(known) => known,
        None => known.insert(match list(access, |next| page(kind, next)).await {
            Err(error) if error.is_gone() => return Ok(Step::Gone),
            listed => listed?,
        }),
    };
    if !report(known, listed).await {
        return Ok(Step::Ended);
    }
    let seconds = access.settings.wait.as_secs().max(1);
    let target = watched(kind, known.version(), seconds);
    let mut watch = match Watch::begin(access, &target).await {
        Err(error) if error.is_gone() => return Ok(Step::Gone),
        begun => begun?,
    };
    loop {
        match watch.next(known).await? {
            Step::Changed if report(known, false).await => {}
            step => return Ok(step),
        }
    }
}

/// The URL of a kind.
pub(super) fn collection(kind: Kind) -> String {
    format!("/apis/{}/{}", kind.group_version(), kind.plural())
}

fn page(kind: Kind, next: Option<&str>) -> String {
    let mut asked = Serializer::new(String::new());
    asked.append_pair("limit", PAGE);
    if let Some(next) = next {
        asked.append_pair("continue", next);
    }
    format!("{}?{}", collection(kind), asked.finish())
}

fn watched(kind: Kind, version: &str, seconds: u64) -> String {
    let mut asked = Serializer::new(String::new());
    asked.append_pair("watch", "1");
    asked.append_pair("allowWatchBookmarks", "true");
    asked.append_pair("resourceVersion", version);
    asked.append_pair("timeoutSeconds", &seconds.to_string());
    format!("{}?{}", collection(kind), asked.finish())
}
