//! Where accounts and certificates are kept: in the state directory, and in etcd where one is
//! followed, so that a fleet has one account and one certificate.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

#[cfg(feature = "etcd")]
use crate::control::etcd::acme::{EtcdLock, EtcdStore, EtcdStoreError};
use crate::control::state_dir::StateDir;
use crate::io::tls::challenges::ChallengeAnswer;

/// A chain and its key, both PEM. `Debug` does not show them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// Leaf first.
    pub chain: String,
    /// PKCS#8.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Something cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// In the state directory.
    #[error("the state directory: {0}")]
    Directory(#[from] io::Error),
    /// In etcd.
    #[cfg(feature = "etcd")]
    #[error("etcd: {0}")]
    Etcd(#[from] EtcdStoreError),
}

/// Where things are kept.
#[derive(Debug)]
pub struct Store {
    directory: Option<Arc<StateDir>>,
    #[cfg(feature = "etcd")]
    etcd: Option<EtcdStore>,
}

/// The right to order a certificate; one gateway of a fleet has it at a time.
#[derive(Debug)]
pub(super) struct Lock {
    #[cfg(feature = "etcd")]
    etcd: Option<EtcdLock>,
}

impl Lock {
    pub(super) async fn release(self) {
        #[cfg(feature = "etcd")]
        if let Some(lock) = self.etcd {
            lock.release().await;
        }
    }
}

impl Store {
    /// In this directory, and below the prefix of this etcd.
    pub fn new(
        directory: Option<Arc<StateDir>>,
        #[cfg(feature = "etcd")] etcd: Option<EtcdStore>,
    ) -> Self {
        Self {
            directory,
            #[cfg(feature = "etcd")]
            etcd,
        }
    }

    /// Whether other gateways have a part in it.
    pub(super) fn is_shared(&self) -> bool {
        #[cfg(feature = "etcd")]
        return self.etcd.is_some();
        #[cfg(not(feature = "etcd"))]
        false
    }

    /// The certificate that this machine has kept. Blocks.
    pub(super) fn local(&self, id: &str) -> Option<Kept> {
        let bytes = self.directory.as_ref()?.read(&certificate_file(id));
        match bytes {
            Ok(bytes) => parse(&Zeroizing::new(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(%error, "a certificate that was kept cannot be read");
                None
            }
        }
    }

    /// The certificate of the fleet, else that of this machine.
    pub(super) async fn load(&self, id: &str) -> Result<Option<Kept>, StoreError> {
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &self.etcd {
            let text = etcd.get(&format!("certificates/{id}")).await?;
            let kept = text.and_then(|text| parse(text.as_bytes()));
            if let Some(kept) = &kept {
                // The directory shows itself that it cannot be written.
                let _ = self.save_local(&certificate_file(id), kept).await;
            }
            return Ok(kept);
        }
        // What it has, it had at the start or has written itself.
        let _ = id;
        Ok(None)
    }

    /// Keeps a certificate, in etcd only while the lock is held.
    pub(super) async fn save(&self, id: &str, kept: &Kept, lock: &Lock) -> Result<(), StoreError> {
        self.save_local(&certificate_file(id), kept).await?;
        #[cfg(feature = "etcd")]
        if let (Some(etcd), Some(lock)) = (&self.etcd, &lock.etcd) {
            let text = serde_json::to_string(kept).expect("plain data serialises");
            let key = format!("certificates/{id}");
            etcd.put_locked(&key, &Zeroizing::new(text), lock).await?;
        }
        let _ = lock;
        Ok(())
    }

    async fn save_local(&self, file: &str, kept: &Kept) -> Result<(), StoreError> {
        let text = serde_json::to_vec(kept).expect("plain data serialises");
        self.write(file, text).await
    }

    async fn write(&self, file: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        let file = file.to_owned();
        let write = move || {
            // Once for each version: what is there already is not written again.
            if directory.read(&file).is_ok_and(|before| before == bytes) {
                return Ok(());
            }
            directory.write(&file, bytes)
        };
        let written = tokio::task::spawn_blocking(write).await;
        Ok(written.expect("writing a file does not panic")?)
    }

    /// The account at this directory.
    pub(super) async fn account(
        &self,
        directory: &str,
    ) -> Result<Option<Zeroizing<String>>, StoreError> {
        let id = account_id(directory);
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &self.etcd {
            return Ok(etcd.get(&format!("accounts/{id}")).await?);
        }
        let Some(kept) = self.directory.clone() else {
            return Ok(None);
        };
        let read = move || kept.read(&account_file(&id));
        let read = tokio::task::spawn_blocking(read).await;
        match read.expect("reading a file does not panic") {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok().map(Zeroizing::new)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the account at this directory.
    pub(super) async fn save_account(
        &self,
        directory: &str,
        credentials: &str,
    ) -> Result<(), StoreError> {
        let id = account_id(directory);
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &self.etcd {
            etcd.put_new(&format!("accounts/{id}"), credentials).await?;
            return Ok(());
        }
        self.write(&account_file(&id), credentials.as_bytes().to_vec())
            .await
    }

    /// The right to order; `None` while another gateway has it.
    pub(super) async fn lock(&self, id: &str) -> Result<Option<Lock>, StoreError> {
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &self.etcd {
            let lock = etcd.lock(&format!("locks/{id}")).await?;
            return Ok(lock.map(|lock| Lock { etcd: Some(lock) }));
        }
        let _ = id;
        Ok(Some(Lock {
            #[cfg(feature = "etcd")]
            etcd: None,
        }))
    }

    /// Puts answers where the other gateways read them, until the lock is released.
    pub(super) async fn publish(
        &self,
        lock: &Lock,
        answers: &[ChallengeAnswer],
    ) -> Result<(), StoreError> {
        #[cfg(feature = "etcd")]
        if let (Some(etcd), Some(lock)) = (&self.etcd, &lock.etcd) {
            let text = serde_json::to_string(answers).expect("plain data serialises");
            let key = format!("challenges/{}", lock.id());
            etcd.put_under(&key, &text, lock).await?;
        }
        let _ = (lock, answers);
        Ok(())
    }

    /// The answers of all gateways; `None` where there are no others.
    pub(super) async fn challenges(&self) -> Result<Option<Vec<ChallengeAnswer>>, StoreError> {
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &self.etcd {
            let texts = etcd.list("challenges/").await?;
            let parsed = texts
                .iter()
                .filter_map(|text| serde_json::from_str::<Vec<ChallengeAnswer>>(text).ok());
            return Ok(Some(parsed.flatten().collect()));
        }
        Ok(None)
    }
}

fn parse(bytes: &[u8]) -> Option<Kept> {
    serde_json::from_slice(bytes).ok()
}

fn account_id(directory: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(directory.as_bytes()))
}

fn account_file(id: &str) -> String {
    format!("acme-account-{id}")
}

fn certificate_file(id: &str) -> String {
    format!("acme-certificate-{id}")
}
