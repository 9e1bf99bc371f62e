use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::base::clock;
use crate::proxy::context::permits::RequestPermits;
use crate::proxy::stages::place::place;
use crate::proxy::tests::backend::{ScriptedBackend, ordinary, switch};
use crate::proxy::tests::{Fixture, authenticated, head, run, websocket};

/// A worker whose route leads to these backends, in this order.
fn world(backends: &[&ScriptedBackend], more: &str) -> Fixture {
    let list = backends.iter().map(|one| format!("\"{}\"", one.address()));
    let list: Vec<_> = list.collect();
    Fixture::new(&format!(
        "[upstreams.chat]\npolicy = \"round_robin\"\nbackends = [{}]\n\
         [[routes]]\nname = \"chat\"\nupstream = \"chat\"\n{more}\n",
        list.join(", ")
    ))
}

/// Calls `look` with a request for a WebSocket and what its backends answered.
fn obtained<T>(
    fixture: &Fixture,
    backends: &[&ScriptedBackend],
    look: impl FnOnce(Placed<'_>, Result<Obtained, Refusal>) -> T,
) -> T {
    obtained_with("chat", fixture, backends, look)
}

/// The same for a client that offers these subprotocols.
fn obtained_with<T>(
    subprotocols: &str,
    fixture: &Fixture,
    backends: &[&ScriptedBackend],
    look: impl FnOnce(Placed<'_>, Result<Obtained, Refusal>) -> T,
) -> T {
    obtained_in((Phase::Ready, subprotocols), fixture, backends, look)
}

/// The same for a gateway that enters this phase when the request has its place.
fn obtained_in<T>(
    (phase, subprotocols): (Phase, &str),
    fixture: &Fixture,
    backends: &[&ScriptedBackend],
    look: impl FnOnce(Placed<'_>, Result<Obtained, Refusal>) -> T,
) -> T {
    let offer = websocket("/ws")
        .header("sec-websocket-protocol", subprotocols)
        .header("sec-websocket-extensions", "permessage-deflate");
    let head = head(offer);
    let received = fixture.receive(&head);
    let authenticated = authenticated(&received, head);
    let (placed, head, offer) = place(authenticated, RequestPermits::default());
    let offer = offer.expect("a WebSocket");
    fixture.worker.live().enter(phase);
    run(async {
        backends.iter().for_each(|one| one.serve());
        let outcome = obtain(&placed, head, &offer).await;
        look(placed, outcome)
    })
}

/// The label of the refusal of a backend's only answer.
fn refused(answer: &str) -> &'static str {
    let backend = ScriptedBackend::answering(answer);
    let fixture = world(&[&backend], "");
    obtained(&fixture, &[&backend], |_, outcome| {
        let refusal = outcome.err();
        refusal.expect("a refusal").reason()
    })
}

#[test]
fn i9_only_a_valid_101_is_a_backend_end() {
    let wrong_key = switch("").replace("s3pPLMBi", "AAAAAAAA");
    let twice = switch("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    let no_key = switch("").replace("sec-websocket-accept", "x-accept");
    let no_upgrade = switch("").replace("upgrade: websocket", "x: y");
    let unasked = switch("sec-websocket-protocol: other\r\n");
    let extension = switch("sec-websocket-extensions: x-other\r\n");
    for answer in [wrong_key, twice, no_key, no_upgrade, unasked, extension] {
        assert_eq!(refused(&answer), "invalid_answer", "{answer}");
    }
    let backend = ScriptedBackend::answering(&(switch("") + "early"));
    let fixture = world(&[&backend], "");
    obtained(&fixture, &[&backend], |_, outcome| {
        let Ok(Obtained::End(end)) = outcome else {
            panic!("not granted");
        };
        assert_eq!(end.early, "early");
        assert!(end.granted.subprotocol.is_none());
    });
}

#[test]
fn i9_another_answer_is_an_ordinary_response() {
    for status in ["200 OK", "403 No", "503 No"] {
        let backend = ScriptedBackend::answering(&ordinary(status, "text"));
        let fixture = world(&[&backend], "");
        obtained(&fixture, &[&backend], |_, outcome| {
            let Ok(Obtained::Declined(_, (head, _))) = outcome else {
                panic!("granted");
            };
            assert_eq!(head.status.as_str(), &status[..3]);
        });
    }
    let ambiguous = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(refused(ambiguous), "bad_answer");
}

#[test]
fn a_worker_that_stops_grants_no_session() {
    let backend = ScriptedBackend::answering(&switch(""));
    let fixture = world(&[&backend], "");
    obtained_in(
        (Phase::Stopping, "chat"),
        &fixture,
        &[&backend],
        |_, outcome| {
            assert_eq!(outcome.err().expect("a refusal").reason(), "stopping");
        },
    );
}

#[test]
fn a_backend_that_closes_without_an_answer_is_followed_by_the_next() {
    // Whichever is asked first closes.
    let asked = Rc::new(Cell::new(0));
    let script = |asked: &Rc<Cell<u32>>| {
        let asked = Rc::clone(asked);
        ScriptedBackend::new(move |_| (asked.replace(asked.get() + 1) > 0).then(|| switch("")))
    };
    let (one, other) = (script(&asked), script(&asked));
    let fixture = world(&[&one, &other], "");
    obtained(&fixture, &[&one, &other], |_, outcome| {
        assert!(matches!(outcome, Ok(Obtained::End(_))));
    });
    assert_eq!((one.heads().len(), other.heads().len()), (1, 1));
}

#[test]
fn a_backend_that_broke_off_in_its_answer_is_not_followed_by_another() {
    let broken = "HTTP/1.1 101 Switch";
    let one = ScriptedBackend::answering(broken);
    let other = ScriptedBackend::answering(broken);
    let fixture = world(&[&one, &other], "");
    obtained(&fixture, &[&one, &other], |_, outcome| {
        assert!(outcome.is_err());
    });
    assert_eq!(one.heads().len() + other.heads().len(), 1);
}

#[test]
fn i7_an_upstream_with_tls_that_is_not_set_up_is_not_asked_in_plain() {
    let backend = ScriptedBackend::answering(&switch(""));
    let fixture = world(&[&backend], "[upstreams.chat.tls]");
    obtained(&fixture, &[&backend], |_, outcome| {
        assert_eq!(outcome.err().expect("a refusal").reason(), "no_backend");
    });
    assert!(backend.heads().is_empty());
}

/// The client's 101, and the session, for a backend with these lines in its own.
fn granted(lines: &str, more: &str) -> (Answer, Fixture) {
    let backend = ScriptedBackend::answering(&(switch(lines) + "early"));
    let fixture = world(&[&backend], more);
    let answer = obtained(&fixture, &[&backend], |placed, outcome| {
        let Ok(Obtained::End(end)) = outcome else {
            panic!("not granted");
        };
        grant(placed, end)
    });
    (answer, fixture)
}

#[test]
fn the_client_gets_a_101_with_end_to_end_fields_alone() {
    let lines = "x-end: 1\r\nkeep-alive: 5\r\nx-hop: 1\r\n";
    let (answer, _fixture) = granted(lines, "affinity = [{ issue_cookie = \"sid\" }]");
    assert_eq!(answer.response.status(), 101);
    let fields = answer.response.headers();
    assert_eq!(fields["upgrade"], "websocket");
    assert_eq!(
        fields["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(fields["x-end"], "1");
    assert!(!fields.contains_key("keep-alive") && !fields.contains_key("content-length"));
    let cookie = fields["set-cookie"].to_str().expect("text");
    assert!(cookie.starts_with("sid="), "{cookie}");
}

#[test]
fn the_session_is_what_was_agreed() {
    let lines = "sec-websocket-protocol: chat\r\n";
    let (answer, _fixture) = granted(lines, "affinity = [\"header:x-user\"]");
    let Some(AfterSwitch::Session(session)) = answer.then else {
        panic!("no session");
    };
    let (granted, report) = *session;
    assert_eq!(granted.facts.request.subprotocol(), Some("chat"));
    assert_eq!(granted.facts.backend, *granted.backend.backend());
    assert_eq!(granted.setup.backend_early, b"early");
    assert!(granted.resumption.is_none());
    assert_eq!(report.state, AnswerState::Unanswered);
    assert!(granted.facts.request.started() <= clock::wall());
}

#[test]
fn a_session_that_may_be_resumed_keeps_its_handshake_and_no_context() {
    let lines = "sec-websocket-extensions: permessage-deflate\r\n";
    let (answer, _fixture) = granted(lines, "on_backend_loss = \"reconnect\"");
    let extensions = &answer.response.headers()["sec-websocket-extensions"];
    let extensions = extensions.to_str().expect("text");
    assert!(
        extensions.contains("client_no_context_takeover"),
        "{extensions}"
    );
    let Some(AfterSwitch::Session(session)) = answer.then else {
        panic!("no session");
    };
    let resumption = session.0.resumption.as_ref().expect("the route reconnects");
    assert_eq!(&*resumption.target, "/ws");
    assert!(resumption.fields().contains_key("sec-websocket-key"));
}

#[test]
fn the_subprotocol_of_a_credential_is_chosen_if_the_backend_chooses_none() {
    for (lines, expected) in [("", "key"), ("sec-websocket-protocol: chat\r\n", "chat")] {
        let backend = ScriptedBackend::answering(&switch(lines));
        let fixture = world(&[&backend], "authenticate = [\"programs\"]");
        let protocols = "key, key-of-a-bot, chat";
        let answer = obtained_with(protocols, &fixture, &[&backend], |placed, outcome| {
            let Ok(Obtained::End(end)) = outcome else {
                panic!("not granted");
            };
            grant(placed, end)
        });
        assert_eq!(
            answer.response.headers()["sec-websocket-protocol"],
            expected
        );
    }
}
