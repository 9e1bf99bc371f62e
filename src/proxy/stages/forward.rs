//! The stage "connect" of an ordinary request: pinned by the same key as a session, streamed both
//! ways, over connections that are kept. What is sent twice is only what cannot have been acted on.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::core::health::{Outcome, Witness};
use crate::core::http::framing::{self, AnswerLine};
use crate::core::http::headers;
use crate::proxy::backend::candidates::{BackendSeat, Candidates};
use crate::proxy::pipeline::{Exchange, Plan, Reply};
use crate::proxy::refusal::Refusal;
use crate::proxy::request::record::{Passing, Stage};
use crate::proxy::stages::upgrade::add_cookie;
use crate::proxy::streams::body::{Outgoing, Watch};
use crate::proxy::streams::interim;
use crate::proxy::streams::pool::{self, Kept, Key, Sender};
use crate::proxy::streams::stream::Pulse;
use crate::proxy::transport::deadlines::{Answering, Late, Patience};

/// Follows a request's body as it goes up.
#[derive(Clone, Default)]
pub(crate) struct Upload(Rc<Progress>);

/// How far a request's body came.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    /// When all of it had gone up.
    ended: Cell<Option<Instant>>,
    /// The client broke it off.
    failed: Cell<bool>,
}

impl Upload {
    /// Bytes that went up so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// When all of it had gone up.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        self.0.ended.get()
    }
}

impl Watch for Upload {
    fn passed(&mut self, bytes: usize) {
        self.0.bytes.set(self.0.bytes.get() + bytes as u64);
    }

    fn ended(&mut self) {
        if self.0.ended.get().is_none() {
            self.0.ended.set(Some(Instant::now()));
        }
    }

    fn failed(&mut self) {
        self.0.failed.set(true);
    }
}

/// What can be said again: a request without a body whose method has no effect (RFC 9110, section
/// 9.2.1).
struct Repeatable {
    method: Method,
    target: Uri,
    fields: HeaderMap,
    /// The case of their names.
    extensions: Extensions,
}

/// How sending went wrong.
enum SendError {
    /// Nothing of it left; here it is again.
    Unsent(Box<Request<Outgoing<Upload>>>),
    /// Some of it may have arrived.
    Broke(hyper::Error),
    /// No answer came in time.
    Late(Late),
}

/// Forwards an ordinary request and passes the answer on.
pub(crate) async fn forward(
    exchange: &Exchange,
    plan: Plan,
    head: Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let until = Instant::from_std(exchange.arrived) + plan.route.config.timeouts.response;
    let mut request = request(exchange, &plan, head, body)?;
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
            let before = sender.pulse.received();
            let sent = send(exchange, &plan, &mut sender, request).await;
            let unanswered = sender.pulse.received() == before;
            match (sent, repeatable) {
                (Ok(answer), _) => {
                    let lane = (key, sender);
                    return pass_on(exchange, &plan, seat, answer, lane, true, login);
                }
                (Err(SendError::Unsent(unsent)), _) => request = *unsent,
                // The backend let the idle connection go while the request was under way.
                (Err(SendError::Broke(_)), Some(repeatable)) if unanswered => {
                    request = repeatable.again();
                }
                (Err(error), _) => {
                    return Err(seat.failed(error, &exchange.upload, plan.witness()));
                }
            }
        }
        let carrier = match candidates.connect(member, &road).await {
            Ok(carrier) => carrier,
            Err(error) => {
                candidates.not_reached(&seat, error);
                continue;
            }
        };
        let limits = &plan.upstream.config.response_limits;
        let sender = pool::speak(worker, carrier, limits).await;
        let mut sender = sender.map_err(Refusal::BackendBroke)?;
        let answer = send(exchange, &plan, &mut sender, request).await;
        let answer =
            answer.map_err(|error| seat.failed(error, &exchange.upload, plan.witness()))?;
        return pass_on(exchange, &plan, seat, answer, (key, sender), shared, login);
    }
    Err(candidates.exhausted())
}

