//! The path of a request: each stage takes the value of the stage before, and makes the next one or
//! refuses. Every refusal is answered, recorded and counted in `stages::refuse`.

use http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;

use crate::core::wire::handshake::Upgrade;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::received::Received;
use crate::proxy::request::traced::TraceEnd;
use crate::proxy::stages::admit::admit;
use crate::proxy::stages::answer::{AfterSwitch, Answer, Reply};
use crate::proxy::stages::authenticate::authenticate;
use crate::proxy::stages::cached::cached;
use crate::proxy::stages::files;
use crate::proxy::stages::forward::forward;
use crate::proxy::stages::listen::listen;
use crate::proxy::stages::pass_on::decline;
use crate::proxy::stages::place::place;
use crate::proxy::stages::refuse::refuse;
use crate::proxy::stages::route::{Destination, route};
use crate::proxy::stages::to_broker::to_broker;
use crate::proxy::stages::to_function::to_function;
use crate::proxy::stages::upgrade::{Obtained, grant, obtain};
use crate::proxy::stages::{challenge, discovery, endpoints, guard};

/// Answers a request, whatever its outcome is.
pub(crate) async fn answer(received: Received, head: Parts, body: Incoming) -> Answer {
    let outcome = Box::pin(road(&received, head, body)).await;
    let refusal = outcome.as_ref().err().map(Refusal::reason);
    let mut answer = outcome.unwrap_or_else(|refusal| refuse(&received, &refusal));
    end_trace(&received, &answer, refusal);
    let ordinary = answer.response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if ordinary && !received.connection.worker.keeps_connections() {
        let close = HeaderValue::from_static("close");
        answer.response.headers_mut().insert(CONNECTION, close);
    }
    let listener = received.connection.listener();
    if let Some(hsts) = listener
        .config
        .tls
        .as_ref()
        .and_then(|tls| tls.hsts.clone())
    {
        let fields = answer.response.headers_mut();
        fields.insert(STRICT_TRANSPORT_SECURITY, hsts);
    }
    answer
}

fn end_trace(received: &Received, answer: &Answer, refusal: Option<&'static str>) {
    let backend = match &answer.then {
        Some(AfterSwitch::Session(granted)) => Some(&granted.0.facts.backend),
        _ => None,
    };
    let status = answer.response.status().as_u16();
    let end = TraceEnd {
        status,
        backend,
        refusal,
    };
    received.end_trace(&end);
}

async fn road(received: &Received, head: Parts, body: Incoming) -> Result<Answer, Refusal> {
    let admitted = admit(received, head)?;
    if let Some(answer) = challenge::respond(&admitted) {
        return Ok(answer?.into());
    }
    if let Some(reply) = discovery::respond(&admitted) {
        return Ok(reply.into());
    }
    if let Some(endpoint) = endpoints::find(&admitted) {
        return Ok(Box::pin(endpoints::respond(endpoint, &admitted)).await);
    }
    let step = received.step("route");
    let destination = route(admitted)?;
    drop(step);
    let routed = match destination {
        Destination::Upstream(routed) => routed,
        Destination::Gateway(response) => return Ok(response.into()),
    };
    let mut permits = guard::by_address(&routed).await?;
    let step = received.step("authenticate");
    let authenticated = authenticate(routed).await?;
    drop(step);
    guard::by_principal(&authenticated, &mut permits).await?;
    let takes_events = authenticated.routed.takes_events;
    let step = received.step("place");
    let (placed, head, offer) = place(authenticated, permits);
    drop(step);
    if let Some(sse) = placed.route.config.messages.sse.filter(|_| takes_events) {
        return listen(placed, &head, sse);
    }
    // Boxed, since each `await` copies the future that it waits for, and these are large.
    match offer {
        offer if placed.upstream.is_broker() => to_broker(placed, offer.as_ref()),
        offer if placed.route.function().is_some() => {
            Box::pin(to_function(placed, head, offer.as_ref())).await
        }
        Some(offer) if placed.route.files().is_none() => {
            Box::pin(switch(placed, head, &offer)).await
        }
        _ => Ok(Box::pin(ordinary(&placed, head, body)).await?.into()),
    }
}

