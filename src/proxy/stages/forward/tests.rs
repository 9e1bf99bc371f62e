use http_body_util::BodyExt as _;

use super::*;
use crate::proxy::context::permits::RequestPermits;
use crate::proxy::stages::place::place;
use crate::proxy::tests::backend::{ScriptedBackend, incoming, ordinary, switch};
use crate::proxy::tests::{Fixture, authenticated, head, run};

fn world(backends: &[String], more: &str) -> Fixture {
    let list = backends.iter().map(|address| format!("\"{address}\""));
    let list: Vec<_> = list.collect();
    Fixture::new(&format!(
        "[upstreams.chat]\npolicy = \"round_robin\"\nbackends = [{}]\n{more}\n\
         [[routes]]\nname = \"chat\"\nupstream = \"chat\"\n",
        list.join(", ")
    ))
}

/// The statuses of requests with these methods and bodies, one after the other, or the labels of
/// their refusals.
fn forwarded(
    fixture: &Fixture,
    backends: &[&ScriptedBackend],
    requests: &[(&str, &str)],
) -> Vec<Result<u16, &'static str>> {
    let heads: Vec<_> = requests
        .iter()
        .map(|(method, _)| {
            let request = Request::builder().method(*method).uri("/");
            head(request.header("host", "chat.example.com"))
        })
        .collect();
    let received: Vec<_> = heads.iter().map(|head| fixture.receive(head)).collect();
    let placed: Vec<_> = received
        .iter()
        .zip(heads)
        .map(|(received, head)| {
            let authenticated = authenticated(received, head);
            let (placed, head, _) = place(authenticated, RequestPermits::default());
            (placed, head)
        })
        .collect();
    run(async {
        backends.iter().for_each(|one| one.serve());
        let mut outcomes = Vec::new();
        for ((placed, head), (_, body)) in placed.into_iter().zip(requests) {
            let body = incoming(body).await;
            let outcome = match forward(&placed, head, body).await {
                Ok(reply) => {
                    let (head, body) = reply.into_parts();
                    let text = body.collect().await;
                    assert!(text.is_ok(), "its body broke off");
                    Ok(head.status.as_u16())
                }
                Err(refusal) => Err(refusal.reason()),
            };
            // The connection returns to the pool in a task.
            crate::proxy::tests::session::settle().await;
            outcomes.push(outcome);
        }
        outcomes
    })
}

/// Answers once, closes the connection at the second request, and answers from the third on.
fn closes_at_the_second() -> ScriptedBackend {
    ScriptedBackend::new(|number| (number != 1).then(|| ordinary("200 OK", "text")))
}

#[test]
fn a_safe_request_is_repeated_when_a_kept_connection_was_closed() {
    for method in ["GET", "OPTIONS"] {
        let backend = closes_at_the_second();
        let fixture = world(&[backend.address()], "");
        let outcomes = forwarded(&fixture, &[&backend], &[("GET", ""), (method, "")]);
        assert_eq!(outcomes, [Ok(200), Ok(200)], "{method}");
        assert_eq!(backend.heads().len(), 3, "{method}");
    }
}

#[test]
fn a_request_that_may_have_had_an_effect_is_not_repeated() {
    for request in [("POST", ""), ("DELETE", ""), ("GET", "with a body")] {
        let backend = closes_at_the_second();
        let fixture = world(&[backend.address()], "");
        let outcomes = forwarded(&fixture, &[&backend], &[("GET", ""), request]);
        assert_eq!(outcomes[0], Ok(200));
        assert_eq!(outcomes[1], Err("backend_broke"), "{request:?}");
        assert_eq!(backend.heads().len(), 2, "{request:?}");
    }
}

#[test]
fn a_new_connection_that_breaks_is_not_replaced() {
    let backend = ScriptedBackend::new(|_| None);
    let fixture = world(&[backend.address()], "");
    let outcomes = forwarded(&fixture, &[&backend], &[("GET", "")]);
    assert_eq!(outcomes, [Err("backend_broke")]);
    assert_eq!(backend.heads().len(), 1);
}

#[test]
fn a_backend_that_is_not_reached_is_followed_by_the_next() {
    let backend = ScriptedBackend::answering(&ordinary("200 OK", ""));
    let gone = "unix:/nonexistent/socket".to_owned();
    let fixture = world(&[gone.clone(), backend.address()], "");
    let outcomes = forwarded(&fixture, &[&backend], &[("POST", "text"), ("POST", "text")]);
    assert_eq!(
        outcomes,
        [Ok(200), Ok(200)],
        "nothing was sent to the first"
    );
    let nowhere = world(&[gone], "");
    let outcomes = forwarded(&nowhere, &[], &[("GET", "")]);
    assert_eq!(outcomes, [Err("unreachable")]);
}

#[test]
fn i9_an_ordinary_request_switches_no_protocol() {
    let backend = ScriptedBackend::answering(&switch(""));
    let fixture = world(&[backend.address()], "");
    let outcomes = forwarded(&fixture, &[&backend], &[("GET", "")]);
    assert_eq!(outcomes, [Err("unasked_switch")]);
}

#[test]
fn a_connection_with_a_clients_proxy_header_is_not_shared() {
    let backend = ScriptedBackend::answering(&ordinary("200 OK", ""));
    let fixture = world(&[backend.address()], "proxy_protocol = \"v1\"");
    forwarded(&fixture, &[&backend], &[("GET", ""), ("GET", "")]);
    let heads = backend.heads();
    assert_eq!(heads.len(), 2);
    // On a connection of its own the header precedes each request.
    assert!(
        heads.iter().all(|head| head.starts_with("PROXY ")),
        "{heads:?}"
    );
}

#[test]
fn the_refusal_after_a_timeout_names_the_late_side() {
    let fixture = world(&["127.0.0.1:9101".to_owned()], "");
    let head = head(crate::proxy::tests::get("/"));
    let received = fixture.receive(&head);
    let (placed, ..) = place(authenticated(&received, head), RequestPermits::default());
    let member = &placed.upstream.members[0];
    let lease = BackendLease::take(&fixture.worker, &placed.upstream, member, false);
    for (late, reason) in [
        (Late::ClientStalled, "client_stalled"),
        (Late::BackendStalled, "backend_stalled"),
        (Late::NoAnswer, "timed_out"),
    ] {
        let refusal = failed(&placed, &lease, SendError::Late(late));
        assert_eq!(refusal.reason(), reason);
    }
}
