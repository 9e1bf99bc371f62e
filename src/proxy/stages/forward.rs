//! The stage "connect" of an ordinary request: pinned by the same key as a session, streamed both
//! ways, over connections that are kept. A request is repeated only if no backend can have acted on
//! it.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::response::Parts as ResponseHead;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::core::health::Outcome;
use crate::core::http::headers;
use crate::proxy::backend::candidates::Candidates;
use crate::proxy::backend::dial::DialPlan;
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::client::patience::{Late, Patience};
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::stages::answer::Reply;
use crate::proxy::stages::backend_headers::backend_headers;
use crate::proxy::stages::pass_on::{cases, pass_on, settle_framing};
use crate::proxy::stages::upgrade::backend_tls;
use crate::proxy::streams::activity::StreamActivity;
use crate::proxy::streams::body::Outgoing;
use crate::proxy::streams::interim;
use crate::proxy::streams::pool::{self, Kept, Key, Sender};
use crate::proxy::streams::upload::Upload;

/// A request with its body on the way up.
type Outbound = Request<Outgoing<Upload>>;

/// A request that may be sent twice: one without a body whose method is safe (RFC 9110, section
/// 9.2.1).
struct Repeatable {
    method: Method,
    target: Uri,
    fields: HeaderMap,
    /// The case of the field names.
    extensions: Extensions,
}

/// Why sending failed.
enum SendError {
    /// Nothing of it left; here it is again.
    Unsent(Box<Outbound>),
    /// Some of it may have arrived.
    Broke(hyper::Error),
    /// No answer came in time.
    Late(Late),
}

/// Why sending over a kept connection failed.
enum KeptError {
    /// The backend had closed it, and cannot have acted on the request. Here it is again.
    Closed(Box<Outbound>),
    /// The request may have been acted on.
    Failed(SendError),
}

/// A backend's connection on which the answer comes.
struct Lane {
    key: Key,
    sender: Sender,
    /// It may serve other clients.
    shared: bool,
    /// The client has logged in on it as a whole.
    login: bool,
}

/// The answer of a backend, of which nothing has been passed on.
pub(crate) struct Arrived {
    lease: BackendLease,
    head: ResponseHead,
    body: Incoming,
    activity: Rc<StreamActivity>,
    keep: Option<Kept>,
}

impl Arrived {
    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Its fields, without those of its connection.
    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The length of its body, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Passes it on.
    pub(crate) fn pass_on(self, placed: &Placed<'_>) -> Reply {
        let answer = (self.head, self.body);
        pass_on(placed, &self.lease, answer, self.activity, self.keep)
    }

    /// It is not passed on; its connection is kept if it has no body.
    pub(crate) fn finish(self) {
        if let Some(keep) = self.keep.filter(|_| self.body.is_end_stream()) {
            keep.give_back();
        }
    }
}

/// Forwards an ordinary request and passes the answer on.
///
/// # Errors
/// As [`exchange`].
pub(crate) async fn forward(
    placed: &Placed<'_>,
    head: Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    Ok(exchange(placed, head, body).await?.pass_on(placed))
}

/// Forwards an ordinary request.
///
/// # Errors
/// When no candidate answers, or the answer is not valid.
pub(crate) async fn exchange(
    placed: &Placed<'_>,
    head: Parts,
    body: Incoming,
) -> Result<Arrived, Refusal> {
    let received = placed.received;
    let connection = &received.connection;
    let timeouts = &placed.route.config.timeouts;
    let until = Instant::from_std(received.arrived) + timeouts.response;
    let mut request = outbound(placed, head, body)?;
    let tls = backend_tls(placed)?;
    let plan = DialPlan {
        addresses: connection.addresses,
        tls: tls.as_ref(),
        until,
    };
    let worker = &connection.worker;
    // A connection that begins with this client's PROXY header serves no other client.
    let shared = placed.upstream.config.proxy_protocol.is_none();
    let mut candidates = Candidates::new(worker, placed.wanted(false, until));
    candidates.consult_fleet().await;
    let mut login = headers::logs_connection_in(request.headers());

    while let Some((member, lease)) = candidates.next() {
        let key = (placed.upstream.config.name.clone(), member.id.clone());
        let own = connection.logins.take(&key, &placed.upstream);
        login |= own.is_some();
        let kept = own.or_else(|| worker.pool.take(&key, &placed.upstream));
        if let Some(mut sender) = kept.filter(|_| shared) {
            match send_over_kept(placed, &mut sender, request).await {
                Ok(answer) => {
                    let lane = Lane {
                        key,
                        sender,
                        shared,
                        login,
                    };
                    return settle(placed, lease, answer, lane);
                }
                Err(KeptError::Closed(again)) => request = *again,
                Err(KeptError::Failed(error)) => return Err(failed(placed, &lease, error)),
            }
        }
        let carrier = match candidates.connect(member, &plan).await {
            Ok(carrier) => carrier,
            Err(error) => {
                candidates.not_reached(&lease, error);
                continue;
            }
        };
        let limits = &placed.upstream.config.response_limits;
        let sender = pool::speak(&worker.clock, carrier, limits).await;
        let mut sender = sender.map_err(Refusal::BackendBroke)?;
        let answer = send(placed, &mut sender, request).await;
        let answer = answer.map_err(|error| failed(placed, &lease, error))?;
        let lane = Lane {
            key,
            sender,
            shared,
            login,
        };
        return settle(placed, lease, answer, lane);
    }
    Err(candidates.exhausted().into())
}

