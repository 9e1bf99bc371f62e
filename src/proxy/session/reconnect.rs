//! Another backend for a session that lost its own, or has to leave it: the client's handshake is
//! repeated with the backend that the session's key belongs to now.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::base::backoff::Backoff;
use crate::base::names::BackendId;
use crate::core::health::{Outcome, Witness};
use crate::core::routing::Upstream;
use crate::core::session::record::Facts;
use crate::core::session::resume::ResumeReason;
use crate::core::wire::extension;
use crate::core::wire::frame::close_frame;
use crate::core::wire::handshake::{self, Answer, Kind};
use crate::io::carrier::Carrier;
use crate::live::Generation;
use crate::proxy::backend::candidates::{Candidates, Stickiness, Wanted};
use crate::proxy::backend::dial::DialPlan;
use crate::proxy::backend::handshake::{HandshakeAnswer, shake_hands, upgrade_request};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::backend::sticking::StickRule;
use crate::proxy::context::worker::Worker;
use crate::proxy::session::resumption::Resumption;
use crate::proxy::streams::backend::BackendStream;

/// Sent to the next backend beside the session's id.
static SESSILE_RESUME: HeaderName = HeaderName::from_static("sessile-resume");

/// Waits between rounds over the candidates.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_LAST: Duration = Duration::from_secs(1);
/// Part of the whole time that one candidate has for its answer.
const ANSWER_SHARE: u32 = 4;

/// A backend that granted the session.
pub(crate) struct Reached {
    pub(crate) lease: BackendLease,
    /// Why the session needed another backend.
    pub(crate) reason: ResumeReason,
    pub(crate) carrier: Carrier,
    pub(crate) early: Vec<u8>,
}

/// Why no backend took over.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotResumed {
    /// The time or the attempts are used up.
    #[error("no backend took over in time")]
    Exhausted,
    /// One answered, with other terms than the client has, or with a refusal of the client.
    #[error("{0}")]
    Unfit(String),
}

/// What is resumed.
pub(crate) struct Resume {
    pub(crate) facts: Arc<Facts>,
    pub(crate) key: Option<Box<[u8]>>,
    pub(crate) resumption: Rc<Resumption>,
    /// How often before, and this time.
    pub(crate) number: u32,
    pub(crate) reason: ResumeReason,
    /// Backends in a row that took the session and lost it at once; each counts as an attempt.
    pub(crate) quick: u32,
}

impl Resume {
    /// Asks the eligible backends, in the order of its key, until one takes the session.
    pub(crate) async fn run(self, worker: Rc<Worker>) -> Result<Reached, NotResumed> {
        let bounds = self.resumption.bounds;
        let until = Instant::now() + bounds.timeout;
        let mut fields = self.resumption.fields();
        let value = format!("{}; reason={}", self.number, self.reason.as_str());
        fields.insert(
            SESSILE_RESUME.clone(),
            HeaderValue::try_from(value).expect("a number and a word"),
        );
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
        let mut left = bounds.attempts.saturating_sub(self.quick);
        let mut wait = Duration::ZERO;
        for _ in 0..self.quick.min(bounds.attempts) {
            wait = backoff.next(fastrand::f64());
        }
        // A backend that announced its end, or that an operator moves the session away from, is
        // asked last. A lost one may be back, with its other
        // sessions.
        let order = self.facts.details.order(self.reason);
        let mut wanted = order.and_then(|order| order.to.clone());
        let goes = match self.reason {
            ResumeReason::BackendGoingAway => true,
            ResumeReason::Moved => wanted.is_none(),
            _ => false,
        };
        let mut shunned = goes.then(|| self.facts.backend.clone());
        loop {
            if left == 0 || Instant::now() + wait >= until {
                return Err(NotResumed::Exhausted);
            }
            sleep(wait).await;
            let generation = worker.live().generation_arc();
            if let Some(upstream) = generation.table.upstream(&self.facts.upstream) {
                let round = Round {
                    resume: &self,
                    worker: &worker,
                    generation: &generation,
                    upstream,
                    fields: &fields,
                    until,
                };
                let tilt = (wanted.take(), shunned.take());
                if let Some(reached) = round.ask_all(tilt, &mut left).await? {
                    return Ok(reached);
                }
            }
            wait = backoff.next(fastrand::f64());
        }
    }
}

/// One walk over the candidates of an upstream.
struct Round<'r> {
    resume: &'r Resume,
    worker: &'r Rc<Worker>,
    /// What is in force when the walk begins.
    generation: &'r Generation,
    upstream: &'r Arc<Upstream>,
    fields: &'r HeaderMap,
    until: Instant,
}

