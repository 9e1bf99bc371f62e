//! The stage "connect" of an ordinary request on a route with `cache`: answered from memory where
//! that is allowed, otherwise by a backend, whose response is stored on its way (RFC 9111).

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::base::clock;
use crate::config::snapshot::CacheRules;
use crate::core::http::cache_control::Directives;
use crate::core::http::cache_status::{CacheStatus, Forward};
use crate::core::http::freshness::{Reuse, storable};
use crate::live::{Flight, Responses, StoredResponse};
use crate::proxy::refusal::Refusal;
use crate::proxy::request::filling::Filling;
use crate::proxy::request::placed::Placed;
use crate::proxy::stages::answer::Reply;
use crate::proxy::stages::forward::{Arrived, exchange};
use crate::proxy::stages::from_memory::from_memory;
use crate::proxy::streams::body::Outgoing;

/// A request on its way through the cache.
struct Lookup<'p, 'r> {
    placed: &'p Placed<'r>,
    rules: &'p CacheRules,
    uri: String,
    asks: Directives,
    /// As the client sent them.
    fields: HeaderMap,
    method: Method,
}

/// What memory has for a request.
enum Known {
    /// A response that may be used.
    Usable(Arc<StoredResponse>),
    /// The backend has to be asked; there may be a response to ask it again with.
    Ask(Forward, Option<Arc<StoredResponse>>),
}

/// Answers an ordinary request.
///
/// # Errors
/// As [`exchange`], and when the request wants no answer but one from memory.
pub(crate) async fn cached(
    placed: &Placed<'_>,
    rules: &CacheRules,
    head: Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    let lookup = Lookup {
        placed,
        rules,
        uri: uri(placed),
        asks: Directives::of_request(&head.headers),
        fields: head.headers.clone(),
        method: head.method.clone(),
    };
    if let Some(why) = lookup.left_alone(&body) {
        let reply = exchange(placed, head, body).await?.pass_on(placed);
        if !is_safe(&lookup.method) && reply.status().as_u16() < 400 {
            lookup.responses().forget(&lookup.uri);
        }
        return Ok(lookup.forwarded(reply, why, false));
    }
    let (why, known) = match lookup.find(clock::wall()) {
        Known::Usable(stored) => return Ok(lookup.hit(&stored, false, false)),
        Known::Ask(..) if lookup.asks.only_if_cached => return Err(Refusal::NotCached),
        Known::Ask(why, known) => (why, known),
    };
    let flight = match lookup.join_flight(why).await {
        Ok(flight) => flight,
        Err(stored) => return Ok(lookup.hit(&stored, false, true)),
    };
    lookup.ask((why, known), flight, head, body).await
}

impl Lookup<'_, '_> {
    fn responses(&self) -> &Responses {
        &self.placed.received.connection.worker.live().responses
    }

    /// Why the cache has nothing to do with this request, if so.
    fn left_alone(&self, body: &Incoming) -> Option<Forward> {
        if !matches!(self.method, Method::GET | Method::HEAD) {
            return Some(Forward::Method);
        }
        // Conditions that are for the backend, parts, and bodies that may mean something.
        let foreign = [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE];
        let foreign = foreign.iter().any(|name| self.fields.contains_key(name));
        let events = self.placed.route.config.messages.sse.is_some();
        (foreign || events || self.asks.no_store || !body.is_end_stream())
            .then_some(Forward::Bypass)
    }

    fn find(&self, now: SystemTime) -> Known {
        let Some(variants) = self.responses().find(&self.uri) else {
            return Known::Ask(Forward::UriMiss, None);
        };
        let route = &self.placed.route.config.name;
        let mut variants = variants.iter();
        let Some(stored) = variants.find(|one| one.answers(route, &self.fields)) else {
            return Known::Ask(Forward::VaryMiss, None);
        };
        let stored = Arc::clone(stored);
        match stored.freshness.reuse(&self.asks, now) {
            Reuse::Fresh | Reuse::Stale => Known::Usable(stored),
            Reuse::AskStale => Known::Ask(Forward::Stale, Some(stored)),
            Reuse::AskRequested => Known::Ask(Forward::Request, Some(stored)),
        }
    }

    /// Becomes the request that the backend gets, or waits for the one that it has already.
    /// Otherwise many clients that come at once would all ask the backend the same.
    async fn join_flight(&self, why: Forward) -> Result<Option<Flight>, Arc<StoredResponse>> {
        let responses = self.responses();
        let shared = self.method == Method::GET
            && why != Forward::Request
            && !responses.is_unstorable(&self.uri, clock::now());
        if !shared {
            return Ok(None);
        }
        match responses.flights.join(&self.uri) {
            Ok(flight) => Ok(Some(flight)),
            Err(waiter) => {
                waiter
                    .wait(self.placed.route.config.timeouts.response)
                    .await;
                match self.find(clock::wall()) {
                    Known::Usable(stored) => Err(stored),
                    Known::Ask(..) => Ok(None),
                }
            }
        }
    }

    /// Asks the backend, with the validators of what is known.
    async fn ask(
        &self,
        (why, known): (Forward, Option<Arc<StoredResponse>>),
        flight: Option<Flight>,
        mut head: Parts,
        body: Incoming,
    ) -> Result<Reply, Refusal> {
        let known = known.filter(|_| self.method == Method::GET);
        let asks_again = known
            .as_ref()
            .is_some_and(|known| ask_again(&mut head.headers, known));
        let asked = clock::wall();
        let outcome = exchange(self.placed, head, body).await;
        let arrived = match outcome {
            Ok(arrived) => arrived,
            Err(refusal) => return self.helped_out(known.as_ref()).ok_or(refusal),
        };
        let status = arrived.status();
        if status.is_server_error()
            && let Some(reply) = self.helped_out(known.as_ref())
        {
            return Ok(reply);
        }
        if let (StatusCode::NOT_MODIFIED, true, Some(known)) = (status, asks_again, &known) {
            let confirmed = known.confirmed(arrived.fields(), asked, clock::wall());
            arrived.finish();
            self.responses().store(&self.uri, confirmed.clone());
            return Ok(self.confirmed(&confirmed, why));
        }
        Ok(self.keep(arrived, why, (asked, flight)))
    }

