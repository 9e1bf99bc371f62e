use std::rc::Rc;
use std::time::Duration;

use http::request::Builder;

use super::*;
use crate::base::right::Right;
use crate::core::session::record::Facts;
use crate::live::WorkerHandle;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::renew_all;
use crate::proxy::tests::session::{self, right};
use crate::proxy::tests::{Fixture, admitted, head, run};

const ROUTES: &str = r#"
    [upstreams.chat]
    backends = ["127.0.0.1:9101"]
    [authenticators.tickets]
    type = "signed_url"
    secret = "hunter2-hunter2-hunter2-hunter2-hunter2"
    mint = "/tickets"
    mint_for = ["programs"]
    [[routes]]
    name = "chat"
    path = "/ws"
    upstream = "chat"
    authenticate = ["programs"]
    renew = "/renew"
"#;

/// The outcome of a request to an endpoint, or the label of its refusal.
fn answered(fixture: &Fixture, request: Builder) -> Result<Reply, &'static str> {
    let head = head(request.header("host", "chat.example.com"));
    let received = fixture.receive(&head);
    let admitted = admitted(&received, head);
    let endpoint = find(&admitted).expect("an endpoint of the gateway");
    let answer = run(reply(&endpoint, &received, &admitted.head));
    answer.map_err(|refusal| refusal.reason())
}

fn post(path: &str) -> Builder {
    http::Request::post(path)
}

#[test]
fn an_endpoint_takes_a_post_with_a_credential() {
    let fixture = Fixture::new(ROUTES);
    for path in ["/tickets", "/renew"] {
        let get = http::Request::get(path);
        assert_eq!(answered(&fixture, get).err(), Some("not_post"));
        let anonymous = answered(&fixture, post(path));
        assert_eq!(anonymous.err(), Some("credential_missing"));
    }
}

#[test]
fn a_ticket_is_minted_recorded_and_not_cached() {
    let fixture = Fixture::new(ROUTES);
    let request = post("/tickets").header("x-api-key", "key-of-a-bot");
    let reply = answered(&fixture, request).expect("a ticket");
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
    drop(reply);
    let records = fixture.records();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["principal"], "bot");
}

#[test]
fn there_is_no_session_to_renew() {
    let fixture = Fixture::new(ROUTES);
    fixture.worker.live().set_workers(Vec::new());
    for path in ["/renew", "/renew?session=nonsense"] {
        let request = post(path).header("x-api-key", "key-of-a-bot");
        assert_eq!(answered(&fixture, request).err(), Some("no_session"));
    }
}

#[test]
fn other_paths_are_not_endpoints() {
    let fixture = Fixture::new(ROUTES);
    let head = head(post("/ws"));
    let received = fixture.receive(&head);
    assert!(find(&admitted(&received, head)).is_none());
}

/// The sessions that a renewal by `bot` finds renewed, of these.
struct Renewals {
    fixture: Fixture,
}

impl Renewals {
    /// The endpoint's answer about the sessions that `change` makes, and which were renewed.
    fn ask(
        &self,
        path: impl FnOnce(&[Rc<Session>]) -> String,
        changes: &[fn(&mut Facts)],
    ) -> (Result<Reply, &'static str>, Vec<bool>) {
        let fixture = &self.fixture;
        run(async {
            let sessions = fixture.sessions();
            let mut ends = Vec::new();
            for change in changes {
                let (mut granted, backend) = session::granted(&sessions, 0);
                let later = clock::wall() + Duration::from_secs(5);
                granted.facts.right = Some(Arc::new(Right {
                    expires: Some(later),
                    ..right("programs", "bot")
                }));
                change(&mut granted.facts);
                ends.push(session::begin(&sessions, (granted, backend)).await);
            }
            let live: Vec<_> = ends.iter().map(|one| Rc::clone(&one.session)).collect();
            let (handle, mut commands) = WorkerHandle::new();
            fixture.worker.live().set_workers(vec![handle]);
            let worker = Rc::clone(&sessions);
            tokio::task::spawn_local(async move {
                while let Some(WorkerCommand::Renew {
                    query,
                    renewal,
                    slice,
                    answer,
                }) = commands.recv().await
                {
                    let found = worker.slice(&query, slice);
                    let renewed = found.map(|found| renew_all(&worker, &found, &renewal));
                    let _ = answer.send(renewed);
                }
            });
            let head = head(post(&path(&live)).header("x-api-key", "key-of-a-bot"));
            let received = fixture.receive(&head);
            let admitted = admitted(&received, head);
            let endpoint = find(&admitted).expect("an endpoint");
            let answer = reply(&endpoint, &received, &admitted.head).await;
            let renewed = live.iter().map(|session| {
                let right = session.facts().right.clone();
                right.is_some_and(|right| right.expires.is_none())
            });
            (
                answer.map_err(|refusal| refusal.reason()),
                renewed.collect(),
            )
        })
    }
}

fn renewals() -> Renewals {
    let routes =
        ROUTES.to_owned() + "[[routes]]\nname = \"other\"\npath = \"/x\"\nupstream = \"chat\"\n";
    Renewals {
        fixture: Fixture::new(&routes),
    }
}

const SAME: fn(&mut Facts) = |_| {};

#[test]
fn a_credential_renews_its_own_sessions_of_the_route_alone() {
    let changes: [fn(&mut Facts); 4] = [
        SAME,
        |facts| facts.principal = Some("ann".into()),
        |facts| facts.route = "other".into(),
        SAME,
    ];
    let (answer, renewed) = renewals().ask(|_| "/renew".to_owned(), &changes);
    assert_eq!(answer.expect("an answer").status(), 200);
    assert_eq!(renewed, [true, false, false, true]);
}

#[test]
fn one_session_is_renewed_where_it_is_named() {
    let named = |live: &[Rc<Session>]| format!("/renew?session={}", live[1].id);
    let (answer, renewed) = renewals().ask(named, &[SAME, SAME]);
    assert!(answer.is_ok());
    assert_eq!(renewed, [false, true]);
}

#[test]
fn an_invalid_session_name_renews_nothing() {
    let odd = |_: &[Rc<Session>]| "/renew?session=nonsense".to_owned();
    let (answer, renewed) = renewals().ask(odd, &[SAME]);
    assert_eq!(answer.err(), Some("no_session"));
    assert_eq!(renewed, [false]);
    let elses: fn(&mut Facts) = |facts| facts.principal = Some("ann".into());
    let (answer, _) = renewals().ask(|_| "/renew".to_owned(), &[elses]);
    assert_eq!(answer.err(), Some("no_session"));
}

#[test]
fn a_foreign_page_gets_no_ticket_and_is_told_why() {
    let routes = ROUTES.replace(
        "mint_for = [\"programs\"]",
        "mint_for = [\"programs\"]\nmint_origins = [\"https://app.example.com\"]",
    );
    let fixture = Fixture::new(&routes);
    for (origin, status, readable) in [
        ("https://app.example.com", 200, true),
        ("https://evil.example.com", 403, false),
    ] {
        let request = post("/tickets")
            .header("host", "chat.example.com")
            .header("origin", origin)
            .header("x-api-key", "key-of-a-bot");
        let head = head(request);
        let received = fixture.receive(&head);
        let admitted = admitted(&received, head);
        let endpoint = find(&admitted).expect("an endpoint of the gateway");
        let response = run(respond(endpoint, &admitted)).response;
        assert_eq!(response.status(), status, "{origin}");
        let allowed = response
            .headers()
            .contains_key("access-control-allow-origin");
        assert_eq!(allowed, readable, "{origin}");
    }
}
