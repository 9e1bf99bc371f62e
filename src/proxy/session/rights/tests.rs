use std::time::{Duration, SystemTime};

use super::*;
use crate::base::revocation::{Revocation, RevocationOrigin, RevokedWhat};
use crate::core::auth::Claims;
use crate::proxy::session::live_session::Ownership;
use crate::proxy::tests::session::{self, Ends, ROUTES, right};
use crate::proxy::tests::{Fixture, run};

/// A renewal by a credential of this subject.
fn by_credential(authenticator: &str, subject: &str, expires: Option<SystemTime>) -> Renewal {
    Renewal::Credential {
        right: Right {
            expires,
            leeway: Duration::from_secs(99),
            ..right(authenticator, subject)
        },
        claims: Arc::default(),
        route: None,
    }
}

fn in_an_hour() -> Option<SystemTime> {
    Some(clock::wall() + Duration::from_secs(3600))
}

/// Runs a test with a session of `bot`, whose leeway is 7 s.
fn with_session(test: impl AsyncFnOnce(&Fixture, &Rc<Sessions>, &Ends)) {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let (mut granted, backend) = session::granted(&sessions, 0);
        granted.facts.right = Some(Arc::new(Right {
            leeway: Duration::from_secs(7),
            ..right("programs", "bot")
        }));
        let ends = session::begin(&sessions, (granted, backend)).await;
        test(&fixture, &sessions, &ends).await;
    });
}

#[test]
fn only_a_credential_of_the_same_principal_renews() {
    with_session(async |fixture, _, ends| {
        let now = fixture.worker.tick();
        for (authenticator, subject) in [("programs", "ann"), ("others", "bot")] {
            let other = by_credential(authenticator, subject, in_an_hour());
            assert!(!renew(&ends.session, &other, now), "{authenticator}");
        }
        assert_eq!(ends.session.facts().right.as_ref().unwrap().expires, None);
        let expires = in_an_hour();
        let same = by_credential("programs", "bot", expires);
        assert!(renew(&ends.session, &same, now));
        let right = ends.session.facts().right.clone().expect("one");
        assert_eq!(right.expires, expires);
        assert_eq!(right.leeway, Duration::from_secs(7), "the route's own");
        let due = ends.session.relay.borrow().due().expect("it expires");
        assert!((now + 36_000..now + 36_100).contains(&due), "{}", due - now);
    });
}

#[test]
fn a_session_without_a_principal_has_no_right_to_renew() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let (mut granted, backend) = session::granted(&sessions, 0);
        granted.facts.right = None;
        let ends = session::begin(&sessions, (granted, backend)).await;
        assert!(!renew(&ends.session, &Renewal::Until(None), 0));
    });
}

#[test]
fn i7_the_conditions_of_the_route_have_to_hold_for_the_new_claims() {
    let conditions = "authorize = [\"claim:team == \\\"red\\\"\"]\n";
    let fixture = Fixture::new(&format!("{ROUTES}{conditions}"));
    run(async {
        let sessions = fixture.sessions();
        let ends = session::ordinary(&sessions).await;
        let table = fixture.worker.live().table();
        let route = table.route(&"chat".into()).cloned();
        for (team, expected) in [("blue", false), ("red", true)] {
            let mut claims = Claims::of_subject("bot");
            claims.0.insert("team".to_owned(), team.into());
            let renewal = Renewal::Credential {
                right: right("programs", "bot"),
                claims: Arc::new(claims),
                route: route.clone(),
            };
            let renewed = renew(&ends.session, &renewal, fixture.worker.tick());
            assert_eq!(renewed, expected, "{team}");
        }
    });
}

#[test]
fn sessions_that_end_or_go_are_not_renewed() {
    with_session(async |fixture, sessions, ends| {
        let other = session::ordinary(sessions).await;
        let until = Renewal::Until(in_an_hour());
        ends.session.ownership.set(Ownership::Held);
        assert_eq!(renew_all(sessions, &sessions.all(), &until), 1);
        assert_eq!(ends.session.facts().right.as_ref().unwrap().expires, None);
        ends.session.ownership.set(Ownership::Here);
        ends.session.close(&revoked(), None, fixture.worker.tick());
        assert_eq!(renew_all(sessions, &sessions.all(), &until), 1);
        assert!(
            other
                .session
                .facts()
                .right
                .as_ref()
                .unwrap()
                .expires
                .is_some()
        );
    });
}

#[test]
fn a_renewed_session_is_brought_up_when_it_expires_now() {
    with_session(async |fixture, sessions, ends| {
        let until = Renewal::Until(Some(clock::wall()));
        assert_eq!(renew_all(sessions, &sessions.all(), &until), 1);
        assert!(!ends.closing());
        // Its leeway is 7 s.
        sessions.expire(fixture.worker.tick() + 75);
        assert!(ends.closing());
    });
}

/// Puts a revocation of this subject into force.
fn revoke(fixture: &Fixture, subject: &str) {
    let revocation = Arc::new(Revocation {
        id: format!("no-{subject}").into(),
        origin: RevocationOrigin::Node,
        what: RevokedWhat::Subject(subject.into()),
        issued_before: None,
        until: None,
        reason: "left the team".into(),
    });
    fixture.worker.live().publish(|next| {
        let revocations = Arc::make_mut(&mut next.revocations);
        let added = revocations.add(revocation, clock::wall());
        added.expect("room");
    });
}

#[test]
fn a_revoked_session_ends_and_its_record_names_the_revocation() {
    with_session(async |fixture, sessions, ends| {
        assert_eq!(revoke_all(sessions, &sessions.all()), 0);
        revoke(fixture, "ann");
        assert_eq!(revoke_all(sessions, &sessions.all()), 0);
        revoke(fixture, "bot");
        assert_eq!(revoke_all(sessions, &sessions.all()), 1);
        assert!(ends.closing());
        let order = ends.session.facts().order.clone().expect("an order");
        assert_eq!(order.revocation.as_deref(), Some("no-bot"));
        assert_eq!(order.reason.as_deref(), Some("left the team"));
        assert_eq!(revoke_all(sessions, &sessions.all()), 0, "it is ending");
    });
}

#[test]
fn a_right_that_was_revoked_during_the_handshake_ends_the_session_at_once() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let granted = session::granted(&sessions, 0);
        revoke(&fixture, "bot");
        let ends = session::begin(&sessions, granted).await;
        assert!(ends.closing());
    });
}
