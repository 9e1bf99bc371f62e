//! The stage "connect" of a WebSocket: reach a backend, forward the upgrade as an upgrade, believe
//! only a valid 101 (I9), and leave hyper with both streams in hand.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use crate::base::clock;
use crate::base::right::Right;
use crate::config::snapshot::HeadLimits;
use crate::core::health::Outcome;
use crate::core::http::headers;
use crate::core::session::record::Facts;
use crate::core::wire::extension;
use crate::core::wire::handshake::{self, Answer, Granted, Upgrade};
use crate::core::wire::in_band::InBandMatcher;
use crate::core::wire::tracker::{Extensions, Rules};
use crate::io::carrier::Carrier;
use crate::io::relay::{Keepalive, Setup, Times, Warning};
use crate::live::Phase;
use crate::proxy::backend::candidates::{BackendSeat, Candidates};
use crate::proxy::context::worker::{TICK, ticks};
use crate::proxy::pipeline::{Exchange, Plan, Reply};
use crate::proxy::refusal::Refusal;
use crate::proxy::request::record::{Report, Stage};
use crate::proxy::session::reconnect::Resumption;
use crate::proxy::stages::forward::{begin_answer, cases, passing, settle_answer};
use crate::proxy::stages::guard::SessionPermits;
use crate::proxy::streams::body::Outgoing;
use crate::proxy::streams::pool;
use crate::proxy::streams::stream::BackendStream;

/// A session whose 101 is on its way to the client; it begins when that has left.
pub(crate) struct Pending {
    pub(crate) facts: Facts,
    pub(crate) backend: BackendSeat,
    /// The affinity key.
    pub(crate) key: Option<Box<[u8]>>,
    pub(crate) carrier: Carrier,
    /// Set where the session may go on with another backend.
    pub(crate) resumption: Option<Rc<Resumption>>,
    /// All of it but what the client sent early, which only its connection knows.
    pub(crate) setup: Setup,
    /// What it takes up of what is limited.
    pub(crate) permits: SessionPermits,
    /// The record of its request, should the 101 not leave.
    pub(crate) report: Report,
}

/// A backend's answer, and the stream where that was a switch of protocols.
pub(crate) struct Shaken {
    pub(crate) response: Response<Incoming>,
    pub(crate) stream: Option<(Carrier, Bytes)>,
}