/// Answers an ordinary request: with a file, from memory, or by a backend.
async fn ordinary(placed: &Placed<'_>, head: Parts, body: Incoming) -> Result<Reply, Refusal> {
    match (placed.route.files(), &placed.route.config.cache) {
        (Some(files), _) => Box::pin(files::serve(placed, files, &head)).await,
        (None, Some(rules)) => Box::pin(cached(placed, rules, head, body)).await,
        (None, None) => forward(placed, head, body).await,
    }
}

/// Obtains a backend's end for a session, then grants the session.
async fn switch(placed: Placed<'_>, head: Parts, offer: &Upgrade) -> Result<Answer, Refusal> {
    let received = placed.received;
    // A connection that is being closed sends `Connection: close`, which no client takes in a 101.
    if received.connection.closing.get() {
        return Err(Refusal::Stopping);
    }
    received.progress.set_upgrading(true);
    let obtained = obtain(&placed, head, offer).await;
    received
        .progress
        .set_upgrading(matches!(obtained, Ok(Obtained::End(_))));
    match obtained? {
        Obtained::End(end) => Ok(grant(placed, end)),
        Obtained::Declined(lease, answer) => Ok(decline(&placed, &lease, answer).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::context::permits::RequestPermits;
    use crate::proxy::tests::backend::incoming;
    use crate::proxy::tests::{Fixture, authenticated, head, run, websocket};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = [{ address = "127.0.0.1:9101", state = "disabled" }]
        [[routes]]
        name = "chat"
        upstream = "chat"
    "#;

    /// The refusal of a session on a connection that is closing, or not.
    fn refused(closing: bool) -> Refusal {
        let fixture = Fixture::new(ROUTES);
        let head = head(websocket("/"));
        let received = fixture.receive(&head);
        received.connection.closing.set(closing);
        let authenticated = authenticated(&received, head);
        let (placed, head, offer) = place(authenticated, RequestPermits::default());
        let offer = offer.expect("a websocket");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let refusal = runtime.block_on(switch(placed, head, &offer)).err();
        assert!(!received.progress.is_upgrading(), "it is refused");
        refusal.expect("a refusal")
    }

    #[test]
    fn a_connection_that_is_closing_gets_no_session() {
        assert!(matches!(refused(true), Refusal::Stopping));
    }

    #[test]
    fn a_session_needs_an_eligible_backend() {
        let refusal = refused(false);
        assert!(matches!(refusal, Refusal::NoBackend(name) if name == "chat"));
    }

    /// Each `await` copies the future that it waits for, so what is rare and large is boxed.
    #[test]
    fn what_waits_for_a_backend_is_small() {
        let fixture = Fixture::new(ROUTES);
        let request = || head(websocket("/"));
        let received = fixture.receive(&request());
        let authenticated = authenticated(&received, request());
        let (placed, fields, offer) = place(authenticated, RequestPermits::default());
        let offer = offer.expect("a websocket");
        let [one, two, three] = [(); 3].map(|()| run(incoming("")));
        let ordinary = size_of_val(&ordinary(&placed, request(), one));
        assert!(ordinary <= 3_900, "an ordinary request: {ordinary} bytes");
        let session = size_of_val(&switch(placed, fields, &offer));
        assert!(session <= 4_000, "a session: {session} bytes");
        let way = size_of_val(&road(&received, request(), two));
        assert!(way <= 3_100, "the road: {way} bytes");
        let received = fixture.receive(&request());
        let all = size_of_val(&answer(received, request(), three));
        assert!(all <= 1_500, "an answer: {all} bytes");
    }
}