/// Sends a request over a kept connection, which its backend may have closed meanwhile.
async fn send_over_kept(
    placed: &Placed<'_>,
    sender: &mut Sender,
    request: Outbound,
) -> Result<Response<Incoming>, KeptError> {
    let repeatable = Repeatable::of(&request);
    let before = sender.activity.received();
    let sent = send(placed, sender, request).await;
    let unanswered = sender.activity.received() == before;
    sent.map_err(|error| match (error, repeatable) {
        (SendError::Unsent(unsent), _) => KeptError::Closed(unsent),
        // The backend closed the idle connection while the request was under way.
        (SendError::Broke(_), Some(repeatable)) if unanswered => {
            KeptError::Closed(Box::new(repeatable.again()))
        }
        (error, _) => KeptError::Failed(error),
    })
}

/// The request as a backend gets it.
fn outbound(placed: &Placed<'_>, head: Parts, body: Incoming) -> Result<Outbound, Refusal> {
    let received = placed.received;
    let mut fields = backend_headers(placed, head.headers, false);
    let body = if body.is_end_stream() {
        received
            .upload
            .has_none(Instant::from_std(received.arrived));
        Outgoing::Empty
    } else {
        if !fields.contains_key(header::CONTENT_LENGTH) {
            // Explicit, since hyper expects no body with a GET that announces none.
            fields.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        Outgoing::streamed(body, received.upload.clone())
    };
    let request = Request::builder()
        .method(head.method)
        .uri(placed.target.as_str())
        .body(body);
    let mut request = request.map_err(Refusal::of_rewrite)?;
    *request.headers_mut() = fields;
    *request.extensions_mut() = cases(head.extensions);
    Ok(request)
}

impl Repeatable {
    fn of(request: &Outbound) -> Option<Self> {
        let safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        (safe && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            target: request.uri().clone(),
            fields: request.headers().clone(),
            extensions: request.extensions().clone(),
        })
    }

    fn again(self) -> Outbound {
        let mut request = Request::new(Outgoing::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target;
        *request.headers_mut() = self.fields;
        *request.extensions_mut() = self.extensions;
        request
    }
}

/// Sends a request and waits for the head of its response; interim responses go to the client at
/// once.
async fn send(
    placed: &Placed<'_>,
    sender: &mut Sender,
    mut request: Outbound,
) -> Result<Response<Incoming>, SendError> {
    let received = placed.received;
    let patience = Patience {
        progress: &received.progress,
        backend: &sender.activity,
        upload: &received.upload,
        timeouts: &placed.route.config.timeouts,
    };
    let mut interim = interim::listen(&mut request);
    let mut late = pin!(patience.over());
    let mut answer = pin!(sender.http.try_send_request(request));
    loop {
        tokio::select! {
            biased;
            Some(response) = interim.recv() => {
                if received.http_11 {
                    received.progress.send_interim(&response);
                }
            }
            answer = &mut answer => return match answer {
                Ok(response) => Ok(response),
                Err(mut error) => Err(match error.take_message() {
                    Some(request) => SendError::Unsent(Box::new(request)),
                    None => SendError::Broke(error.into_error()),
                }),
            },
            late = &mut late => return Err(SendError::Late(late)),
        }
    }
}

/// The refusal after a failed exchange. It does not count against the backend if the client's own
/// body broke off or stalled.
fn failed(placed: &Placed<'_>, lease: &BackendLease, error: SendError) -> Refusal {
    let (outcome, refusal) = match error {
        SendError::Late(Late::ClientStalled) => return Refusal::ClientStalled,
        SendError::Broke(_) if placed.received.upload.failed() => return Refusal::BodyIncomplete,
        SendError::Late(Late::BackendStalled) => {
            (Outcome::HandshakeTimedOut, Refusal::BackendStalled)
        }
        SendError::Late(Late::NoAnswer) => (Outcome::HandshakeTimedOut, Refusal::TimedOut),
        SendError::Broke(error) => (Outcome::HandshakeRefused, Refusal::of_backend(error)),
        // A kept connection that ended; a client can time its requests to meet that.
        SendError::Unsent(_) => (Outcome::HandshakeRefused, Refusal::Unsent),
    };
    lease.report(outcome, placed.witness());
    refusal
}

/// Checks a backend's answer.
fn settle(
    placed: &Placed<'_>,
    lease: BackendLease,
    answer: Response<Incoming>,
    lane: Lane,
) -> Result<Arrived, Refusal> {
    let (mut head, body) = answer.into_parts();
    let login = lane.login || headers::logs_connection_in(&head.headers);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        lease.report(Outcome::HandshakeRefused, placed.witness());
        return Err(Refusal::UnaskedSwitch);
    }
    let reusable = settle_framing(placed.received, &mut head)
        .inspect_err(|_| lease.report(Outcome::HandshakeRefused, placed.witness()))?;
    lease.report(Outcome::Ok, placed.witness());
    let activity = Rc::clone(&lane.sender.activity);
    let connection = &placed.received.connection;
    let keep = (lane.shared && reusable).then(|| Kept {
        pool: Rc::clone(match login {
            true => &connection.logins,
            false => &connection.worker.pool,
        }),
        upstream: Arc::downgrade(&placed.upstream),
        key: lane.key,
        sender: lane.sender,
    });
    Ok(Arrived {
        lease,
        head,
        body,
        activity,
        keep,
    })
}

#[cfg(test)]
mod tests;
