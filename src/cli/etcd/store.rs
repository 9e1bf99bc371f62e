//! Documents in etcd: read at one revision, written on the condition that nothing has changed
//! since.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, bail};
use etcd_client::{Client, Compare, CompareOp, Error, GetOptions, PutOptions, Txn, TxnOp};
use serde_json::Value;

use crate::cli::etcd::access::Access;
use crate::cli::etcd::fleet::ENTRY_BYTES_MAX;
use crate::control::etcd::leased_key::error_text;
use crate::control::fleet::Entry;

/// etcd's default limit of operations in one transaction (`max-txn-ops`).
pub(super) const TRANSACTION_MAX: usize = 128;
/// gRPC's code for a revision that is not there any more.
const OUT_OF_RANGE: i32 = 11;
/// Folders below the prefix that hold documents, in the order of writing: referenced documents
/// first.
const FOLDERS: [&str; 5] = [
    "authenticators",
    "upstreams",
    "backends",
    "routes",
    "revocations",
];

/// Documents by key below the prefix, such as `routes/chat`.
pub(super) type Documents = BTreeMap<String, Value>;

/// What is there.
pub(super) struct Found {
    pub(super) revision: i64,
    /// By key below the prefix.
    pub(super) documents: BTreeMap<String, Stored>,
    /// Gateways that are registered.
    pub(super) gateways: Vec<Entry>,
}

/// A document.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// `None` if it is no JSON.
    pub(super) value: Option<Value>,
    pub(super) mod_revision: i64,
    /// Whether it is under a lease.
    pub(super) leased: bool,
}

impl Found {
    /// Those that are JSON.
    pub(super) fn values(&self) -> Documents {
        let values = self.documents.iter();
        values
            .filter_map(|(key, stored)| Some((key.clone(), stored.value.clone()?)))
            .collect()
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Put(String, Value),
    Delete(String),
}

impl Op {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    /// Position in the order of writing: referenced documents are written first and deleted last.
    fn place(&self) -> usize {
        let folder = self.key().split('/').next().unwrap_or_default();
        let place = FOLDERS.iter().position(|known| *known == folder);
        let place = place.unwrap_or_default();
        match self {
            Self::Put(..) => place,
            Self::Delete(_) => 2 * FOLDERS.len() - place,
        }
    }
}

/// Whether documents are kept under this key.
pub(super) fn is_document(key: &str) -> bool {
    let (folder, name) = key.split_once('/').unwrap_or((key, ""));
    let parts = name.splitn(2, '/').filter(|part| !part.is_empty()).count();
    FOLDERS.contains(&folder) && parts == if folder == "backends" { 2 } else { 1 }
}

/// Connects, once.
pub(super) async fn connect(access: &Access) -> anyhow::Result<Client> {
    let client = access.connect()().await;
    client.map_err(|why| anyhow!("no etcd answers: {why}"))
}

/// Everything, at one revision.
pub(super) async fn read(client: &mut Client, access: &Access) -> anyhow::Result<Found> {
    read_at(client, access, 0).await
}

/// Everything, as it was at a revision; 0 is the newest one.
pub(super) async fn read_at(
    client: &mut Client,
    access: &Access,
    revision: i64,
) -> anyhow::Result<Found> {
    let folder = format!("{}/", access.prefix);
    let options = GetOptions::new().with_prefix().with_revision(revision);
    let answer = client.get(folder.as_str(), Some(options)).await;
    let answer = answer.map_err(|error| match &error {
        Error::GRpcStatus(status) if i32::from(status.code()) == OUT_OF_RANGE => {
            anyhow!("etcd has compacted revision {revision}, so what was there is not known")
        }
        error => anyhow!("etcd: {}", error_text(error)),
    })?;
    let revision = answer
        .header()
        .context("etcd tells no revision")?
        .revision();
    let gateways = answer.kvs().iter().filter_map(|one| {
        let node = one
            .key_str()
            .ok()?
            .strip_prefix(&folder)?
            .strip_prefix("gateways/")?;
        let few = one.value().len() <= ENTRY_BYTES_MAX;
        let entry: Entry = few.then(|| serde_json::from_slice(one.value()).ok())??;
        // The key is what two gateways cannot share.
        (entry.node == node).then_some(entry)
    });
    let documents = answer.kvs().iter().filter_map(|one| {
        let key = one.key_str().ok()?.strip_prefix(&folder)?;
        let stored = Stored {
            value: serde_json::from_slice(one.value()).ok(),
            mod_revision: one.mod_revision(),
            leased: one.lease() != 0,
        };
        is_document(key).then(|| (key.to_owned(), stored))
    });
    Ok(Found {
        revision,
        documents: documents.collect(),
        gateways: gateways.collect(),
    })
}

/// Writes in as few transactions as there may be; answers how many there were. Each holds only if
/// what it touches is as it was `found`.
pub(super) async fn write(
    client: &mut Client,
    access: &Access,
    found: &Found,
    mut ops: Vec<Op>,
) -> anyhow::Result<usize> {
    ops.sort_by_key(Op::place);
    let mut transactions = 0;
    for part in ops.chunks(TRANSACTION_MAX) {
        let mut conditions = Vec::new();
        let mut operations = Vec::new();
        for op in part {
            let key = format!("{}/{}", access.prefix, op.key());
            let before = found.documents.get(op.key());
            let revision = before.map_or(0, |before| before.mod_revision);
            conditions.push(Compare::mod_revision(
                key.as_str(),
                CompareOp::Equal,
                revision,
            ));
            operations.push(match op {
                Op::Put(_, value) => {
                    // A registered backend stays under its lease.
                    let leased = before.is_some_and(|before| before.leased);
                    let options = leased.then(|| PutOptions::new().with_ignore_lease());
                    TxnOp::put(key, value.to_string(), options)
                }
                Op::Delete(_) => TxnOp::delete(key, None),
            });
        }
        let txn = Txn::new().when(conditions).and_then(operations);
        let answer = client.txn(txn).await;
        let answer = answer.map_err(|error| anyhow!("etcd: {}", error_text(&error)))?;
        if !answer.succeeded() {
            bail!(
                "another client changed etcd in the meantime; {transactions} transactions were \
                 written before that; look again and repeat"
            );
        }
        transactions += 1;
    }
    Ok(transactions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_comes_first_and_goes_last() {
        let put = |key: &str| Op::Put(key.to_owned(), Value::Null);
        let delete = |key: &str| Op::Delete(key.to_owned());
        let mut ops = [
            delete("upstreams/a"),
            put("routes/a"),
            delete("routes/a"),
            put("backends/a/1"),
            put("upstreams/b"),
        ];
        ops.sort_by_key(Op::place);
        let keys: Vec<_> = ops.iter().map(Op::key).collect();
        let expected = [
            "upstreams/b",
            "backends/a/1",
            "routes/a",
            "routes/a",
            "upstreams/a",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn keys_of_documents_are_known() {
        let check = |key: &str, expected| assert_eq!(is_document(key), expected, "{key}");
        check("routes/a", true);
        check("routes/a/b", false);
        check("backends/a/b", true);
        check("backends/a/unix:/x", true);
        check("backends/a", false);
        check("gateways/edge-1", false);
        check("routes/", false);
    }
}
