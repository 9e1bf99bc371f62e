//! The stage "connect" of a WebSocket, in two steps. `obtain` finds a backend that grants the
//! session with a valid 101 (I9); `grant` makes the session and the client's 101 of that.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::core::health::Outcome;
use crate::core::http::forwarded::SESSILE_SESSION;
use crate::core::http::headers;
use crate::core::messages::index::Membership;
use crate::core::routing::groups::take_groups_of_answer;
use crate::core::session::details::Placement;
use crate::core::wire::extension;
use crate::core::wire::handshake::{self, Answer as Verdict, Granted, Upgrade};
use crate::io::carrier::Carrier;
use crate::io::tls::client::ClientTls;
use crate::live::Phase;
use crate::proxy::backend::candidates::Candidates;
use crate::proxy::backend::dial::DialPlan;
use crate::proxy::backend::handshake::{
    HandshakeAnswer, has_vanished, shake_hands, upgrade_request,
};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::record::AnswerState;
use crate::proxy::session::begin::GrantedSession;
use crate::proxy::stages::answer::{AfterSwitch, Answer};
use crate::proxy::stages::backend_headers::backend_headers;
use crate::proxy::stages::pass_on::{add_cookie, cases, report, settle_framing};
use crate::proxy::stages::session_setup::{details, facts, resumption, setup};
use crate::proxy::streams::backend::BackendStream;
use crate::proxy::streams::body::Outgoing;

/// What a backend answered.
pub(crate) enum Obtained {
    /// A valid 101.
    End(BackendEnd),
    /// An ordinary response instead.
    Declined(BackendLease, (response::Parts, Incoming)),
}

/// The backend's end of a session that it has granted.
pub(crate) struct BackendEnd {
    lease: BackendLease,
    /// How it was chosen.
    placement: Box<Placement>,
    granted: Granted,
    /// The head of its 101.
    answer: response::Parts,
    /// The fields that it was asked with.
    asked: HeaderMap,
    carrier: Carrier,
    /// What came after the 101.
    early: Bytes,
}

/// Forwards the upgrade to the candidates until one answers.
///
/// # Errors
/// When none does, or the answer is not valid.
pub(crate) async fn obtain(
    placed: &Placed<'_>,
    head: Parts,
    offer: &Upgrade,
) -> Result<Obtained, Refusal> {
    let Asked {
        lease,
        placement,
        shaken,
        fields: asked,
    } = ask(placed, head).await?;
    let (mut answer, body) = shaken.response.into_parts();
    let verdict = handshake::verify_answer(offer, answer.version, answer.status, &answer.headers);
    let granted = match verdict {
        Ok(Verdict::Granted(granted)) => granted,
        Ok(Verdict::Declined) => {
            settle_framing(placed.received, &mut answer)
                .inspect_err(|_| lease.report(Outcome::HandshakeRefused, placed.witness()))?;
            let outcome = match answer.status.is_server_error() {
                true => Outcome::HandshakeRefused,
                false => Outcome::Ok,
            };
            lease.report(outcome, placed.witness());
            return Ok(Obtained::Declined(lease, (answer, body)));
        }
        Err(fault) => {
            lease.report(Outcome::HandshakeRefused, placed.witness());
            return Err(Refusal::InvalidAnswer(fault));
        }
    };
    if placed.received.connection.worker.live().phase() == Phase::Stopping {
        return Err(Refusal::Stopping);
    }
    let (carrier, early) = shaken.stream.expect("a 101 ends HTTP on its connection");
    Ok(Obtained::End(BackendEnd {
        lease,
        placement,
        granted,
        answer,
        asked,
        carrier,
        early,
    }))
}

