//! Another backend for a session that lost its own, or has to leave it: the handshake is made
//! again, as the client made it, with whoever the session's key is placed on now.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::base::backoff::Backoff;
use crate::base::names::BackendId;
use crate::config::snapshot::Reconnect;
use crate::core::health::{Outcome, Witness};
use crate::core::routing::Upstream;
use crate::core::session::record::Facts;
use crate::core::session::resume::ResumeReason;
use crate::core::wire::extension;
use crate::core::wire::frame::close_frame;
use crate::core::wire::handshake::{self, Answer, Kind};
use crate::io::carrier::Carrier;
use crate::live::Generation;
use crate::proxy::backend::candidates::{BackendSeat, Candidates, Ends, Road};
use crate::proxy::context::worker::Worker;
use crate::proxy::stages::upgrade::{Shaken, request, shake_hands};
use crate::proxy::streams::stream::BackendStream;

/// What the next backend is told beside the session's id.
static SESSILE_RESUME: HeaderName = HeaderName::from_static("sessile-resume");

/// Waits between rounds over the candidates.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_LAST: Duration = Duration::from_secs(1);
/// Part of the whole time that one candidate has for its answer.
const ANSWER_SHARE: u32 = 4;

/// What a handshake needs to be made again. Only sessions of routes that ask for it keep this.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resumption {
    /// Path and query, as the first backend saw them.
    target: Box<str>,
    /// Fields as the first backend saw them, a line each: a map would be several times as big.
    #[serde(with = "crate::base::blob")]
    head: Vec<u8>,
    ends: Ends,
    /// What the client was told of extensions.
    terms: Box<str>,
    bounds: Reconnect,
}

/// A backend that granted the session.
pub(crate) struct Reached {
    pub(crate) seat: BackendSeat,
    pub(crate) carrier: Carrier,
    pub(crate) early: Vec<u8>,
}

/// Why no backend took over.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotResumed {
    /// The time or the attempts are used up.
    #[error("no backend took over in time")]
    Exhausted,
    /// One would, on other terms than the client was told, or has something against the client.
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

impl Resumption {
    pub(crate) fn new(
        target: &str,
        fields: &HeaderMap,
        ends: Ends,
        answer: &[HeaderValue],
        bounds: Reconnect,
    ) -> Self {
        let mut head = Vec::new();
        for (name, value) in fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.push(b':');
            head.extend_from_slice(value.as_bytes());
            head.push(b'\n');
        }
        head.shrink_to_fit();
        Self {
            target: target.into(),
            head,
            ends,
            terms: extension::terms(answer).into(),
            bounds,
        }
    }

    /// Bytes that are held for the next backend at most.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.bounds.buffer_bytes
    }

    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in self.head.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(&line[colon + 1..]);
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.append(name, value);
            }
        }
        fields
    }
}

