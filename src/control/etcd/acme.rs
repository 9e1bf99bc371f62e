//! Accounts, certificates and challenges of a fleet in etcd, under `<prefix>/secrets/acme/`, and
//! the lock under which one gateway orders.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::config::snapshot::Etcd;
use crate::control::etcd::connect::{Endpoints, connector};
use crate::control::etcd::leased_key::{Connect, error_text};

/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A lock outlives its gateway for so long.
const LOCK_SECONDS: i64 = 30;
const RENEW: Duration = Duration::from_secs(10);
/// Bytes of a value, and values of a folder, at most; larger ones do not count.
const VALUE_MAX: usize = 64 << 10;
const VALUES_MAX: i64 = 100;

/// Why something is not read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EtcdStoreError(String);

/// A fleet's store.
pub struct EtcdStore {
    /// `<prefix>/secrets/acme/`
    folder: String,
    connect: Connect,
    client: Mutex<Option<Client>>,
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").finish_non_exhaustive()
    }
}

/// The right to order, kept alive until it is released.
#[derive(Debug)]
pub struct EtcdLock {
    key: String,
    lease: i64,
    alive: JoinHandle<()>,
    connect: ClientHandle,
}

/// A client that a lock was made with.
#[derive(Clone)]
struct ClientHandle(Client);

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientHandle")
    }
}

impl Drop for EtcdLock {
    fn drop(&mut self) {
        self.alive.abort();
    }
}

impl EtcdLock {
    /// Names the lock among others.
    pub(crate) fn id(&self) -> String {
        format!("{:x}", self.lease)
    }

    /// Lets others order. What was written under the lock goes with it.
    pub(crate) async fn release(self) {
        let mut client = self.connect.0.clone();
        // If it fails, the lease runs out.
        let _ = timeout(ANSWER_MAX, client.lease_revoke(self.lease)).await;
    }
}

fn late(_: tokio::time::error::Elapsed) -> EtcdStoreError {
    EtcdStoreError(format!("no answer within {ANSWER_MAX:?}"))
}

fn failed(error: etcd_client::Error) -> EtcdStoreError {
    EtcdStoreError(error_text(&error))
}

impl EtcdStore {
    /// Below the prefix of this etcd.
    pub fn new(settings: Etcd) -> Self {
        Self {
            folder: format!("{}/secrets/acme/", settings.prefix),
            connect: connector(Arc::new(Endpoints::new(settings, fastrand::usize(..)))),
            client: Mutex::default(),
        }
    }

    /// Asks one question; a client that fails is given up.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, EtcdStoreError> {
        let mut kept = self.client.lock().await;
        let mut client = match kept.take() {
            Some(client) => client,
            None => {
                let made = timeout(ANSWER_MAX, (self.connect)()).await.map_err(late)?;
                made.map_err(EtcdStoreError)?
            }
        };
        let answer = timeout(ANSWER_MAX, question(&mut client))
            .await
            .map_err(late)?;
        let answer = answer.map_err(failed)?;
        *kept = Some(client);
        Ok(answer)
    }

    /// The value of a key.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Zeroizing<String>>, EtcdStoreError> {
        let key = format!("{}{key}", self.folder);
        let answer = self.ask(async |client| client.get(key, None).await).await?;
        let value = answer.kvs().first().map(etcd_client::KeyValue::value);
        let value = value.filter(|value| value.len() <= VALUE_MAX);
        let text = value.and_then(|value| String::from_utf8(value.to_vec()).ok());
        Ok(text.map(Zeroizing::new))
    }

    /// The values below a key.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, EtcdStoreError> {
        let folder = format!("{}{folder}", self.folder);
        let options = GetOptions::new()
            .with_prefix()
            .with_limit(VALUES_MAX)
            .with_serializable();
        let answer = self
            .ask(async |client| client.get(folder, Some(options)).await)
            .await?;
        let values = answer.kvs().iter().map(etcd_client::KeyValue::value);
        let values = values.filter(|value| value.len() <= VALUE_MAX);
        Ok(values
            .filter_map(|value| String::from_utf8(value.to_vec()).ok())
            .collect())
    }

    /// Writes a value unless there is one.
    pub(crate) async fn put_new(&self, key: &str, value: &str) -> Result<(), EtcdStoreError> {
        let key = format!("{}{key}", self.folder);
        let absent = Compare::version(key.as_str(), CompareOp::Equal, 0);
        let put = TxnOp::put(key.as_str(), value, None);
        let txn = Txn::new().when([absent]).and_then([put]);
        self.ask(async |client| client.txn(txn).await).await?;
        Ok(())
    }

    /// Writes a value if the lock is still held.
    pub(crate) async fn put_locked(
        &self,
        key: &str,
        value: &str,
        lock: &EtcdLock,
    ) -> Result<(), EtcdStoreError> {
        self.put_if_locked(key, value, None, lock).await
    }

    /// Writes a value that goes with the lock.
    pub(crate) async fn put_under(
        &self,
        key: &str,
        value: &str,
        lock: &EtcdLock,
    ) -> Result<(), EtcdStoreError> {
        let options = PutOptions::new().with_lease(lock.lease);
        self.put_if_locked(key, value, Some(options), lock).await
    }

    async fn put_if_locked(
        &self,
        key: &str,
        value: &str,
        options: Option<PutOptions>,
        lock: &EtcdLock,
    ) -> Result<(), EtcdStoreError> {
        let key = format!("{}{key}", self.folder);
        let held = Compare::lease(lock.key.as_str(), CompareOp::Equal, lock.lease);
        let put = TxnOp::put(key, value, options);
        let txn = Txn::new().when([held]).and_then([put]);
        let answer = self.ask(async |client| client.txn(txn).await).await?;
        match answer.succeeded() {
            true => Ok(()),
            false => Err(EtcdStoreError("the lock was lost".to_owned())),
        }
    }

    /// Takes the lock; `None` while another gateway has it.
    pub(crate) async fn lock(&self, key: &str) -> Result<Option<EtcdLock>, EtcdStoreError> {
        let key = format!("{}{key}", self.folder);
        let name = key.clone();
        let taken = self.ask(async |client| {
            let lease = client.lease_grant(LOCK_SECONDS, None).await?.id();
            let absent = Compare::version(name.as_str(), CompareOp::Equal, 0);
            let options = PutOptions::new().with_lease(lease);
            let put = TxnOp::put(name.as_str(), "", Some(options));
            let txn = Txn::new().when([absent]).and_then([put]);
            if client.txn(txn).await?.succeeded() {
                return Ok(Some((lease, client.clone())));
            }
            client.lease_revoke(lease).await?;
            Ok(None)
        });
        let Some((lease, client)) = taken.await? else {
            return Ok(None);
        };
        let mut keeper = client.clone();
        let alive = tokio::spawn(async move {
            loop {
                sleep(RENEW).await;
                // Where it fails, the next write finds that the lock was lost.
                if let Ok((mut keeper, _answers)) = keeper.lease_keep_alive(lease).await {
                    let _ = keeper.keep_alive().await;
                }
            }
        });
        Ok(Some(EtcdLock {
            key,
            lease,
            alive,
            connect: ClientHandle(client),
        }))
    }
}
