//! Writes the documents that the admin API orders. Each write has its own connection, since
//! writes are rare.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error, PutOptions};
use tokio::time::timeout;

use crate::config::snapshot::Etcd;
use crate::control::etcd::connect::{Endpoints, connector};
use crate::control::etcd::leased_key::error_text;
use crate::control::sources::{Write, Writer};

/// For everything: a connection, a lease, a write, with one endpoint that does not answer before.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than a document under a lease has to live, so that clocks that differ cut nothing short.
const SLACK: Duration = Duration::from_secs(60);

/// A writer below the prefix of this etcd.
pub(super) fn writer(settings: &Etcd) -> Writer {
    let prefix = Arc::clone(&settings.prefix);
    let tries = settings.endpoints.len();
    let connect = connector(Arc::new(Endpoints::new(settings.clone(), 0)));
    Writer::new(move |one| {
        let (connect, prefix) = (Arc::clone(&connect), Arc::clone(&prefix));
        async move {
            let write = Box::pin(async {
                let mut client = connect().await;
                for _ in 1..tries {
                    if client.is_ok() {
                        break;
                    }
                    client = connect().await;
                }
                let written = write(client?, &prefix, one).await;
                written.map_err(|error| error_text(&error))
            });
            let late = |_| format!("no answer within {PATIENCE:?}");
            timeout(PATIENCE, write).await.map_err(late)?
        }
    })
}

async fn write(mut client: Client, prefix: &str, one: Write) -> Result<(), Error> {
    match one {
        Write::Put { key, text, lives } => {
            let mut options = PutOptions::new();
            if let Some(lives) = lives {
                let seconds = i64::try_from((lives + SLACK).as_secs()).unwrap_or(i64::MAX);
                let lease = client.lease_grant(seconds, None).await?.id();
                options = options.with_lease(lease);
            }
            let key = format!("{prefix}/{key}");
            client.put(key, text, Some(options)).await?;
        }
        Write::Delete { key } => {
            client.delete(format!("{prefix}/{key}"), None).await?;
        }
    }
    Ok(())
}
