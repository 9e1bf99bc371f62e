//! Ticket keys that the gateways of one etcd share, under `<prefix>/secrets/ticket-keys`. Any
//! gateway that finds a rotation due writes it, on the condition that the document is still the one
//! that it has read. A new key seals a whole period after it was written, so gateways that read it
//! late do not disagree. Without etcd they go on with the keys that they have.
//!
//! The keys of the document are the only ones: if it is deleted, a new one takes its place, and
//! tickets of the old keys no longer open. A document that no gateway can read is left as it is.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::ticket_secret::TicketSecret;
use crate::config::snapshot::Etcd;
use crate::control::etcd::connect::{Endpoints, connector};
use crate::control::etcd::leased_key::{Connect, error_text};
use crate::core::ticket_keys::{KeySet, TicketKey};
use crate::io::tls::tickets::{TicketKeys, fresh};

/// Name below the prefix.
const KEY: &str = "secrets/ticket-keys";
/// Between two readings.
const READ: Duration = Duration::from_secs(5);
/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of the document at most; sixteen keys take a quarter.
const BYTES_MAX: usize = 8 << 10;

/// The document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    /// 32 bytes in base64.
    secret: Zeroizing<String>,
    /// In milliseconds since 1970.
    seals_from: u64,
}

/// What went wrong. No message repeats anything of the document.
#[derive(Debug, thiserror::Error)]
enum SharingError {
    #[error("{0}")]
    Connect(String),
    #[error("etcd: {}", error_text(.0))]
    Etcd(#[from] etcd_client::Error),
    #[error("etcd did not answer within {ANSWER_MAX:?}")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("{0} is not a set of ticket keys; delete it, and a new one is written")]
    Form(String),
}

/// Keeps `keys` in step with the document, and rotates it. Never returns.
pub async fn follow(settings: Etcd, keys: Arc<TicketKeys>) {
    let sharing = Sharing {
        key: format!("{}/{KEY}", settings.prefix),
        connect: connector(Arc::new(Endpoints::new(settings, fastrand::usize(..)))),
        keys,
    };
    let mut backoff = Backoff::new(READ, 12 * READ);
    let mut client = None;
    let mut warned = false;
    loop {
        match sharing.step(&mut client).await {
            Ok(()) => {
                backoff.reset();
                warned = false;
                sleep(READ).await;
            }
            Err(error) => {
                client = None;
                // Once for each outage.
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(%error, "ticket keys of the fleet are not followed now; those in force stay");
                }
                sleep(backoff.next(fastrand::f64())).await;
            }
        }
    }
}

struct Sharing {
    key: String,
    connect: Connect,
    keys: Arc<TicketKeys>,
}

impl Sharing {
    /// Reads the document once, and writes the rotation that is due.
    async fn step(&self, client: &mut Option<Client>) -> Result<(), SharingError> {
        let client = match client {
            Some(client) => client,
            None => {
                let made = timeout(ANSWER_MAX, (self.connect)()).await?;
                client.insert(made.map_err(SharingError::Connect)?)
            }
        };
        let answer = timeout(ANSWER_MAX, client.get(self.key.as_str(), None)).await??;
        let now = clock::unix_millis(clock::wall());
        let (found, revision) = match answer.kvs().first() {
            Some(one) => {
                let set = decode(one.value());
                let set = set.ok_or_else(|| SharingError::Form(self.key.clone()))?;
                (Some(set), one.mod_revision())
            }
            None => (None, 0),
        };
        let next = match &found {
            Some(set) => set.rotated(now, fresh),
            None => Some(KeySet::begin(now, fresh)),
        };
        let Some(next) = next else {
            self.adopt(found.expect("only what was found needs no rotation"));
            return Ok(());
        };
        let unchanged = Compare::mod_revision(self.key.as_str(), CompareOp::Equal, revision);
        let put = TxnOp::put(self.key.as_str(), encode(&next).as_slice(), None);
        let txn = Txn::new().when([unchanged]).and_then([put]);
        let written = timeout(ANSWER_MAX, client.txn(txn)).await??;
        match (written.succeeded(), found) {
            (true, _) => {
                tracing::info!(
                    keys = next.keys().len(),
                    "ticket keys of the fleet were rotated"
                );
                self.adopt(next);
            }
            // Another gateway was first; the next reading has its keys.
            (false, Some(found)) => self.adopt(found),
            (false, None) => {}
        }
        Ok(())
    }

    fn adopt(&self, set: KeySet) {
        if set != self.keys.set() {
            self.keys.replace(set, &[]);
        }
    }
}

fn decode(bytes: &[u8]) -> Option<KeySet> {
    if bytes.len() > BYTES_MAX {
        return None;
    }
    let document: Document = serde_json::from_slice(bytes).ok()?;
    let keys = document.keys.iter().map(|key| {
        Some(TicketKey {
            secret: TicketSecret::from_base64(&key.secret)?,
            seals_from: key.seals_from,
        })
    });
    KeySet::new(keys.collect::<Option<_>>()?).ok()
}

fn encode(set: &KeySet) -> Zeroizing<Vec<u8>> {
    let keys = set.keys().iter().map(|key| Key {
        secret: key.secret.to_base64(),
        seals_from: key.seals_from,
    });
    let document = Document {
        keys: keys.collect(),
    };
    Zeroizing::new(serde_json::to_vec(&document).expect("plain data serialises"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let set = KeySet::begin(1_000, fresh);
        assert_eq!(decode(&encode(&set)), Some(set));
    }

    #[test]
    fn i12_what_is_no_document_is_refused_whole() {
        let key = TicketSecret::new([1; 32]).to_base64();
        let good = format!(r#"{{"keys":[{{"secret":"{}","seals_from":1}}]}}"#, *key);
        assert!(decode(good.as_bytes()).is_some());
        let check = |text: &str| assert_eq!(decode(text.as_bytes()), None, "{text}");
        check("");
        check("{}");
        check(r#"{"keys":[]}"#);
        check(r#"{"keys":[{"secret":"hunter2","seals_from":1}]}"#);
        check(&good.replace("}]", ",\"more\":1}]"));
        check(&good.replace(":1}", ":-1}"));
        check(&good.replace(":1}", ":1e3}"));
        let one = &good[9..good.len() - 2];
        check(&format!(r#"{{"keys":[{one},{one}]}}"#));
        check(&format!("{good}{}", " ".repeat(BYTES_MAX)));
    }
}
