//! Keys of issuers: fetched periodically, and at once for a token with an unknown key, with a
//! minimum interval against abuse. The last good keys stay while an issuer is down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::base::addr::OwnAddresses;
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::config::key_set::{KeyFault, KeySet};
use crate::config::snapshot::JwksUrl;
use crate::core::auth::{KeyRefresh, ReadKeys};
use crate::io::client::{self, Client, ClientError, ExchangeLimits, server_tls};
use crate::live::Live;
use crate::telemetry::metrics::NodeMetrics;

/// Between looks at what is due.
const POLL: Duration = Duration::from_millis(500);
/// Bounds of one reading.
const LIMITS: ExchangeLimits = ExchangeLimits {
    time: Duration::from_secs(5),
    body: 512 * 1024,
};
/// How long a client, and the roots that it trusts, are used before the roots are read again.
const CLIENT_AGE_MAX: Duration = Duration::from_secs(60);
/// Minimum interval between two fetches for unknown keys. Requests wait longer than that, so that a
/// token of the newest key is accepted even just after an unsuccessful fetch.
const WANTED_MIN: Duration = Duration::from_secs(5);
/// Waits after a failed reading.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// A reading that failed.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Keys(#[from] KeyFault),
}

/// One set of keys and when it is read next.
struct Followed {
    name: String,
    refresh: Arc<KeyRefresh>,
    next: Instant,
    /// When it was read last, with or without success.
    tried: Option<Instant>,
    reading: bool,
    backoff: Backoff,
    /// What the last reading was made with.
    client: Option<KeyClient>,
}

/// A client for one issuer, and when its roots were read.
#[derive(Clone)]
struct KeyClient {
    client: Client,
    since: Instant,
}

/// Keeps the keys of every issuer in the table fresh. Never returns.
pub async fn follow(live: Arc<Live>, metrics: Arc<NodeMetrics>) {
    let mut followed: HashMap<usize, Followed> = HashMap::new();
    let mut readings = JoinSet::new();
    loop {
        bring_up_to_date(&mut followed, &live);
        let now = clock::now();
        for (place, one) in &mut followed {
            if one.is_due(now) {
                (one.reading, one.tried) = (true, Some(now));
                one.refresh.begin();
                // Held until it is read, so that its address is not used again meanwhile.
                let (place, refresh) = (*place, Arc::clone(&one.refresh));
                let (live, mut client) = (Arc::clone(&live), one.client.take());
                readings.spawn(async move {
                    let read = read(
                        &refresh.source,
                        &live.gateway_addresses().admin,
                        &mut client,
                    )
                    .await;
                    (place, read, refresh, client)
                });
            }
        }
        tokio::select! {
            () = live.keys_wanted() => {}
            () = sleep(POLL) => {}
            Some(Ok((place, result, _refresh, client))) = readings.join_next() => {
                if let Some(one) = followed.get_mut(&place) {
                    one.client = client;
                    one.take(result, &live, &metrics);
                }
                live.keys_were_read();
            }
        }
    }
}

/// Follows what the table in force has, and nothing else.
fn bring_up_to_date(followed: &mut HashMap<usize, Followed>, live: &Live) {
    let table = live.table();
    let mut known = HashMap::new();
    for authenticator in table.authenticators() {
        let Some(refresh) = authenticator.refresh() else {
            continue;
        };
        let place = Arc::as_ptr(refresh) as usize;
        let one = followed.remove(&place).unwrap_or_else(|| Followed {
            name: authenticator.config.name.to_string(),
            refresh: Arc::clone(refresh),
            next: clock::now(),
            tried: None,
            reading: false,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
            client: None,
        });
        known.insert(place, one);
    }
    *followed = known;
}

/// Reads a key set, with the client of the last reading or a new one in its place.
async fn read(
    source: &JwksUrl,
    own: &OwnAddresses,
    kept: &mut Option<KeyClient>,
) -> Result<KeySet, ReadError> {
    let url = client::url(&source.url)?;
    let usable = kept.as_ref().filter(|kept| kept.is_usable(clock::now()));
    let client = match usable {
        Some(kept) => kept.client.clone(),
        None => {
            let secure = url.scheme_str() == Some("https");
            let made = KeyClient::new(source, secure, own).await?;
            kept.insert(made).client.clone()
        }
    };
    let request = Request::get(url).header(ACCEPT, "application/jwk-set+json, application/json");
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(ClientError::Request)?;
    let answer = client.ask(request, LIMITS).await?;
    if answer.status() != StatusCode::OK {
        return Err(ReadError::Status(answer.status()));
    }
    Ok(KeySet::jwks(answer.body())?)
}

impl KeyClient {
    async fn new(source: &JwksUrl, secure: bool, own: &OwnAddresses) -> Result<Self, ClientError> {
        let tls = server_tls(secure, source.ca.clone()).await?;
        Ok(Self {
            client: Client::new(tls, own.clone(), LIMITS.time),
            since: clock::now(),
        })
    }

    fn is_usable(&self, now: Instant) -> bool {
        now.duration_since(self.since) < CLIENT_AGE_MAX
    }
}

impl Followed {
    fn is_due(&self, now: Instant) -> bool {
        let rested = || self.tried.is_none_or(|tried| now >= tried + WANTED_MIN);
        !self.reading && (now >= self.next || (self.refresh.is_wanted() && rested()))
    }

    fn take(&mut self, result: Result<KeySet, ReadError>, live: &Live, metrics: &NodeMetrics) {
        let now = clock::now();
        self.reading = false;
        let authenticator = &*self.name;
        match result {
            Ok(keys) => {
                tracing::debug!(authenticator, keys = keys.len(), "keys read");
                self.publish(keys, live);
                self.backoff.reset();
                // Spreads the fetches of gateways that started together.
                let share = 0.9 + fastrand::f64() / 10.0;
                self.next = now + self.refresh.source.refresh.mul_f64(share);
                metrics.keys_read(authenticator, "ok");
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(
                    authenticator, %error, source,
                    "an issuer's keys cannot be read; those read last stay in force"
                );
                let wait = self.backoff.next(fastrand::f64());
                self.next = now + wait.min(self.refresh.source.refresh);
                metrics.keys_read(authenticator, "failed");
            }
        }
        self.refresh.end();
    }

    /// Puts keys into force, unless the table has changed so that they are no longer its issuer's.
    fn publish(&self, keys: KeySet, live: &Live) {
        let read = ReadKeys {
            source: self.refresh.source.clone(),
            keys: Arc::new(keys),
            read_at: clock::unix_millis(clock::wall()),
        };
        live.publish(|next| {
            let authenticator = next.table.authenticator(&self.name);
            let refresh = authenticator.and_then(|one| one.refresh());
            if refresh.is_some_and(|refresh| Arc::ptr_eq(refresh, &self.refresh)) {
                next.keys.insert(self.name.as_str().into(), read);
            }
        });
    }
}
