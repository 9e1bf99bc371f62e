//! Passing a backend's ordinary answer on to the client.

use std::rc::Rc;

use http::response::Parts;
use http::{Extensions, HeaderMap, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::core::http::framing::{self, AnswerLine};
use crate::core::http::headers;
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::client::progress::Answering;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::passing::Passing;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::received::Received;
use crate::proxy::request::record::{AnswerState, Report};
use crate::proxy::stages::answer::Reply;
use crate::proxy::streams::activity::StreamActivity;
use crate::proxy::streams::body::Outgoing;
use crate::proxy::streams::pool::Kept;
use crate::proxy::streams::watch::Watch as _;

/// Passes an answer on. `keep` is its connection, where that may carry another request.
pub(crate) fn pass_on(
    placed: &Placed<'_>,
    lease: &BackendLease,
    (mut head, body): (Parts, Incoming),
    backend: Rc<StreamActivity>,
    keep: Option<Kept>,
) -> Reply {
    settle_head(placed, &mut head);
    let mut passing = passing(placed, lease, head.status);
    passing.keep = keep;
    let body = if body.is_end_stream() {
        passing.ended();
        Outgoing::Empty
    } else {
        begin_answer(placed, &body, Some(backend));
        Outgoing::streamed(body, passing)
    };
    Response::from_parts(head, body)
}

/// Passes on the answer to an upgrade that is no 101: an ordinary response.
pub(crate) fn decline(
    placed: &Placed<'_>,
    lease: &BackendLease,
    (mut head, body): (Parts, Incoming),
) -> Reply {
    settle_head(placed, &mut head);
    let mut passing = passing(placed, lease, head.status);
    passing.report.refusal = Some("declined");
    let worker = &placed.received.connection.worker;
    let upstream = &placed.upstream.config.name;
    let metrics = worker.route_metrics(&placed.route.config.name, upstream);
    metrics.refused("declined");
    begin_answer(placed, &body, None);
    Response::from_parts(head, Outgoing::streamed(body, passing))
}

/// Takes the fields of framing and of the connection off a backend's answer, or refuses it; see
/// [`framing::settle_answer`]. Returns whether its connection may be used again.
pub(crate) fn settle_framing(received: &Received, head: &mut Parts) -> Result<bool, Refusal> {
    let line = AnswerLine {
        method: &received.method,
        status: head.status,
        version: head.version,
    };
    let reusable = framing::settle_answer(line, &mut head.headers);
    let reusable = reusable.map_err(Refusal::AnswerFraming)?;
    headers::strip_hop_by_hop(&mut head.headers);
    Ok(reusable)
}

/// The case of a message's field names, which hyper keeps in its extensions. Other extensions
/// belong to its connection.
pub(crate) fn cases(mut extensions: Extensions) -> Extensions {
    extensions.remove::<OnUpgrade>();
    extensions
}

/// The affinity cookie of a client that had none.
pub(crate) fn add_cookie(fields: &mut HeaderMap, placed: &Placed<'_>) {
    if let Some(cookie) = &placed.set_cookie {
        fields.append(header::SET_COOKIE, cookie.clone());
    }
}

/// The record of a request that a backend answers.
pub(crate) fn report(placed: &Placed<'_>, lease: &BackendLease) -> Report {
    let route = placed.route.config.name.clone();
    let upstream = placed.upstream.config.name.clone();
    let backend = lease.backend().clone();
    placed
        .received
        .report(Some(route), Some(upstream), Some(backend))
}

fn settle_head(placed: &Placed<'_>, head: &mut Parts) {
    head.version = Version::HTTP_11;
    head.extensions = cases(std::mem::take(&mut head.extensions));
    add_cookie(&mut head.headers, placed);
}

fn passing(placed: &Placed<'_>, lease: &BackendLease, status: StatusCode) -> Passing {
    let mut report = report(placed, lease);
    report.status = status.as_u16();
    report.state = AnswerState::Passing;
    Passing {
        report,
        keep: None,
        filling: None,
        progress: Rc::clone(&placed.received.progress),
    }
}

/// The body of an answer is on its way from now on, with the route's times.
fn begin_answer(placed: &Placed<'_>, body: &Incoming, backend: Option<Rc<StreamActivity>>) {
    // HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
    let unmarked = !placed.received.http_11 && body.size_hint().exact().is_none();
    let answering = Answering {
        backend,
        idle: placed.route.config.timeouts.idle,
    };
    placed.received.progress.answer(answering, unmarked);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::context::permits::RequestPermits;
    use crate::proxy::stages::place::place;
    use crate::proxy::tests::{Fixture, authenticated, get, head};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "chat"
        upstream = "chat"
        affinity = [{ issue_cookie = "sid" }]
    "#;

    fn answer(fields: &[(&'static str, &'static str)]) -> Parts {
        let response = fields
            .iter()
            .fold(Response::builder(), |response, (name, value)| {
                response.header(*name, *value)
            });
        response.body(()).expect("a response").into_parts().0
    }

    #[test]
    fn an_ambiguous_answer_is_refused() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/"));
        let received = fixture.receive(&head);
        let twice = [("content-length", "1"), ("content-length", "2")];
        let refusal = settle_framing(&received, &mut answer(&twice)).err();
        assert_eq!(refusal.expect("a refusal").reason(), "bad_answer");
        let once = settle_framing(&received, &mut answer(&twice[..1]));
        assert!(once.expect("it is framed"), "its connection is reusable");
    }

    #[test]
    fn the_client_gets_end_to_end_fields_and_its_cookie() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/"));
        let received = fixture.receive(&head);
        let authenticated = authenticated(&received, head);
        let (placed, ..) = place(authenticated, RequestPermits::default());
        let mut head = answer(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "a=1"),
            ("x-end", "1"),
        ]);
        head.version = Version::HTTP_10;
        settle_framing(&received, &mut head).expect("it is framed");
        settle_head(&placed, &mut head);
        assert!(!head.headers.contains_key("x-hop") && head.headers.contains_key("x-end"));
        assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(head.version, Version::HTTP_11);
    }
}
