//! Requests to the API of a cluster.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Builder;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::base::clock;
use crate::config::snapshot::Kubernetes;
use crate::control::kubernetes::credentials::Credentials;
use crate::core::kubernetes::{AnswerFault, failure};
use crate::io::client::{self, Client, ClientError, ConnectError, ExchangeLimits, Parts};
use crate::io::tls::client::ClientTls;
use crate::live::Live;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How long a client is used before the files of its TLS are read again.
const CLIENT_AGE_MAX: Duration = Duration::from_secs(60);

/// No answer, and why.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Token(String),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("it answers {0}: {1}")]
    Status(StatusCode, String),
    #[error(transparent)]
    Answer(#[from] AnswerFault),
    #[error("{0}")]
    Watch(String),
}

impl AskError {
    /// Whether the version or the page that was asked for is no longer kept.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Status(StatusCode::GONE, _))
    }

    /// Whether there is no such object.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Status(StatusCode::NOT_FOUND, _))
    }

    /// Whether somebody else has written it meanwhile.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Status(StatusCode::CONFLICT, _))
    }

    /// Whether a watch has to begin behind a new list: what the API sends is not what is known, as
    /// after a restore. A connection that breaks is no such reason.
    pub(super) fn needs_list(&self) -> bool {
        match self {
            Self::Status(status, _) => !matches!(
                *status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
            ),
            Self::Answer(_) | Self::Watch(_) => true,
            Self::Client(_) | Self::Token(_) | Self::Request(_) => false,
        }
    }
}

/// The API of one cluster.
pub(super) struct Access {
    pub(super) settings: Kubernetes,
    live: Arc<Live>,
    credentials: Credentials,
    client: Mutex<Option<(Client, Instant)>>,
}

impl Access {
    pub(super) fn new(settings: Kubernetes, live: Arc<Live>) -> Self {
        Self {
            settings,
            live,
            credentials: Credentials::default(),
            client: Mutex::default(),
        }
    }

    /// Asks for an object or a page of a list.
    pub(super) async fn get(&self, target: &str) -> Result<Bytes, AskError> {
        let limits = ExchangeLimits {
            time: self.settings.answer,
            body: ANSWER_BYTES_MAX,
        };
        let (client, request) = self.request(Request::get(self.url(target)?)).await?;
        let answer = client.ask(request.body(Full::default())?, limits).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(self.refusal(status, answer.body())),
        }
    }

    /// Writes an object, or a part of one.
    pub(super) async fn write(
        &self,
        method: Method,
        target: &str,
        content: &'static str,
        body: &Value,
    ) -> Result<Bytes, AskError> {
        let limits = ExchangeLimits {
            time: self.settings.answer,
            body: ANSWER_BYTES_MAX,
        };
        let request = Request::builder().method(method).uri(self.url(target)?);
        let request = request.header(CONTENT_TYPE, content);
        let (client, request) = self.request(request).await?;
        let body = Full::from(body.to_string());
        let answer = client.ask(request.body(body)?, limits).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED => Ok(answer.into_body()),
            status => Err(self.refusal(status, answer.body())),
        }
    }

    /// Begins a watch.
    pub(super) async fn watch(&self, target: &str) -> Result<Parts, AskError> {
        let (client, request) = self.request(Request::get(self.url(target)?)).await?;
        let answer = client
            .open(request.body(Full::default())?, self.settings.answer)
            .await?;
        let (status, mut body) = (answer.status(), answer.into_body());
        if status == StatusCode::OK {
            return Ok(body);
        }
        let why = body.next(self.settings.answer).await.ok().flatten();
        Err(self.refusal(status, &why.unwrap_or_default()))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> AskError {
        if status == StatusCode::UNAUTHORIZED {
            self.credentials.refused();
        }
        AskError::Status(status, failure(body))
    }

    fn url(&self, target: &str) -> Result<Uri, AskError> {
        Ok(client::url(&format!("{}{target}", self.settings.server))?)
    }

    /// With what authenticates it.
    async fn request(&self, request: Builder) -> Result<(Client, Builder), AskError> {
        let mut request = request.header(ACCEPT, "application/json");
        let token = self.credentials.header(&self.settings.token).await;
        if let Some(token) = token.map_err(AskError::Token)? {
            request = request.header(AUTHORIZATION, token);
        }
        Ok((self.client().await?, request))
    }

    /// The files of its TLS are read again from time to time, so that renewed ones are taken up.
    async fn client(&self) -> Result<Client, ClientError> {
        let now = clock::now();
        if let Some(client) = self.kept_client(now) {
            return Ok(client);
        }
        let tls = match self.settings.server.starts_with("https://") {
            true => {
                let files = self.settings.tls.clone();
                let made = spawn_blocking(move || ClientTls::of_pem(&files)).await;
                let made = made.expect("reading certificates does not panic");
                Some(made.map_err(ConnectError::from)?)
            }
            false => None,
        };
        let own = self.live.gateway_addresses().admin.clone();
        let client = Client::new(tls, own, self.settings.dial);
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.insert((client, now)).0.clone())
    }

    fn kept_client(&self, now: Instant) -> Option<Client> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, since) = known.as_ref()?;
        (now.duration_since(*since) < CLIENT_AGE_MAX).then(|| client.clone())
    }
}
