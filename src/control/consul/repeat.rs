//! Blocking queries, each asked again as soon as it is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::base::backoff::Backoff;
use crate::base::causes;
use crate::base::clock;
use crate::base::pace::Pace;
use crate::control::consul::ask::Access;
use crate::control::consul::query::Query;
use crate::core::consul::{Cursor, Moved, Pair, instances, pairs};
use crate::core::services::{Found, MEMBERS_MAX};

/// Answers that come at once, in a row; further ones are asked for once in an interval.
const BURST: u32 = 4;
const INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// What came of a question.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) query: Query,
    pub(super) outcome: Result<Content, String>,
    /// The answer was older than the one before.
    pub(super) back: bool,
    pub(super) leaderless: bool,
}

/// What a good answer holds.
#[derive(Debug)]
pub(super) enum Content {
    Service(Found),
    Keys(Vec<Pair>),
}

/// Asks for ever.
pub(super) async fn repeat(query: Query, access: Arc<Access>, reports: mpsc::Sender<Report>) {
    let mut cursor = Cursor::default();
    let mut pace = Pace::new(BURST, INTERVAL);
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
    loop {
        sleep(pace.wait(clock::now())).await;
        let report = ask(&query, &access, &mut cursor).await;
        let wait = match report.outcome {
            Ok(_) => {
                backoff.reset();
                Duration::ZERO
            }
            Err(_) => backoff.next(fastrand::f64()),
        };
        // The follower has ended.
        if reports.send(report).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}

async fn ask(query: &Query, access: &Access, cursor: &mut Cursor) -> Report {
    let mut report = Report {
        query: query.clone(),
        outcome: Err(String::new()),
        back: false,
        leaderless: false,
    };
    let answered = match access.ask(query, *cursor).await {
        Ok(answered) => answered,
        Err(error) => {
            report.outcome = Err(causes::chain(&error));
            return report;
        }
    };
    report.leaderless = answered.leaderless;
    let (asked, body) = (query.clone(), answered.body);
    // An answer may hold a thousand instances.
    let read = spawn_blocking(move || content(&asked, &body)).await;
    report.outcome = read.expect("reading an answer does not panic");
    if report.outcome.is_ok() {
        report.back = cursor.answered(answered.index) == Moved::Back;
    }
    report
}

fn content(query: &Query, body: &[u8]) -> Result<Content, String> {
    let read = match query {
        Query::Service(service) => {
            let read = instances(body, service, MEMBERS_MAX);
            read.map(|(members, left_out)| Content::Service(Found { members, left_out }))
        }
        Query::Keys(prefix) => pairs(body, prefix).map(Content::Keys),
    };
    read.map_err(|fault| fault.to_string())
}