/// Forwards an upgrade. A 101 leaves the session pending at the client's connection; any other
/// answer is passed on as the ordinary response that it is.
pub(crate) async fn upgrade(
    exchange: &Exchange,
    plan: Plan,
    head: Parts,
    offer: &Upgrade,
) -> Result<Reply, Refusal> {
    let (seat, shaken, asked) = ask(exchange, &plan, head).await?;
    let (mut answer, body) = shaken.response.into_parts();
    let verdict = handshake::verify_answer(offer, answer.version, answer.status, &answer.headers);
    let granted = match verdict {
        Ok(Answer::Granted(granted)) => granted,
        Ok(Answer::Declined) => {
            settle_answer(exchange, &mut answer)
                .inspect_err(|_| seat.report(Outcome::HandshakeRefused, plan.witness()))?;
            let failed = answer.status.is_server_error();
            let outcome = match failed {
                true => Outcome::HandshakeRefused,
                false => Outcome::Ok,
            };
            seat.report(outcome, plan.witness());
            return Ok(decline(exchange, &plan, &seat, answer, body));
        }
        Err(fault) => {
            seat.report(Outcome::HandshakeRefused, plan.witness());
            return Err(Refusal::InvalidAnswer(fault));
        }
    };
    if exchange.connection.worker.live().phase() == Phase::Stopping {
        return Err(Refusal::Stopping);
    }
    let (carrier, early) = shaken.stream.expect("a 101 ends HTTP on its connection");
    let mut fields = answer.headers;
    headers::strip_hop_by_hop(&mut fields);
    // A 101 has no body, whatever the backend says (RFC 9110, section 8.6).
    fields.remove(header::CONTENT_LENGTH);
    handshake::set_upgrade(&mut fields);
    if let (None, Some(name)) = (&granted.subprotocol, &plan.subprotocol) {
        fields.insert(header::SEC_WEBSOCKET_PROTOCOL, name.clone());
    }
    add_cookie(&mut fields, &plan);
    let resumption = resumption(exchange, &plan, &granted, &asked);
    if resumption.is_some() {
        extension::forbid_client_context(&mut fields);
    }
    let mut setup = setup(&plan, &granted, early, exchange.connection.worker.tick());
    setup.hold = resumption
        .as_ref()
        .map(|resumption| resumption.buffer_bytes());
    setup.throttle = exchange.throttle(&plan);
    let mut report = exchange.report_of(&plan, &seat);
    report.stage = Stage::Unanswered;
    exchange.connection.grant(Pending {
        report,
        facts: facts(exchange, &plan, &seat, &granted),
        setup,
        resumption,
        backend: seat,
        key: plan.key.map(Vec::into_boxed_slice),
        carrier,
        permits: plan.permits.session,
    });
    let mut response = Response::new(Outgoing::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = fields;
    *response.extensions_mut() = cases(answer.extensions);
    Ok(response)
}

/// Asks one candidate after the other until one answers. One that keeps silent is given up for the
/// next where the route has `timeouts.attempt`: it may have acted on the request, and only the
/// route can allow for that.
async fn ask(
    exchange: &Exchange,
    plan: &Plan,
    head: Parts,
) -> Result<(BackendSeat, Shaken, HeaderMap), Refusal> {
    let until = Instant::from_std(exchange.arrived) + plan.route.config.timeouts.handshake;
    let tls = exchange.backend_tls(plan)?;
    let road = exchange.road(until, tls.as_ref());
    let mut candidates = Candidates::new(&exchange.connection.worker, plan, true, until);
    let names = cases(head.extensions);
    let mut fields = exchange.backend_headers(plan, head.headers, true);
    handshake::set_upgrade(&mut fields);
    let attempt = plan.route.config.timeouts.attempt;
    // Why the one before did not answer.
    let mut missed = None;
    loop {
        let (seat, carrier) = match candidates.reach(&road).await {
            Ok(reached) => reached,
            Err(refusal) => return Err(missed.unwrap_or(refusal)),
        };
        let request = request(&plan.target, fields.clone(), names.clone())?;
        let worker = &exchange.connection.worker;
        let limits = &plan.upstream.config.response_limits;
        let stream = BackendStream::new(carrier, worker);
        let pulse = stream.pulse();
        let attempt = attempt.filter(|_| candidates.has_next());
        let patience = attempt.map_or(until, |attempt| until.min(Instant::now() + attempt));
        match timeout_at(patience, shake_hands(stream, limits, request)).await {
            Ok(Ok(shaken)) => return Ok((seat, shaken, fields)),
            Ok(Err(error)) => {
                seat.report(Outcome::HandshakeRefused, plan.witness());
                if pulse.received() > 0 || !has_vanished(&error) {
                    return Err(Refusal::of_backend(error));
                }
                missed = Some(Refusal::BackendBroke(error));
            }
            Err(_) => {
                seat.report(Outcome::HandshakeTimedOut, plan.witness());
                if patience >= until {
                    return Err(Refusal::TimedOut);
                }
                missed = Some(Refusal::TimedOut);
            }
        }
    }
}

/// Whether the backend ended the connection, as a dying process does to those in its backlog. If
/// no byte of an answer came, the handshake may go to the next candidate: it is a GET, by which a
/// client asks for no effect (RFC 9110, section 9.2.1), and what was not answered granted nothing.
fn has_vanished(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_canceled() || io.is_some()
}

/// The upgrade as a backend gets it; `names` is how its fields are written.
pub(crate) fn request(
    target: &str,
    fields: HeaderMap,
    names: http::Extensions,
) -> Result<Request<Outgoing>, Refusal> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .body(Outgoing::Empty);
    let mut request = request.map_err(|_| Refusal::BadTarget("the rewritten target is no path"))?;
    *request.headers_mut() = fields;
    *request.extensions_mut() = names;
    Ok(request)
}

