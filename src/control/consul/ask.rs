//! Questions to Consul: one endpoint after the other, TLS, the token, and servers without a leader.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::task::spawn_blocking;

use crate::base::clock;
use crate::config::snapshot::{Consul, UpstreamTls};
use crate::control::consul::query::{Manner, Query};
use crate::core::consul::Cursor;
use crate::io::client::{self, Client, ClientError, ConnectError, ExchangeLimits};
use crate::io::tls::client::ClientTls;
use crate::live::Live;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How long a client is used before the files of its TLS are read again.
const CLIENT_AGE_MAX: Duration = Duration::from_secs(60);
/// How long a query without a leader waits, so that it is soon asked with one again.
const STALE_WAIT: Duration = Duration::from_secs(5);
/// Letters of an answer that says what is wrong.
const REASON_MAX: usize = 200;

/// No answer, and why.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("it answers {0}: {1}")]
    Status(StatusCode, String),
    #[error("the answer has no X-Consul-Index")]
    NoIndex,
    #[error("no leader is known, and the servers heard of one {} ago", humantime::format_duration(*.0))]
    Old(Duration),
    #[error("no leader is known, and this server is behind the one that answered before")]
    Behind,
    #[error("the token may not read all of it")]
    Filtered,
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) body: Bytes,
    pub(super) index: u64,
    /// The server has no leader.
    pub(super) leaderless: bool,
}

/// The endpoints of one Consul.
pub(super) struct Access {
    settings: Arc<Consul>,
    live: Arc<Live>,
    turn: AtomicUsize,
    client: Mutex<Option<(Client, Instant)>>,
}

impl Access {
    /// Gateways that start together do not all go to the same endpoint.
    pub(super) fn new(settings: Arc<Consul>, live: Arc<Live>) -> Self {
        Self {
            settings,
            live,
            turn: AtomicUsize::new(fastrand::usize(..1024)),
            client: Mutex::default(),
        }
    }

    /// The endpoint whose turn it is.
    pub(super) fn endpoint(&self) -> (usize, &str) {
        let turn = self.turn.load(Ordering::Relaxed);
        let endpoints = &self.settings.endpoints;
        (turn, &endpoints[turn % endpoints.len()])
    }

    /// An endpoint did not answer: the next one's turn, unless that was so already.
    fn turn_away(&self, from: usize) {
        let next = from.wrapping_add(1);
        let _ = self
            .turn
            .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks, and waits for a change if the cursor has an index.
    pub(super) async fn ask(&self, query: &Query, cursor: Cursor) -> Result<Answered, AskError> {
        let (turn, endpoint) = self.endpoint();
        let asked = self.ask_endpoint(endpoint, query, cursor).await;
        asked.inspect_err(|_| self.turn_away(turn))
    }

    async fn ask_endpoint(
        &self,
        endpoint: &str,
        query: &Query,
        cursor: Cursor,
    ) -> Result<Answered, AskError> {
        let manner = Manner {
            index: cursor.index(),
            wait: self.settings.wait.as_millis(),
            stale: false,
        };
        let answer = self.exchange(endpoint, query, manner).await?;
        if !answer.status().is_server_error() {
            return answered(query, answer);
        }
        // Perhaps there is no leader, and a server that knew one answers all the same.
        let stale = self.stale(endpoint, query, cursor).await;
        stale.map_err(|why| match why {
            AskError::Old(_) | AskError::Behind => why,
            _ => status(&answer),
        })
    }

    async fn stale(
        &self,
        endpoint: &str,
        query: &Query,
        cursor: Cursor,
    ) -> Result<Answered, AskError> {
        let manner = Manner {
            index: cursor.index(),
            wait: self.settings.wait.min(STALE_WAIT).as_millis(),
            stale: true,
        };
        let answer = self.exchange(endpoint, query, manner).await?;
        let contact = number(answer.headers(), "x-consul-lastcontact").unwrap_or(0);
        let answered = answered(query, answer)?;
        let contact = Duration::from_millis(contact);
        if contact > self.settings.stale_max {
            return Err(AskError::Old(contact));
        }
        match cursor.is_behind(answered.index) {
            true => Err(AskError::Behind),
            false => Ok(answered),
        }
    }

    async fn exchange(
        &self,
        endpoint: &str,
        query: &Query,
        manner: Manner,
    ) -> Result<Response<Bytes>, AskError> {
        let url = client::url(&format!("{endpoint}{}", query.target(manner)))?;
        let mut request = Request::get(url);
        if let Some(token) = &self.settings.token {
            let mut token = HeaderValue::from_str(token.reveal()).map_err(http::Error::from)?;
            token.set_sensitive(true);
            request = request.header("x-consul-token", token);
        }
        let request = request.body(Full::<Bytes>::default())?;
        // Consul adds up to a sixteenth.
        let waits = manner.index.map(|_| self.settings.wait * 17 / 16);
        let limits = ExchangeLimits {
            time: waits.unwrap_or_default() + self.settings.answer,
            body: ANSWER_BYTES_MAX,
        };
        let client = self.client().await?;
        Ok(client.ask(request, limits).await?)
    }

    /// The files of its TLS are read again from time to time, so that renewed ones are taken up.
    async fn client(&self) -> Result<Client, ClientError> {
        let now = clock::now();
        if let Some(client) = self.kept_client(now) {
            return Ok(client);
        }
        let client = self.new_client().await?;
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.insert((client, now)).0.clone())
    }