impl Round<'_> {
    async fn ask_all(
        &self,
        (wanted, shunned): (Option<BackendId>, Option<BackendId>),
        left: &mut u32,
    ) -> Result<Option<Reached>, NotResumed> {
        let name = &self.upstream.config.name;
        let tls = self.generation.backend_tls.of(name);
        if tls.is_none() && self.upstream.config.tls.is_some() {
            return Ok(None);
        }
        let plan = DialPlan {
            addresses: self.resume.resumption.addresses,
            tls: tls.as_ref(),
            until: self.until,
        };
        let route = &self.resume.facts.route;
        let table = &self.generation.table;
        let stick = table.route(route);
        let stick = stick.and_then(|route| StickRule::of(&route.config));
        let mut candidates = Candidates::new(
            self.worker,
            Wanted {
                upstream: self.upstream,
                key: self.resume.key.as_deref(),
                route,
                session: true,
                stickiness: match stick {
                    Some(_) => Stickiness::Leads,
                    None => Stickiness::None,
                },
                stick,
                witness: self.witness(),
                until: self.until,
            },
        );
        if let Some(wanted) = wanted {
            candidates.prefer(&wanted);
        }
        if let Some(shunned) = shunned {
            candidates.pass_over(&shunned);
        }
        candidates.consult_fleet().await;
        while *left > 0
            && let Some((member, lease)) = candidates.next()
        {
            *left -= 1;
            let carrier = match candidates.connect(member, &plan).await {
                Ok(carrier) => carrier,
                Err(error) => {
                    candidates.not_reached(&lease, error);
                    continue;
                }
            };
            if let Some(reached) = self.ask_one(lease, carrier).await? {
                return Ok(Some(reached));
            }
        }
        Ok(None)
    }

    /// Repeats the handshake with one backend; `None` if it does not take the session.
    async fn ask_one(
        &self,
        lease: BackendLease,
        carrier: Carrier,
    ) -> Result<Option<Reached>, NotResumed> {
        let resumption = &self.resume.resumption;
        let fields = self.fields.clone();
        let request = upgrade_request(&resumption.target, fields, http::Extensions::new());
        let request = request.map_err(|error| NotResumed::Unfit(error.to_string()))?;
        let share = resumption.bounds.timeout / ANSWER_SHARE;
        let patience = (Instant::now() + share).min(self.until);
        let stream = BackendStream::new(carrier, &self.worker.clock);
        let limits = &self.upstream.config.response_limits;
        match timeout_at(patience, shake_hands(stream, limits, request)).await {
            Ok(Ok(answer)) => return self.accept(lease, answer).await,
            Ok(Err(_)) => lease.report(Outcome::HandshakeRefused, self.witness()),
            Err(_) => lease.report(Outcome::HandshakeTimedOut, self.witness()),
        }
        Ok(None)
    }

    fn witness(&self) -> Witness {
        let facts = &self.resume.facts;
        Witness::of_record(facts.request.client(), facts.principal.as_deref())
    }

    /// Whether an answer grants the session on the terms that its client has.
    async fn accept(
        &self,
        lease: BackendLease,
        answer: HandshakeAnswer,
    ) -> Result<Option<Reached>, NotResumed> {
        let (head, _) = answer.response.into_parts();
        let Kind::WebSocket(offer) =
            handshake::classify(&Method::GET, Version::HTTP_11, self.fields)
        else {
            return Err(NotResumed::Unfit(
                "the handshake cannot be made again".to_owned(),
            ));
        };
        let granted =
            match handshake::verify_answer(&offer, head.version, head.status, &head.headers) {
                Ok(Answer::Granted(granted)) => granted,
                Ok(Answer::Declined) if is_about_the_client(head.status) => {
                    let status = head.status.as_u16();
                    return Err(NotResumed::Unfit(format!(
                        "the next backend answered {status}"
                    )));
                }
                Ok(Answer::Declined) | Err(_) => {
                    lease.report(Outcome::HandshakeRefused, self.witness());
                    return Ok(None);
                }
            };
        let (mut carrier, early) = answer.stream.expect("a 101 ends HTTP on its connection");
        let facts = &self.resume.facts;
        let unfit = if granted.subprotocol.as_deref() != facts.request.subprotocol() {
            "the next backend chose another subprotocol"
        } else if extension::terms(&granted.extensions) != *self.resume.resumption.terms {
            "the next backend chose other extensions"
        } else {
            let early = early.to_vec();
            return Ok(Some(Reached {
                lease,
                reason: self.resume.reason,
                carrier,
                early,
            }));
        };
        let mask: [u8; 4] = fastrand::u32(..).to_be_bytes();
        let frame = close_frame(1010, "not the terms of this session", Some(mask));
        // Best effort: the backend may not read the reason any more.
        let _ = timeout_at(self.until, carrier.write_all(&frame)).await;
        Err(NotResumed::Unfit(unfit.to_owned()))
    }
}

/// Whether another backend would answer the same: everything but a server's own trouble.
fn is_about_the_client(status: StatusCode) -> bool {
    let own_trouble = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !own_trouble.contains(&status)
}

#[cfg(test)]
mod tests;
