//! Questions to etcd: everything below a prefix at one revision, and whether leases live.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error, GetOptions, KeyValue, KvClient};
use tokio::time::timeout;

use crate::control::etcd::leased_key::error_text;
use crate::core::membership::{FullRead, Held, Key};

/// Keys of one answer.
const PAGE: i64 = 1000;
/// An answer may be as large as a page of the largest values that etcd takes.
pub(super) const MESSAGE_MAX: usize = 2 << 30;
/// Questions about leases that are under way at once.
const LEASES_MAX: usize = 64;
/// What gateways keep for one another, entries of the fleet and secrets: nothing that concerns the
/// configuration, and nothing that is kept as last known good or shown.
const APART: [&str; 2] = ["gateways/", "secrets/"];
/// gRPC's code for a revision that is not there: compacted, or not yet.
const OUT_OF_RANGE: i32 = 11;

/// Why etcd cannot be followed at this moment.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] super::connect::ConnectError),
    /// etcd refuses.
    #[error("{}", error_text(.0))]
    Etcd(#[from] Error),
    /// It does not answer.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// A watch gives no sign of life.
    #[error("nothing received within {0:?}")]
    Silent(Duration),
    /// It has ended the watch.
    #[error("the watch was ended: {0}")]
    Ended(String),
    /// Its content is invalid.
    #[error("the answer has no header")]
    NoHeader,
}

/// Waits for one answer.
pub(super) async fn within<T>(
    patience: Duration,
    question: impl Future<Output = Result<T, Error>>,
) -> Result<T, FollowError> {
    let answer = timeout(patience, question).await;
    Ok(answer.map_err(|_| FollowError::Late(patience))??)
}

/// Which keys concern the configuration.
#[derive(Clone, Debug)]
pub(super) struct Range {
    /// With a slash at the end.
    prefix: String,
}

impl Range {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{prefix}/"),
        }
    }

    pub(super) fn begin(&self) -> &str {
        &self.prefix
    }

    /// The first key behind it: a zero comes after the slash.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut end = self.prefix.clone().into_bytes();
        *end.last_mut().expect("there is a slash") += 1;
        end
    }

    /// The key below the prefix, if it concerns the configuration.
    pub(super) fn key(&self, key: &[u8]) -> Option<Key> {
        let key = String::from_utf8_lossy(key);
        let key = key.strip_prefix(&self.prefix)?;
        let apart = APART.iter().any(|folder| key.starts_with(folder));
        (!apart).then(|| key.into())
    }
}

pub(super) fn held(kv: &KeyValue) -> Held {
    Held {
        text: Arc::from(String::from_utf8_lossy(kv.value())),
        revision: kv.mod_revision(),
        lease: kv.lease(),
    }
}

/// Everything at `revision`, or now, page by page at one and the same revision. The answers come by
/// the cluster's agreement: a member that is cut off gives none.
pub(super) async fn everything(
    kv: &mut KvClient,
    range: &Range,
    revision: Option<i64>,
    patience: Duration,
) -> Result<FullRead, FollowError> {
    let mut read = FullRead {
        revision: revision.unwrap_or(0),
        ..FullRead::default()
    };
    let mut documents = BTreeMap::new();
    let mut from = range.begin().as_bytes().to_vec();
    loop {
        let options = GetOptions::new()
            .with_range(range.end())
            .with_limit(PAGE)
            .with_revision(read.revision);
        let page = within(patience, kv.get(from, Some(options))).await?;
        let header = page.header().ok_or(FollowError::NoHeader)?;
        read.cluster = header.cluster_id();
        if read.revision == 0 {
            read.revision = header.revision();
        }
        for kv in page.kvs() {
            if let Some(key) = range.key(kv.key()) {
                documents.insert(key, held(kv));
            }
        }
        let Some(last) = page.kvs().last().filter(|_| page.more()) else {
            read.documents = documents;
            return Ok(read);
        };
        from = [last.key(), &[0]].concat();
    }
}

/// Whether the revision that was asked for is not to be had, now or ever again.
pub(super) fn out_of_range(error: &FollowError) -> bool {
    matches!(error, FollowError::Etcd(Error::GRpcStatus(status))
        if i32::from(status.code()) == OUT_OF_RANGE)
}

/// Which of these leases live. Those that nothing is known of are taken for gone.
pub(super) async fn living(
    client: &Client,
    leases: &BTreeSet<i64>,
    patience: Duration,
) -> BTreeSet<i64> {
    let mut living = BTreeSet::new();
    let leases: Vec<_> = leases.iter().copied().collect();
    for some in leases.chunks(LEASES_MAX) {
        let asked = some.iter().map(|&lease| {
            let mut client = client.clone();
            async move { within(patience, client.lease_time_to_live(lease, None)).await }
        });
        let answers = futures_util::future::join_all(asked).await;
        let silent = answers.iter().any(Result::is_err);
        let answers = answers.into_iter().flatten();
        living.extend(answers.filter(|one| one.ttl() > 0).map(|one| one.id()));
        if silent {
            break;
        }
    }
    living
}