/// Grants the session: the client's 101, and the session that begins when that has left.
pub(crate) fn grant(placed: Placed<'_>, end: BackendEnd) -> Answer {
    let BackendEnd {
        lease,
        placement,
        granted,
        answer,
        asked,
        carrier,
        early,
    } = end;
    let resumption = resumption(&placed, &granted, &asked);
    let mut fields = answer.headers;
    headers::strip_hop_by_hop(&mut fields);
    let mut groups = placed.groups.clone();
    groups.extend(take_groups_of_answer(&mut fields));
    let memberships = Membership::all(groups, placed.metadata.as_ref());
    // A 101 has no body, whatever the backend sends (RFC 9110, section 8.6).
    fields.remove(header::CONTENT_LENGTH);
    handshake::set_upgrade(&mut fields);
    // An id that the user can quote; a gateway behind this one may have set its own.
    let id = HeaderValue::from_bytes(&placed.received.id.encode());
    fields.insert(
        &SESSILE_SESSION,
        id.expect("its letters may stand in a header"),
    );
    if let (None, Some(name)) = (&granted.subprotocol, &placed.subprotocol) {
        fields.insert(header::SEC_WEBSOCKET_PROTOCOL, name.clone());
    }
    add_cookie(&mut fields, &placed);
    if resumption.is_some() {
        extension::forbid_client_context(&mut fields);
    }
    note_not_subscribed(&placed);
    let setup = setup(&placed, &granted, resumption.as_deref(), &early);
    let details = details(&placed, *placement, &fields);
    let facts = facts(&placed, &lease, &granted, details);
    let mut report = report(&placed, &lease);
    report.state = AnswerState::Unanswered;
    let granted = GrantedSession {
        facts,
        backend: lease,
        key: placed.key.map(Vec::into_boxed_slice),
        carrier,
        resumption,
        memberships,
        since: placed.since,
        events: None,
        subscriptions: placed.subscriptions,
        setup,
        permits: placed.permits.session,
    };
    let mut response = Response::new(Outgoing::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = fields;
    *response.extensions_mut() = cases(answer.extensions);
    Answer {
        response,
        then: Some(AfterSwitch::Session(Box::new((granted, report)))),
    }
}

/// Counts names at the broker that the session's values do not make.
pub(crate) fn note_not_subscribed(placed: &Placed<'_>) {
    if placed.not_subscribed.is_empty() {
        return;
    }
    let worker = &placed.received.connection.worker;
    let names = (&placed.route.config.name, &placed.upstream.config.name);
    let metrics = worker.route_metrics(names.0, names.1);
    for fault in &placed.not_subscribed {
        metrics.subscription_refused(fault.reason());
        tracing::debug!(id = %placed.received.id, route = %names.0, %fault, "not subscribed");
    }
}

/// TLS to the request's backends, if they speak it: never plain where the upstream asks for TLS.
pub(crate) fn backend_tls(placed: &Placed<'_>) -> Result<Option<ClientTls>, Refusal> {
    let upstream = &placed.upstream.config;
    if upstream.tls.is_none() {
        return Ok(None);
    }
    let tls = placed.received.generation.backend_tls.of(&upstream.name);
    let gone = || Refusal::NoBackend(upstream.name.to_string());
    tls.map(Some).ok_or_else(gone)
}

/// The answer of the candidate that gave one.
struct Asked {
    lease: BackendLease,
    placement: Box<Placement>,
    shaken: HandshakeAnswer,
    /// The fields of the request.
    fields: HeaderMap,
}

/// Asks one candidate after the other until one answers. With `timeouts.attempt`, a silent
/// candidate is given up for the next one: it may have acted on the request, and only the route can
/// allow that.
async fn ask(placed: &Placed<'_>, head: Parts) -> Result<Asked, Refusal> {
    let received = placed.received;
    let worker = &received.connection.worker;
    let timeouts = &placed.route.config.timeouts;
    let until = Instant::from_std(received.arrived) + timeouts.handshake;
    let tls = backend_tls(placed)?;
    let plan = DialPlan {
        addresses: received.connection.addresses,
        tls: tls.as_ref(),
        until,
    };
    let mut candidates = Candidates::new(worker, placed.wanted(true, until));
    candidates.consult_fleet().await;
    let names = cases(head.extensions);
    let mut fields = backend_headers(placed, head.headers, true);
    handshake::set_upgrade(&mut fields);
    // Why the one before did not answer.
    let mut missed = None;
    loop {
        let step = received.step("connect");
        let reached = candidates.reach(&plan).await;
        drop(step);
        let (lease, carrier) = match reached {
            Ok(reached) => reached,
            Err(exhausted) => return Err(missed.unwrap_or_else(|| exhausted.into())),
        };
        let request = upgrade_request(&placed.target, fields.clone(), names.clone());
        let request = request.map_err(Refusal::of_rewrite)?;
        let limits = &placed.upstream.config.response_limits;
        let stream = BackendStream::new(carrier, &worker.clock);
        let activity = stream.activity();
        let attempt = timeouts.attempt.filter(|_| candidates.has_next());
        let patience = attempt.map_or(until, |attempt| until.min(Instant::now() + attempt));
        let step = received.step("upgrade");
        let shaking = Box::pin(shake_hands(stream, limits, request));
        let shaken = timeout_at(patience, shaking).await;
        drop(step);
        match shaken {
            Ok(Ok(shaken)) => {
                return Ok(Asked {
                    lease,
                    placement: Box::new(candidates.take_placement()),
                    shaken,
                    fields,
                });
            }
            Ok(Err(error)) => {
                lease.report(Outcome::HandshakeRefused, placed.witness());
                if activity.received() > 0 || !has_vanished(&error) {
                    return Err(Refusal::of_backend(error));
                }
                candidates.note_miss(&lease, "broke_off");
                missed = Some(Refusal::BackendBroke(error));
            }
            Err(_) => {
                lease.report(Outcome::HandshakeTimedOut, placed.witness());
                if patience >= until {
                    return Err(Refusal::TimedOut);
                }
                candidates.note_miss(&lease, "no_answer");
                missed = Some(Refusal::TimedOut);
            }
        }
    }
}

#[cfg(test)]
mod tests;
