//! The objects of one kind: listed, then watched from that version on, for ever.

use std::sync::Arc;

use form_urlencoded::Serializer;
use tokio::sync::mpsc;

use crate::base::causes;
use crate::control::kubernetes::access::Access;
use crate::control::kubernetes::query;
use crate::control::kubernetes::stream::{self, Followed, Over, Rounds};
use crate::core::kubernetes::gateway::{Kind, Objects};

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
    let mut rounds = Rounds::new();
    let (mut known, mut ended_well) = (None, true);
    loop {
        rounds.next(ended_well).await;
        let round = Round {
            kind,
            listed: known.is_none(),
            reports: &reports,
        };
        let outcome = stream::watch(&access, &round, &mut known).await;
        ended_well = matches!(outcome, Ok(Over::Ended));
        match outcome {
            Ok(Over::Ended) => {}
            Ok(Over::Gone) => known = None,
            Err(error) => {
                if error.needs_list() {
                    known = None;
                }
                let report = KindReport {
                    kind,
                    outcome: Err(causes::chain(&error)),
                    listed: false,
                };
                // If nothing takes it, that is seen below.
                let _ = reports.send(report).await;
            }
        }
        if reports.is_closed() {
            return;
        }
    }
}

/// One watch.
struct Round<'a> {
    kind: Kind,
    /// It is behind a list.
    listed: bool,
    reports: &'a mpsc::Sender<KindReport>,
}

impl Followed<Objects> for Round<'_> {
    fn page(&self, next: Option<&str>) -> String {
        let mut asked = Serializer::new(String::new());
        query::page(&mut asked, PAGE, next);
        format!("{}?{}", collection(self.kind), asked.finish())
    }

    fn watch(&self, version: &str, seconds: u64) -> String {
        let mut asked = Serializer::new(String::new());
        query::watching(&mut asked, version, seconds);
        format!("{}?{}", collection(self.kind), asked.finish())
    }

    async fn report(&self, known: &Objects, first: bool) -> bool {
        let report = KindReport {
            kind: self.kind,
            outcome: Ok(known.clone()),
            listed: first && self.listed,
        };
        self.reports.send(report).await.is_ok()
    }
}

/// The URL of a kind.
pub(super) fn collection(kind: Kind) -> String {
    format!("/apis/{}/{}", kind.group_version(), kind.plural())
}
