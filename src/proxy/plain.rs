//! The stage "connect" of an ordinary request: pinned by the same key as a session, streamed both
//! ways, over connections that are kept. What is sent twice is only what cannot have been acted on.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::core::health::Outcome;
use crate::core::http::headers;
use crate::proxy::body::{Outgoing, Watch};
use crate::proxy::pipeline::{Exchange, Passing, Plan, Reply};
use crate::proxy::place::{BackendSeat, Candidates};
use crate::proxy::pool::{self, Kept, Key, Sender};
use crate::proxy::refusal::Refusal;
use crate::proxy::upgrade::add_cookie;

/// Follows a request's body as it goes up.
#[derive(Clone, Default)]
pub(super) struct Upload(Rc<Progress>);

/// How far a request's body came.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    ended: Cell<bool>,
}

impl Upload {
    /// Bytes that went up so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }
}

impl Watch for Upload {
    fn passed(&mut self, bytes: usize) {
        self.0.bytes.set(self.0.bytes.get() + bytes as u64);
    }

    fn ended(&mut self) {
        self.0.ended.set(true);
    }
}

/// What can be said again: a request without a body whose method has no effect (RFC 9110, section
/// 9.2.1).
struct Repeatable {
    method: Method,
    target: Uri,
    fields: HeaderMap,
}

/// How sending went wrong.
enum SendError {
    /// Nothing of it left; here it is again.
    Unsent(Box<Request<Outgoing<Upload>>>),
    /// Some of it may have arrived.
    Broke(hyper::Error),
    TimedOut,
}

/// Forwards an ordinary request and passes the answer on.
pub(super) async fn forward(
    exchange: &Exchange,
    plan: Plan,
    head: Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let until = Instant::from_std(exchange.arrived) + plan.route.config.timeouts.response;
    let uploaded = Upload::default();
    let mut request = request(exchange, &plan, head, body, &uploaded)?;
    let tls = exchange.backend_tls(&plan)?;
    let road = exchange.road(until, tls.as_ref());
    let worker = &exchange.connection.worker;
    // A connection that begins with this client's PROXY header is no other client's.
    let shared = plan.upstream.config.proxy_protocol.is_none();
    let mut candidates = Candidates::new(worker, &plan, false, until);
    let mut login = headers::logs_connection_in(request.headers());

    while let Some((member, seat)) = candidates.next() {
        let key = (plan.upstream.config.name.clone(), member.id.clone());
        let own = exchange.connection.logins.take(&key, &plan.upstream);
        login |= own.is_some();
        let kept = own.or_else(|| worker.pool.take(&key, &plan.upstream));
        if let Some(mut sender) = kept.filter(|_| shared) {
            let repeatable = Repeatable::of(&request);
            match (send(&mut sender, request, until).await, repeatable) {
                (Ok(answer), _) => {
                    return pass_on(
                        exchange,
                        &plan,
                        seat,
                        answer,
                        &uploaded,
                        Some((key, sender)),
                        login,
                    );
                }
                (Err(SendError::Unsent(unsent)), _) => request = *unsent,
                // The backend let the idle connection go while the request was under way.
                (Err(SendError::Broke(_)), Some(repeatable)) => request = repeatable.again(),
                (Err(error), _) => return Err(seat.failed(error, &uploaded)),
            }
        }
        let carrier = match candidates.connect(member, &road).await {
            Ok(carrier) => carrier,
            Err(error) => {
                candidates.not_reached(&seat, error);
                continue;
            }
        };
        let mut sender = pool::speak(carrier).await.map_err(Refusal::BackendBroke)?;
        let answer = send(&mut sender, request, until).await;
        let answer = answer.map_err(|error| seat.failed(error, &uploaded))?;
        let keep = shared.then_some((key, sender));
        return pass_on(exchange, &plan, seat, answer, &uploaded, keep, login);
    }
    Err(candidates.exhausted())
}

fn request(
    exchange: &Exchange,
    plan: &Plan,
    head: Parts,
    body: Incoming,
    uploaded: &Upload,
) -> Result<Request<Outgoing<Upload>>, Refusal> {
    let mut fields = exchange.backend_headers(plan, head.headers, false);
    let body = if body.is_end_stream() {
        uploaded.0.ended.set(true);
        Outgoing::Empty
    } else {
        if !fields.contains_key(header::CONTENT_LENGTH) {
            // Said outright, since hyper expects no body with a GET that says nothing.
            fields.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        Outgoing::streamed(body, uploaded.clone())
    };
    let request = Request::builder()
        .method(head.method)
        .uri(plan.target.as_str())
        .body(body);
    let mut request = request.map_err(|_| Refusal::BadTarget("the rewritten target is no path"))?;
    *request.headers_mut() = fields;
    Ok(request)
}

impl Repeatable {
    fn of(request: &Request<Outgoing<Upload>>) -> Option<Self> {
        let safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        (safe && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            target: request.uri().clone(),
            fields: request.headers().clone(),
        })
    }

    fn again(self) -> Request<Outgoing<Upload>> {
        let mut request = Request::new(Outgoing::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target;
        *request.headers_mut() = self.fields;
        request
    }
}

async fn send(
    sender: &mut Sender,
    request: Request<Outgoing<Upload>>,
    until: Instant,
) -> Result<Response<Incoming>, SendError> {
    match timeout_at(until, sender.try_send_request(request)).await {
        Err(_) => Err(SendError::TimedOut),
        Ok(Ok(response)) => Ok(response),
        Ok(Err(mut error)) => Err(match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => SendError::Broke(error.into_error()),
        }),
    }
}

impl BackendSeat {
    /// What a failed exchange says. Where the client's own body broke off or did not come, it says
    /// nothing about the backend.
    fn failed(&self, error: SendError, upload: &Upload) -> Refusal {
        match error {
            SendError::TimedOut | SendError::Broke(_) if !upload.0.ended.get() => {
                Refusal::BodyIncomplete
            }
            SendError::TimedOut => {
                self.report(Outcome::HandshakeTimedOut);
                Refusal::TimedOut
            }
            SendError::Broke(error) => {
                self.report(Outcome::HandshakeRefused);
                Refusal::BackendBroke(error)
            }
            SendError::Unsent(_) => {
                self.report(Outcome::ConnectFailed);
                Refusal::Unsent
            }
        }
    }
}

fn pass_on(
    exchange: &Exchange,
    plan: &Plan,
    seat: BackendSeat,
    answer: Response<Incoming>,
    uploaded: &Upload,
    keep: Option<(Key, Sender)>,
    login: bool,
) -> Result<Reply, Refusal> {
    let (mut head, body) = answer.into_parts();
    let login = login || headers::logs_connection_in(&head.headers);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        seat.report(Outcome::HandshakeRefused);
        return Err(Refusal::UnaskedSwitch);
    }
    seat.report(Outcome::Ok);
    headers::strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    add_cookie(&mut head.headers, plan);
    let mut report = exchange.report_of(plan, &seat);
    report.status = head.status.as_u16();
    report.upload = uploaded.clone();
    let keep = keep.map(|(key, sender)| Kept {
        worker: Rc::clone(&exchange.connection.worker),
        upstream: Arc::downgrade(&plan.upstream),
        key,
        sender,
        owner: login.then(|| Rc::clone(&exchange.connection)),
    });
    let mut passing = Passing { report, keep };
    let body = if body.is_end_stream() {
        passing.ended();
        Outgoing::Empty
    } else {
        Outgoing::streamed(body, passing)
    };
    Ok(Response::from_parts(head, body))
}
