use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::core::wire::in_band::InBandMatcher;
use crate::proxy::session::live_session::Ownership;
use crate::proxy::tests::session::{self, Ends, ROUTES, right};
use crate::proxy::tests::{Fixture, run};

/// A masked text message of a client.
fn message(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A session that recognises messages with the route's prefix.
async fn with_prefix(sessions: &Rc<Sessions>) -> Ends {
    let (mut granted, backend) = session::granted(sessions, 0);
    granted.setup.in_band = Some(InBandMatcher::new("renew ", 64));
    session::begin(sessions, (granted, backend)).await
}

/// The next message that the client gets.
async fn next_text(ends: &mut Ends) -> String {
    let mut head = [0; 2];
    ends.client.read_exact(&mut head).await.expect("open");
    assert_eq!(head[0], 0x81, "a whole text message");
    let mut text = vec![0; usize::from(head[1])];
    ends.client.read_exact(&mut text).await.expect("open");
    String::from_utf8(text).expect("text")
}

/// The outcome of a credential for a session with this principal.
fn outcome(authenticator: &str, subject: &str, credential: &[u8]) -> Result<(), Word> {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let (granted, _backend) = session::granted(&sessions, 0);
        let mut facts = granted.facts;
        facts.right = Some(Arc::new(right(authenticator, subject)));
        let verified = verify(&fixture.worker, &facts, credential.to_vec()).await;
        verified.map(|principal| assert_eq!(&*principal.subject, subject))
    })
}

#[test]
fn only_a_valid_credential_of_the_same_principal_is_taken() {
    assert_eq!(outcome("programs", "bot", b"key-of-a-bot"), Ok(()));
    assert_eq!(outcome("programs", "bot", b" key-of-a-bot\n"), Ok(()));
    let wrong = CredentialFault::Unknown.as_str();
    assert_eq!(outcome("programs", "bot", b"another-key"), Err(wrong));
    let binary = outcome("programs", "bot", b"\xff\xfe");
    assert_eq!(binary, Err("not_renewable"));
    let method = outcome("guests", "bot", b"key-of-a-bot");
    assert_eq!(method, Err("not_renewable"));
    let other = outcome("programs", "ann", b"key-of-a-bot");
    assert_eq!(other, Err("other_subject"));
    let removed = outcome("removed", "bot", b"key-of-a-bot");
    assert_eq!(removed, Err("no_authenticator"));
}

#[test]
fn a_session_without_a_right_has_nothing_to_renew() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let (granted, _backend) = session::granted(&sessions, 0);
        let mut facts = granted.facts;
        facts.right = None;
        let verified = verify(&fixture.worker, &facts, b"key-of-a-bot".to_vec()).await;
        assert_eq!(verified.err(), Some("no_right"));
    });
}

#[test]
fn a_revoked_principal_does_not_renew() {
    let revoked = "[revocations.gone]\nsubject = \"bot\"\n";
    let fixture = Fixture::new(&format!("{ROUTES}{revoked}"));
    run(async {
        let sessions = fixture.sessions();
        let (granted, _backend) = session::granted(&sessions, 0);
        let facts = granted.facts;
        let verified = verify(&fixture.worker, &facts, b"key-of-a-bot".to_vec()).await;
        assert_eq!(verified.err(), Some("revoked"));
    });
}

#[test]
fn a_renewal_in_a_message_is_answered_and_the_backend_sees_none_of_it() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = with_prefix(&sessions).await;
        let expiring = Renewal::Until(Some(clock::wall() + Duration::from_secs(5)));
        assert!(rights::renew(
            &ends.session,
            &expiring,
            sessions.worker().tick()
        ));
        let renewal = message("renew key-of-a-bot");
        ends.client.write_all(&renewal).await.expect("open");
        assert_eq!(next_text(&mut ends).await, "renewed");
        assert_eq!(ends.session.facts().right.as_ref().unwrap().expires, None);
        // Nothing of the renewal precedes the next message.
        ends.talk().await;
    });
}

#[test]
fn a_refused_renewal_is_answered_and_ends_nothing() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = with_prefix(&sessions).await;
        let before = ends.session.facts().right.clone();
        let renewal = message("renew another-key");
        ends.client.write_all(&renewal).await.expect("open");
        let word = CredentialFault::Unknown.as_str();
        assert_eq!(next_text(&mut ends).await, format!("no: {word}"));
        assert_eq!(ends.session.facts().right, before);
        ends.talk().await;
    });
}

#[test]
fn i1_a_renewal_that_is_verified_while_the_session_is_held_is_left_to_its_new_owner() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = with_prefix(&sessions).await;
        let idle = Rc::weak_count(&ends.session);
        let renewal = message("renew another-key");
        ends.client.write_all(&renewal).await.expect("open");
        session::settle().await;
        assert!(Rc::weak_count(&ends.session) > idle, "it is being verified");
        ends.session.ownership.set(Ownership::Held);
        let state = || {
            let state = ends.session.relay.borrow().state(0);
            serde_json::to_value(state).expect("plain data")
        };
        let before = state();
        while Rc::weak_count(&ends.session) > idle {
            tokio::time::sleep(PENALTY / 10).await;
        }
        assert_eq!(state(), before, "not answered here");
        let relay = ends.session.relay.borrow();
        assert_eq!(relay.renewal(), Some(&b"another-key"[..]));
    });
}

#[test]
fn a_valid_credential_that_the_conditions_refuse_is_insufficient() {
    let conditions = "authorize = [\"claim:team == \\\"red\\\"\"]\n";
    let fixture = Fixture::new(&format!("{ROUTES}{conditions}"));
    run(async {
        let sessions = fixture.sessions();
        let mut ends = with_prefix(&sessions).await;
        let renewal = message("renew key-of-a-bot");
        ends.client.write_all(&renewal).await.expect("open");
        assert_eq!(next_text(&mut ends).await, "no: insufficient");
    });
}