    /// Passes a backend's response on, and stores it on its way if it may be.
    fn keep(
        &self,
        arrived: Arrived,
        why: Forward,
        (asked, flight): (SystemTime, Option<Flight>),
    ) -> Reply {
        let placed = self.placed;
        let may = self.method == Method::GET && self.may_be_stored(&arrived);
        if !may && self.method == Method::GET {
            self.responses().not_stored(&self.uri, clock::now());
        }
        let filling = may.then(|| Filling {
            live: placed.received.connection.worker.shared.live.clone(),
            uri: self.uri.clone(),
            route: placed.route.config.name.clone(),
            request: self.fields.clone(),
            head: (arrived.status(), arrived.fields().clone()),
            times: (asked, clock::wall()),
            body: Vec::new(),
            most: self.rules.object_bytes,
            _flight: flight,
        });
        let stored = filling.is_some();
        let mut reply = arrived.pass_on(placed);
        if let Some(filling) = filling {
            match reply.body_mut() {
                Outgoing::Streamed(body) => body.watch().filling = Some(Box::new(filling)),
                _ => filling.finish(),
            }
        }
        self.forwarded(reply, why, stored)
    }

    fn may_be_stored(&self, arrived: &Arrived) -> bool {
        let placed = self.placed;
        let fields = arrived.fields();
        let authorized =
            placed.principal.is_some() || self.fields.contains_key(http::header::AUTHORIZATION);
        let length = arrived.length();
        let fits = length.is_none_or(|length| length <= self.rules.object_bytes as u64);
        fits && storable(&self.asks, authorized, arrived.status(), fields).is_ok()
            && !self.varies_by_own(fields)
    }

    /// Whether a response depends on fields that the gateway itself sends to backends. What a
    /// client sends under these names is another thing.
    fn varies_by_own(&self, fields: &HeaderMap) -> bool {
        let placed = self.placed;
        let table = &placed.received.generation.table;
        let edits = &placed.route.config.request_headers;
        let edited = |name: &http::HeaderName| {
            let (set, add) = (edits.set.iter(), edits.add.iter());
            set.chain(add).any(|(known, _)| known == name) || edits.remove.contains(name)
        };
        let own = |name: &http::HeaderName| {
            let text = name.as_str();
            text.starts_with("sessile-")
                || text.starts_with("x-forwarded-")
                || matches!(
                    text,
                    "forwarded" | "host" | "x-real-ip" | "x-request-id" | "traceparent"
                )
                || table.header_names().contains(text)
                || edited(name)
        };
        let selector = crate::core::http::vary::Selector::of(fields, &self.fields);
        selector.is_none_or(|selector| selector.names().any(own))
    }

    /// What is stale and may be used since the backend fails.
    fn helped_out(&self, known: Option<&Arc<StoredResponse>>) -> Option<Reply> {
        let known = known?;
        let helps = known.freshness.helps_out(clock::wall());
        helps.then(|| self.hit(known, true, false))
    }

    fn hit(&self, stored: &StoredResponse, failing: bool, collapsed: bool) -> Reply {
        let ttl = stored.freshness.ttl(clock::wall());
        let status = CacheStatus::Hit {
            ttl,
            failing,
            collapsed,
        };
        self.noted(
            from_memory(self.placed, stored, &self.method, &self.fields),
            status,
        )
    }

    fn confirmed(&self, stored: &StoredResponse, why: Forward) -> Reply {
        let status = CacheStatus::Forwarded {
            why,
            status: Some(304),
            stored: true,
        };
        self.noted(
            from_memory(self.placed, stored, &self.method, &self.fields),
            status,
        )
    }

    fn forwarded(&self, reply: Reply, why: Forward, stored: bool) -> Reply {
        self.noted(
            reply,
            CacheStatus::Forwarded {
                why,
                status: None,
                stored,
            },
        )
    }

    fn noted(&self, mut reply: Reply, status: CacheStatus) -> Reply {
        status.add_to(reply.headers_mut());
        let placed = self.placed;
        let (route, upstream) = (&placed.route.config.name, &placed.upstream.config.name);
        let worker = &placed.received.connection.worker;
        worker
            .route_metrics(route, upstream)
            .cached(status.result());
        reply
    }
}

/// What responses are stored by: the URI that the backend gets. Its scheme and host are the
/// client's, which backends get in `X-Forwarded-*`.
fn uri(placed: &Placed<'_>) -> String {
    let received = placed.received;
    format!(
        "{}://{}{}",
        received.client.scheme(),
        received.host,
        placed.target
    )
}

/// RFC 9110, section 9.2.1.
fn is_safe(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

/// Puts the validators of a stored response in place of the client's. Returns whether it has some.
fn ask_again(fields: &mut HeaderMap, known: &StoredResponse) -> bool {
    let conditions = [
        (IF_NONE_MATCH, http::header::ETAG),
        (IF_MODIFIED_SINCE, http::header::LAST_MODIFIED),
    ];
    if !conditions
        .iter()
        .any(|(_, validator)| known.fields.contains_key(validator))
    {
        return false;
    }
    for (condition, validator) in conditions {
        fields.remove(&condition);
        if let Some(value) = known.fields.get(validator) {
            fields.insert(condition, value.clone());
        }
    }
    true
}