impl Resume {
    /// Asks whoever may take the session, in the order of its key, until one does.
    pub(crate) async fn run(self, worker: Rc<Worker>) -> Result<Reached, NotResumed> {
        let bounds = self.resumption.bounds;
        let until = Instant::now() + bounds.timeout;
        let mut fields = self.resumption.fields();
        let said = format!("{}; reason={}", self.number, self.reason.as_str());
        fields.insert(
            SESSILE_RESUME.clone(),
            HeaderValue::try_from(said).expect("a number and a word"),
        );
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
        let mut left = bounds.attempts.saturating_sub(self.quick);
        let mut wait = Duration::ZERO;
        for _ in 0..self.quick.min(bounds.attempts) {
            wait = backoff.next(fastrand::f64());
        }
        // Who said that it goes is asked last; a lost one may be back, with its other sessions.
        let mut shunned =
            (self.reason == ResumeReason::BackendGoingAway).then(|| self.facts.backend.clone());
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
                if let Some(reached) = round.ask_all(shunned.take(), &mut left).await? {
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
        shunned: Option<BackendId>,
        left: &mut u32,
    ) -> Result<Option<Reached>, NotResumed> {
        let name = &self.upstream.config.name;
        let tls = self.generation.backend_tls.of(name);
        if tls.is_none() && self.upstream.config.tls.is_some() {
            return Ok(None);
        }
        let road = Road {
            ends: self.resume.resumption.ends,
            tls: tls.as_ref(),
            until: self.until,
        };
        let (key, route) = (self.resume.key.as_deref(), &self.resume.facts.route);
        let mut candidates =
            Candidates::of(self.worker, self.upstream, key, route, true, self.until);
        candidates.ask_for(self.witness());
        let table = &self.generation.table;
        let sticks = table.route(route).is_some_and(|route| route.config.stick);
        candidates.stick(sticks);
        if let Some(shunned) = shunned {
            candidates.pass_over(&shunned);
        }
        while *left > 0
            && let Some((member, seat)) = candidates.next()
        {
            *left -= 1;
            let carrier = match candidates.connect(member, &road).await {
                Ok(carrier) => carrier,
                Err(error) => {
                    candidates.not_reached(&seat, error);
                    continue;
                }
            };
            let request = request(
                &self.resume.resumption.target,
                self.fields.clone(),
                http::Extensions::new(),
            );
            let request = request.map_err(|refusal| NotResumed::Unfit(refusal.to_string()))?;
            let share = self.resume.resumption.bounds.timeout / ANSWER_SHARE;
            let patience = (Instant::now() + share).min(self.until);
            let stream = BackendStream::new(carrier, self.worker);
            let limits = &self.upstream.config.response_limits;
            match timeout_at(patience, shake_hands(stream, limits, request)).await {
                Ok(Ok(shaken)) => {
                    if let Some(reached) = self.judge(seat, shaken).await? {
                        return Ok(Some(reached));
                    }
                }
                Ok(Err(_)) => seat.report(Outcome::HandshakeRefused, self.witness()),
                Err(_) => seat.report(Outcome::HandshakeTimedOut, self.witness()),
            }
        }
        Ok(None)
    }

    fn witness(&self) -> Witness {
        let facts = &self.resume.facts;
        Witness::of_record(&facts.client, facts.principal.as_deref())
    }

    /// Whether an answer grants the session on the terms that its client knows.
    async fn judge(
        &self,
        seat: BackendSeat,
        shaken: Shaken,
    ) -> Result<Option<Reached>, NotResumed> {
        let (answer, _) = shaken.response.into_parts();
        let Kind::WebSocket(offer) =
            handshake::classify(&Method::GET, Version::HTTP_11, self.fields)
        else {
            return Err(NotResumed::Unfit(
                "the handshake cannot be made again".to_owned(),
            ));
        };
        let granted = match handshake::verify_answer(
            &offer,
            answer.version,
            answer.status,
            &answer.headers,
        ) {
            Ok(Answer::Granted(granted)) => granted,
            Ok(Answer::Declined) if is_about_the_client(answer.status) => {
                let status = answer.status.as_u16();
                return Err(NotResumed::Unfit(format!(
                    "the next backend answered {status}"
                )));
            }
            Ok(Answer::Declined) | Err(_) => {
                seat.report(Outcome::HandshakeRefused, self.witness());
                return Ok(None);
            }
        };
        let (mut carrier, early) = shaken.stream.expect("a 101 ends HTTP on its connection");
        let facts = &self.resume.facts;
        let unfit = if granted.subprotocol.as_deref() != facts.subprotocol.as_deref() {
            "the next backend chose another subprotocol"
        } else if extension::terms(&granted.extensions) != *self.resume.resumption.terms {
            "the next backend chose other extensions"
        } else {
            let early = early.to_vec();
            return Ok(Some(Reached {
                seat,
                carrier,
                early,
            }));
        };
        let mask: [u8; 4] = fastrand::u32(..).to_be_bytes();
        let frame = close_frame(1010, "not the terms of this session", Some(mask));
        // Best effort: it learns why, if it takes it.
        let _ = timeout_at(self.until, carrier.write_all(&frame)).await;
        Err(NotResumed::Unfit(unfit.to_owned()))
    }
}

/// Whether another backend would say the same: everything but the server's own trouble.
fn is_about_the_client(status: StatusCode) -> bool {
    let own_trouble = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !own_trouble.contains(&status)
}