fn request(
    exchange: &Exchange,
    plan: &Plan,
    head: Parts,
    body: Incoming,
) -> Result<Request<Outgoing<Upload>>, Refusal> {
    let mut fields = exchange.backend_headers(plan, head.headers, false);
    let body = if body.is_end_stream() {
        let arrived = Instant::from_std(exchange.arrived);
        exchange.upload.0.ended.set(Some(arrived));
        Outgoing::Empty
    } else {
        if !fields.contains_key(header::CONTENT_LENGTH) {
            // Said outright, since hyper expects no body with a GET that says nothing.
            fields.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        Outgoing::streamed(body, exchange.upload.clone())
    };
    let request = Request::builder()
        .method(head.method)
        .uri(plan.target.as_str())
        .body(body);
    let mut request = request.map_err(|_| Refusal::BadTarget("the rewritten target is no path"))?;
    *request.headers_mut() = fields;
    *request.extensions_mut() = cases(head.extensions);
    Ok(request)
}

/// How the names of a message's fields were written, which hyper keeps in its extensions; what else
/// is there belongs to its connection.
pub(crate) fn cases(mut extensions: Extensions) -> Extensions {
    extensions.remove::<OnUpgrade>();
    extensions
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
            extensions: request.extensions().clone(),
        })
    }

    fn again(self) -> Request<Outgoing<Upload>> {
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
    exchange: &Exchange,
    plan: &Plan,
    sender: &mut Sender,
    mut request: Request<Outgoing<Upload>>,
) -> Result<Response<Incoming>, SendError> {
    let connection = &*exchange.connection;
    let patience = Patience {
        connection,
        backend: &sender.pulse,
        upload: &exchange.upload,
        timeouts: &plan.route.config.timeouts,
    };
    let mut interim = interim::listen(&mut request);
    let mut late = pin!(patience.over());
    let mut answer = pin!(sender.http.try_send_request(request));
    loop {
        tokio::select! {
            biased;
            Some(response) = interim.recv() => {
                if exchange.http_11 {
                    connection.send_interim(&response);
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

impl BackendSeat {
    /// What a failed exchange says. Where the client's own body broke off or did not come, it says
    /// nothing about the backend.
    fn failed(&self, error: SendError, upload: &Upload, witness: Witness) -> Refusal {
        let (outcome, refusal) = match error {
            SendError::Late(Late::ClientStalled) => return Refusal::ClientStalled,
            SendError::Broke(_) if upload.0.failed.get() => return Refusal::BodyIncomplete,
            SendError::Late(Late::BackendStalled) => {
                (Outcome::HandshakeTimedOut, Refusal::BackendStalled)
            }
            SendError::Late(Late::NoAnswer) => (Outcome::HandshakeTimedOut, Refusal::TimedOut),
            SendError::Broke(error) => (Outcome::HandshakeRefused, Refusal::of_backend(error)),
            // A kept connection that ended; a client can time its requests to meet that.
            SendError::Unsent(_) => (Outcome::HandshakeRefused, Refusal::Unsent),
        };
        self.report(outcome, witness);
        refusal
    }
}

/// Takes the framing fields off a backend's answer, or refuses it; see [`framing::settle_answer`].
pub(crate) fn settle_answer(
    exchange: &Exchange,
    head: &mut http::response::Parts,
) -> Result<bool, Refusal> {
    let line = AnswerLine {
        method: &exchange.method,
        status: head.status,
        version: head.version,
    };
    framing::settle_answer(line, &mut head.headers).map_err(Refusal::AnswerFraming)
}

/// Passes a backend's answer on. `shared` says that its connection may serve other clients.
fn pass_on(
    exchange: &Exchange,
    plan: &Plan,
    seat: BackendSeat,
    answer: Response<Incoming>,
    (key, sender): (Key, Sender),
    shared: bool,
    login: bool,
) -> Result<Reply, Refusal> {
    let (mut head, body) = answer.into_parts();
    let login = login || headers::logs_connection_in(&head.headers);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        seat.report(Outcome::HandshakeRefused, plan.witness());
        return Err(Refusal::UnaskedSwitch);
    }
    let reusable = settle_answer(exchange, &mut head)
        .inspect_err(|_| seat.report(Outcome::HandshakeRefused, plan.witness()))?;
    seat.report(Outcome::Ok, plan.witness());
    headers::strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions = cases(head.extensions);
    add_cookie(&mut head.headers, plan);
    let pulse = Rc::clone(&sender.pulse);
    let keep = (shared && reusable).then(|| Kept {
        worker: Rc::clone(&exchange.connection.worker),
        upstream: Arc::downgrade(&plan.upstream),
        key,
        sender,
        owner: login.then(|| Rc::clone(&exchange.connection)),
    });
    let mut passing = passing(exchange, plan, &seat, head.status, keep);
    let body = if body.is_end_stream() {
        passing.ended();
        Outgoing::Empty
    } else {
        begin_answer(exchange, plan, &body, Some(pulse));
        Outgoing::streamed(body, passing)
    };
    Ok(Response::from_parts(head, body))
}

/// What follows a backend's answer to the client.
pub(crate) fn passing(
    exchange: &Exchange,
    plan: &Plan,
    seat: &BackendSeat,
    status: StatusCode,
    keep: Option<Kept>,
) -> Passing {
    let mut report = exchange.report_of(plan, seat);
    report.status = status.as_u16();
    report.stage = Stage::Passing;
    Passing {
        report,
        keep,
        connection: Rc::clone(&exchange.connection),
    }
}

/// The body of an answer is on its way from now on, with the route's times.
pub(crate) fn begin_answer(
    exchange: &Exchange,
    plan: &Plan,
    body: &Incoming,
    backend: Option<Rc<Pulse>>,
) {
    // HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
    let until_end = !exchange.http_11 && body.size_hint().exact().is_none();
    let answering = Answering {
        backend,
        idle: plan.route.config.timeouts.idle,
    };
    exchange.connection.answer(answering, until_end);
}
