//! An HTTP service decides about requests (`type = "forward"`). It gets a few of a request's
//! headers and its target. Positive answers may be cached for a while, for requests that look the
//! same to the service.

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::GetAll;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;

use crate::base::clock;
use crate::config::snapshot::Forward;
use crate::config::untrusted::{UntrustedHeaders, is_own};
use crate::core::auth::{Authenticator, CredentialFault, Denial, Principal, SUBJECT_MAX};
use crate::core::http::loops;
use crate::io::client::{ClientError, ExchangeLimits};
use crate::live::Live;
use crate::proxy::verifiers::services::{ServiceClients, Services};

/// Bytes of an answer's body, which is not looked at.
const BODY_MAX: usize = 64 * 1024;

/// A service that did not decide.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// It did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It answered neither yes nor no.
    #[error("the service answered {0}")]
    Status(StatusCode),
}

/// What the service gets of a request.
pub(crate) struct ForwardedRequest<'r> {
    pub(crate) method: &'r str,
    pub(crate) scheme: &'r str,
    pub(crate) host: &'r str,
    pub(crate) target: &'r str,
    pub(crate) client: String,
    pub(crate) request_id: &'r str,
    pub(crate) headers: &'r HeaderMap,
    /// What this client may not send; `None` of a trusted proxy.
    pub(crate) untrusted: Option<&'r UntrustedHeaders>,
}

impl<'r> ForwardedRequest<'r> {
    /// The client's fields that the service gets.
    fn fields<'f>(
        &self,
        forward: &'f Forward,
    ) -> impl Iterator<Item = (&'f HeaderName, GetAll<'r, HeaderValue>)> {
        let (headers, untrusted) = (self.headers, self.untrusted);
        let names = forward.request_headers.iter();
        let names = names.filter(move |name| {
            let name = name.as_str();
            !untrusted.is_some_and(|listed| is_own(name) || listed.contains(name))
        });
        names.map(move |name| (name, headers.get_all(name)))
    }
}

impl Services {
    /// Asks the service of `authenticator`, unless its answer is cached.
    ///
    /// # Errors
    /// When the service does not decide.
    pub(crate) async fn ask(
        &self,
        authenticator: &Authenticator,
        forward: &Forward,
        request: &ForwardedRequest<'_>,
        (live, clients): (&Live, &ServiceClients),
    ) -> Result<Result<Principal, Denial>, ForwardError> {
        let name = &authenticator.config.name;
        let service = self.of(name, forward, live).await?;
        let key = (!forward.cache.is_zero()).then(|| key(authenticator, forward, request));
        let cached = key
            .as_ref()
            .and_then(|key| service.cached.get(key, clock::now()));
        if let Some(cached) = cached {
            return Ok(Ok(cached));
        }
        let mut asked = subrequest(&service.url, forward, request).map_err(ClientError::Request)?;
        // The service may be behind this very gateway: its own requests must not be sent to it.
        loops::mark(asked.headers_mut(), request.headers, live.instance());
        let limits = ExchangeLimits {
            time: forward.timeout,
            body: BODY_MAX,
        };
        let client = clients.of(name, &service, live);
        let answer = client.ask(asked, limits).await?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED => return Ok(Err(CredentialFault::Refused.into())),
            StatusCode::FORBIDDEN => {
                // The service names the subject of a refused request where it can.
                let subject = subject(forward, &answer).unwrap_or_default();
                return Ok(Err(Denial::Insufficient {
                    subject: subject.into(),
                    lacks: "the consent of its service".to_owned(),
                }));
            }
            status => return Err(ForwardError::Status(status)),
        }
        let Some(subject) = subject(forward, &answer) else {
            return Ok(Err(CredentialFault::NoSubject.into()));
        };
        let mut principal = authenticator.named(subject);
        for name in &forward.response_headers {
            let values = answer.headers().get_all(name);
            let values = values
                .into_iter()
                .map(|value| (name.clone(), value.clone()));
            principal.headers.extend(values);
        }
        if let Some(key) = key {
            service.cached.put(key, principal.clone(), clock::now());
        }
        Ok(Ok(principal))
    }
}

/// The subject in the service's answer.
fn subject<'a, B>(forward: &Forward, answer: &'a Response<B>) -> Option<&'a str> {
    let subject = answer.headers().get(&forward.subject_header)?;
    let subject = subject.to_str().ok()?;
    (!subject.is_empty() && subject.len() <= SUBJECT_MAX).then_some(subject)
}

/// The cache key: a digest of everything that the service gets, except the request's name, which
/// differs each time.
fn key(
    authenticator: &Authenticator,
    forward: &Forward,
    request: &ForwardedRequest<'_>,
) -> Box<[u8]> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut add = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(authenticator.config.name.as_bytes());
    add(forward.url.as_bytes());
    for text in [
        request.method,
        request.scheme,
        request.host,
        request.target,
        &request.client,
    ] {
        add(text.as_bytes());
    }
    for (_, values) in request.fields(forward) {
        add(&(values.iter().count() as u64).to_be_bytes());
        values.iter().for_each(|value| add(value.as_bytes()));
    }
    hash.finish().as_ref().into()
}

fn subrequest(
    url: &Uri,
    forward: &Forward,
    request: &ForwardedRequest<'_>,
) -> http::Result<Request<Full<Bytes>>> {
    let mut asked = Request::get(url).body(Full::default())?;
    let fields = asked.headers_mut();
    for (name, values) in request.fields(forward) {
        for value in values {
            fields.append(name.clone(), value.clone());
        }
    }
    let more = [
        ("x-forwarded-method", request.method),
        ("x-forwarded-proto", request.scheme),
        ("x-forwarded-host", request.host),
        ("x-forwarded-uri", request.target),
        ("x-forwarded-for", &request.client),
        ("x-request-id", request.request_id),
    ];
    for (name, text) in more {
        if let Ok(value) = HeaderValue::from_str(text) {
            fields.insert(HeaderName::from_static(name), value);
        }
    }
    Ok(asked)
}