    fn kept_client(&self, now: Instant) -> Option<Client> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let young = |since: Instant| now.duration_since(since) < CLIENT_AGE_MAX;
        let (client, since) = known.as_ref()?;
        young(*since).then(|| client.clone())
    }

    async fn new_client(&self) -> Result<Client, ClientError> {
        let secure = |url: &String| url.starts_with("https://");
        let secure = self.settings.endpoints.iter().any(secure);
        let settings = Arc::clone(&self.settings);
        let tls = spawn_blocking(move || {
            let tls = UpstreamTls {
                ca: settings.tls.ca.clone(),
                server_name: settings.tls.server_name.clone(),
            };
            let own = settings.tls.identity.as_ref();
            secure.then(|| ClientTls::showing(&tls, own)).transpose()
        });
        let tls = tls.await.expect("reading roots does not panic");
        let tls = tls.map_err(ConnectError::from)?;
        let own = self.live.gateway_addresses().admin.clone();
        Ok(Client::new(tls, own, self.settings.dial))
    }
}

/// What an answer says, if it is good.
fn answered(query: &Query, answer: Response<Bytes>) -> Result<Answered, AskError> {
    // There is no key below the prefix.
    let no_keys = answer.status() == StatusCode::NOT_FOUND && matches!(query, Query::Keys(_));
    if answer.status() != StatusCode::OK && !no_keys {
        return Err(status(&answer));
    }
    let headers = answer.headers();
    if flag(headers, "x-consul-results-filtered-by-acls") == Some(true) {
        return Err(AskError::Filtered);
    }
    let index = number(headers, "x-consul-index").ok_or(AskError::NoIndex)?;
    Ok(Answered {
        index,
        leaderless: flag(headers, "x-consul-knownleader") == Some(false),
        body: match no_keys {
            true => Bytes::from_static(b"[]"),
            false => answer.into_body(),
        },
    })
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn flag(headers: &HeaderMap, name: &str) -> Option<bool> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// A status with the first line of its body, which says why.
fn status(answer: &Response<Bytes>) -> AskError {
    let body = String::from_utf8_lossy(&answer.body()[..answer.body().len().min(4 * REASON_MAX)]);
    let line = body.lines().next().unwrap_or_default().trim();
    let shown = line.chars().filter(|letter| !letter.is_control());
    AskError::Status(answer.status(), shown.take(REASON_MAX).collect())
}