/// Sends the upgrade and waits for the answer's head.
pub(crate) async fn shake_hands(
    stream: BackendStream,
    limits: &HeadLimits,
    request: Request<Outgoing>,
) -> hyper::Result<Shaken> {
    let hyper = pool::builder(limits).handshake(TokioIo::new(stream));
    let (mut sender, mut connection) = hyper.await?;
    let (response, over) = {
        let answer = pin!(sender.send_request(request));
        let drive = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
        match select(answer, drive).await {
            Either::Left((response, _)) => (response?, false),
            Either::Right((driven, answer)) => {
                let response = answer.await;
                // The exchange's own error says more than the connection's.
                if response.is_err() {
                    driven?;
                }
                (response?, true)
            }
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if !over {
            tokio::task::spawn_local(async move {
                // What goes wrong is told to whoever reads the body.
                let _ = connection.await;
            });
        }
        return Ok(Shaken {
            response,
            stream: None,
        });
    }
    if !over {
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await?;
    }
    let parts = connection.into_parts();
    Ok(Shaken {
        response,
        stream: Some((parts.io.into_inner().carrier, parts.read_buf)),
    })
}

/// An answer that is no 101: an ordinary response.
fn decline(
    exchange: &Exchange,
    plan: &Plan,
    seat: &BackendSeat,
    mut answer: http::response::Parts,
    body: Incoming,
) -> Reply {
    headers::strip_hop_by_hop(&mut answer.headers);
    answer.version = Version::HTTP_11;
    answer.extensions = cases(answer.extensions);
    add_cookie(&mut answer.headers, plan);
    let mut passing = passing(exchange, plan, seat, answer.status, None);
    passing.report.refusal = Some("declined");
    exchange
        .connection
        .worker
        .route_metrics(&plan.route.config.name, &plan.upstream.config.name)
        .refused("declined");
    begin_answer(exchange, plan, &body, None);
    Response::from_parts(answer, Outgoing::streamed(body, passing))
}

/// The affinity cookie of a client that had none.
pub(crate) fn add_cookie(fields: &mut HeaderMap, plan: &Plan) {
    if let Some(cookie) = &plan.set_cookie {
        fields.append(header::SET_COOKIE, cookie.clone());
    }
}

fn facts(exchange: &Exchange, plan: &Plan, seat: &BackendSeat, granted: &Granted) -> Facts {
    Facts {
        id: exchange.id,
        listener: exchange.connection.listener().config.name.clone(),
        route: plan.route.config.name.clone(),
        upstream: plan.upstream.config.name.clone(),
        backend: seat.id.clone(),
        principal: plan
            .principal
            .as_ref()
            .map(|principal| Arc::clone(&principal.subject)),
        right: right(plan).map(Arc::new),
        client: exchange.client_text(),
        host: exchange.host.as_str().into(),
        target: exchange.target(),
        request_id: exchange.request_id.clone(),
        subprotocol: granted.subprotocol.as_deref().map(Into::into),
        started: exchange.started,
        handshake: exchange.elapsed(),
        order: None,
    }
}

/// What the session keeps of who it is from.
fn right(plan: &Plan) -> Option<Right> {
    let leeway = plan.route.config.auth.expiry_leeway;
    plan.principal
        .as_ref()
        .map(|principal| principal.right(leeway))
}

fn setup(plan: &Plan, granted: &Granted, early: Bytes, now: u32) -> Setup {
    let extensions = extensions(granted);
    let limits = &plan.route.config.limits;
    let timeouts = &plan.route.config.timeouts;
    let auth = &plan.route.config.auth;
    Setup {
        client_rules: Rules {
            frame_bytes: limits.frame_bytes,
            message_bytes: limits.message_bytes,
            extensions,
        },
        backend_rules: Rules {
            frame_bytes: u64::MAX,
            message_bytes: u64::MAX,
            extensions,
        },
        client_early: Vec::new(),
        backend_early: early.to_vec(),
        times: Times {
            idle: timeouts.idle.map(ticks),
            lifetime_at: timeouts
                .lifetime
                .map(|lifetime| now.saturating_add(ticks(lifetime))),
            expires_at: right(plan)
                .and_then(|right| right.left(clock::wall()))
                .map(|left| now.saturating_add(ticks(left))),
            close: ticks(timeouts.close),
        },
        backend_lost_code: plan.route.config.backend_lost_code,
        hold: None,
        throttle: None,
        warning: auth.warning.as_ref().map(|warning| {
            Box::new(Warning {
                before: ticks(warning.before),
                message: Arc::clone(&warning.message),
                tick: u32::try_from(TICK.as_millis()).unwrap_or(u32::MAX),
                said: false,
            })
        }),
        in_band: (auth.renewal.as_ref())
            .map(|renewal| InBandMatcher::new(&renewal.prefix, renewal.bytes_max)),
        keepalive: plan.route.config.keepalive.map(|keepalive| Keepalive {
            interval: ticks(keepalive.interval),
            timeout: ticks(keepalive.timeout),
            to_client: keepalive.to_client,
            to_backend: keepalive.to_backend,
        }),
    }
}

/// What another backend will be asked with, where the route wants that and the terms allow it: of
/// an extension that is not known here nobody can say what state it leaves with a backend.
fn resumption(
    exchange: &Exchange,
    plan: &Plan,
    granted: &Granted,
    asked: &HeaderMap,
) -> Option<Rc<Resumption>> {
    let bounds = plan.route.config.reconnect?;
    (extensions(granted) != Extensions::Unknown).then(|| {
        let ends = exchange.ends();
        let answer = &granted.extensions;
        Rc::new(Resumption::new(&plan.target, asked, ends, answer, bounds))
    })
}

/// Which reserved bits may be set from now on.
fn extensions(granted: &Granted) -> Extensions {
    let lines = granted
        .extensions
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).map(str::trim);
    match (
        granted.extensions.is_empty(),
        names.all(|name| name.starts_with("permessage-deflate")),
    ) {
        (true, _) => Extensions::None,
        (false, true) => Extensions::Deflate,
        (false, false) => Extensions::Unknown,
    }
}
