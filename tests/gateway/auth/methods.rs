//! Every way to say who one is beside tokens, and how a right is renewed or taken away.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::time::run_out;
use crate::support::tokens::{SECRET, claims, in_seconds, token};
use crate::support::{Backend, Client, Dial, Gateway, config, http};

/// `authenticators` and a route that asks `users`.
fn asking(backend: &Backend, authenticators: &str, route: &str) -> String {
    format!("{authenticators}\n\n")
        + &config::echo(
            &[backend.address],
            "",
            &format!("authenticate = [\"users\"]\n{route}"),
        )
}

const JWT: &str = "[authenticators.users]\ntype = \"jwt\"\nsecret = \"not-to-be-seen-0123456789-abcdefghij\"\n\
                   from = [\"header:authorization\"]";

async fn opens(dial: Dial, gateway: &Gateway) -> Result<Client, u16> {
    dial.connect(gateway.address())
        .await
        .map_err(|refused| refused.status)
}

async fn post(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> http::Whole {
    let mut request = Request::post(target).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    http::send(gateway.address(), request).await
}

fn json_of(answer: &http::Whole) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn a_key_is_recognised_by_its_hash_alone() {
    let backend = Backend::echo().await;
    // `printf %s key-of-a-bot | sha256sum`
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"key-of-a-bot");
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let other = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"key-in-a-file");
    let other: String = other
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("keys"),
        format!("# keys\n{other} cron job\n"),
    )
    .unwrap();
    let text = format!(
        "[authenticators.users]\ntype = \"api_key\"\nkeys_file = \"keys\"\nstrip = true\n\
         keys = [{{ subject = \"bot\", sha256 = \"{hex}\", claims = {{ role = \"robot\" }} }}]"
    );
    let route = "claim_headers = { x-role = \"claim:role\" }";
    let gateway = Gateway::start_in(directory, &asking(&backend, &text, route)).await;
    let key = |key: &str| Dial::new("/").header("x-api-key", key);
    assert_eq!(opens(key("wrong"), &gateway).await.err(), Some(401));
    assert_eq!(opens(Dial::new("/"), &gateway).await.err(), Some(401));
    assert_eq!(backend.accepted(), 0);
    opens(key("key-of-a-bot"), &gateway)
        .await
        .unwrap()
        .close()
        .await;
    let seen = backend.last_seen();
    assert_eq!(seen.header("sessile-subject"), Some("bot"));
    assert_eq!(
        (seen.header("x-role"), seen.header("x-api-key")),
        (Some("robot"), None)
    );
    opens(key("key-in-a-file"), &gateway)
        .await
        .unwrap()
        .close()
        .await;
    assert_eq!(
        backend.last_seen().header("sessile-subject"),
        Some("cron job")
    );
}

#[tokio::test]
async fn passwords_are_verified_beside_the_sessions() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let argon2 = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$";
    let bcrypt = bcrypt::hash("open sesame", 5).unwrap();
    std::fs::write(directory.path().join("users"), format!("ann:{bcrypt}\n")).unwrap();
    let text = "[authenticators.users]\ntype = \"basic\"\nhtpasswd = \"users\"\nrealm = \"edge\"";
    let gateway = Gateway::start_in(directory, &asking(&backend, text, "")).await;
    let basic = |pair: &str| {
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair);
        Dial::new("/").header("authorization", &format!("Basic {encoded}"))
    };
    for wrong in ["ann:open", "bob:open sesame", "ann:"] {
        let refused = basic(wrong).connect(gateway.address()).await.err().unwrap();
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(
            refused.headers["www-authenticate"],
            "Basic realm=\"edge\", charset=\"UTF-8\""
        );
    }
    assert_eq!(backend.accepted(), 0);
    for _ in 0..3 {
        opens(basic("ann:open sesame"), &gateway)
            .await
            .unwrap()
            .close()
            .await;
    }
    assert_eq!(backend.last_seen().header("sessile-subject"), Some("ann"));
    // And a file that holds no such thing is refused whole, without a word of what is in it.
    std::fs::write(
        gateway.directory().join("users"),
        format!("ann:hunter2\nbob:{argon2}\n"),
    )
    .unwrap();
    let refused = gateway.reload();
    assert_eq!(refused.status, 422);
    assert!(
        refused.body.contains("users:1") && !refused.body.contains("hunter2"),
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn a_ticket_opens_one_session_for_a_page_that_is_logged_in() {
    let backend = Backend::echo().await;
    let tickets = format!(
        "[authenticators.pages]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nfrom = [\"cookie:login\"]\n\n\
         [authenticators.users]\ntype = \"signed_url\"\nsecret = \"{SECRET}{SECRET}\"\n\
         mint = \"/ws-ticket\"\nmint_for = [\"pages\"]\nstrip = true"
    );
    let gateway = Gateway::start(&asking(&backend, &tickets, "expiry = { leeway = \"0s\" }")).await;
    let login = token(&json!({ "sub": "ann", "exp": in_seconds(4), "role": "guest" }));
    let cookie = format!("login={login}");
    assert_eq!(post(&gateway, "/ws-ticket", &[]).await.status, 401);
    let got = http::get(gateway.address(), "/ws-ticket", &[("cookie", &cookie)]).await;
    assert_eq!(got.status, 405);
    let answer = post(&gateway, "/ws-ticket", &[("cookie", &cookie)]).await;
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, Some("no-store"))
    );
    let ticket = json_of(&answer)["ticket"].as_str().unwrap().to_owned();
    let with = |ticket: &str| Dial::new(&format!("/?ticket={ticket}&k=1"));
    let mut client = opens(with(&ticket), &gateway).await.unwrap();
    let seen = backend.last_seen();
    assert_eq!(
        (&*seen.target, seen.header("sessile-subject")),
        ("/?k=1", Some("ann"))
    );
    assert_eq!(
        opens(with(&ticket), &gateway).await.err(),
        Some(401),
        "used twice"
    );
    assert_eq!(opens(with("e30.e30"), &gateway).await.err(), Some(401));
    // The session ends with the login that the ticket was given for.
    assert_eq!(client.end().await.unwrap().0, 3000);
    let log =
        gateway.log() + &std::fs::read_to_string(gateway.directory().join("access.log")).unwrap();
    assert!(!log.contains(&ticket));
}

#[tokio::test]
async fn a_decision_of_the_service_is_cached_as_long_as_it_allows() {
    let backend = Backend::echo().await;
    let (asked, mut heard) = tokio::sync::mpsc::channel(64);
    let service = Backend::scripted(move |mut stream| {
        let asked = asked.clone();
        async move {
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let answer = if head.contains("letmein") {
                "200 OK\r\nx-auth-subject: ann\r\nx-plan: gold"
            } else if head.contains("broken") {
                "500 Oops"
            } else if head.contains("forbidden") {
                "403 No"
            } else {
                "401 Who"
            };
            asked.send(head).await.ok();
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let text = format!(
        "[authenticators.users]\ntype = \"forward\"\nurl = \"http://{}/decide\"\n\
         response_headers = [\"x-plan\"]\ncache = \"1m\"",
        service.address
    );
    let gateway = Gateway::start(&asking(&backend, &text, "")).await;
    let dial = |word: &str| {
        Dial::new("/room?q=1")
            .header("authorization", word)
            .header("x-plan", "platinum")
    };
    assert_eq!(opens(dial("no"), &gateway).await.err(), Some(401));
    assert_eq!(opens(dial("forbidden"), &gateway).await.err(), Some(403));
    assert_eq!(opens(dial("broken"), &gateway).await.err(), Some(503));
    assert_eq!(opens(Dial::new("/"), &gateway).await.err(), Some(401));
    assert_eq!(backend.accepted(), 0);
    for _ in 0..3 {
        opens(dial("letmein"), &gateway)
            .await
            .unwrap()
            .close()
            .await;
        let seen = backend.last_seen();
        assert_eq!(seen.header("sessile-subject"), Some("ann"));
        assert_eq!(seen.header("x-plan"), Some("gold"));
    }
    let mut questions = Vec::new();
    while let Ok(head) = heard.try_recv() {
        questions.push(head);
    }
    assert_eq!(questions.len(), 4, "{questions:?}");
    let last = questions.last().unwrap();
    assert!(last.starts_with("GET /decide HTTP/1.1\r\n"), "{last}");
    assert!(last.contains("x-forwarded-uri: /room?q=1\r\n"), "{last}");
    assert!(!last.contains("x-plan"), "{last}");
    drop(service);
    assert_eq!(opens(dial("new"), &gateway).await.err(), Some(503));
}

#[tokio::test]
async fn a_new_credential_extends_a_session_of_the_same_subject() {
    let backend = Backend::echo().await;
    let route = "expiry = { leeway = \"0s\" }\nrenew = \"/renew\"";
    let gateway = Gateway::start(&asking(&backend, JWT, route)).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let short = bearer(&token(&json!({ "sub": "ann", "exp": in_seconds(3) })));
    let dial = || Dial::new("/").header("authorization", &short);
    let mut renewed = opens(dial(), &gateway).await.unwrap();
    let id = backend
        .last_seen()
        .header("sessile-session")
        .unwrap()
        .to_owned();
    let mut operated = opens(dial(), &gateway).await.unwrap();
    let other = backend
        .last_seen()
        .header("sessile-session")
        .unwrap()
        .to_owned();
    let mut ended = opens(dial(), &gateway).await.unwrap();

    let longer = bearer(&token(&claims("ann")));
    let target = format!("/renew?session={id}");
    let of_bob = bearer(&token(&claims("bob")));
    assert_eq!(
        post(&gateway, &target, &[("authorization", &of_bob)])
            .await
            .status,
        404
    );
    assert_eq!(post(&gateway, &target, &[]).await.status, 401);
    let answer = post(&gateway, &target, &[("authorization", &longer)]).await;
    assert_eq!(
        (answer.status, &json_of(&answer)["renewed"]),
        (200, &json!(1))
    );
    let answer = gateway.admin(
        "PATCH",
        &format!("/v1/sessions/{other}"),
        "{\"expires\":null}",
    );
    assert_eq!(
        (answer.status, &answer.json()["expires"]),
        (200, &Value::Null)
    );

    assert_eq!(ended.end().await.unwrap().0, 3000);
    // Other workers look for expired rights a little later.
    run_out(Duration::from_millis(300)).await;
    renewed.echo("renewed").await;
    operated.echo("too").await;
    renewed.close().await;
    operated.close().await;
}

#[tokio::test]
async fn what_is_revoked_ends_on_every_worker_and_does_not_come_back() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&asking(&backend, JWT, "")).await;
    let bearer = |claims: &Value| {
        Dial::new("/").header("authorization", &format!("Bearer {}", token(claims)))
    };
    let ann = json!({ "sub": "ann", "exp": in_seconds(600), "iat": in_seconds(-60), "jti": "t1" });
    let bob = json!({ "sub": "bob", "exp": in_seconds(600), "jti": "t2" });
    let mut anns = Vec::new();
    for _ in 0..6 {
        anns.push(opens(bearer(&ann), &gateway).await.unwrap());
    }
    let mut bobs = opens(bearer(&bob), &gateway).await.unwrap();
    let workers: std::collections::HashSet<_> = gateway
        .sessions()
        .iter()
        .map(|one| one["worker"].to_string())
        .collect();
    assert_eq!(workers.len(), 2, "the sessions are on one worker");

    let revoke = |body: Value| gateway.admin("POST", "/v1/revocations", &body.to_string());
    let before = humantime_of(in_seconds(-1));
    let made =
        revoke(json!({ "id": "r1", "subject": "ann", "issued_before": before, "ttl": "1h" }));
    assert_eq!(
        (made.status, &made.json()["closed"]),
        (201, &json!(6)),
        "{}",
        made.body
    );
    for client in &mut anns {
        let end = client.end().await.unwrap();
        assert_eq!(end, (3000, "credential revoked".to_owned()));
    }
    assert_eq!(opens(bearer(&ann), &gateway).await.err(), Some(401));
    // A user who has signed in again is admitted.
    let anew = json!({ "sub": "ann", "exp": in_seconds(600), "iat": in_seconds(5), "jti": "t3" });
    opens(bearer(&anew), &gateway).await.unwrap().close().await;
    bobs.echo("still here").await;

    let made = revoke(json!({ "token_id": "t2" }));
    assert_eq!((made.status, &made.json()["closed"]), (201, &json!(1)));
    assert_eq!(bobs.end().await.unwrap().0, 3000);
    assert_eq!(opens(bearer(&bob), &gateway).await.err(), Some(401));
    let listed = gateway.get("/v1/revocations");
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        gateway.admin("DELETE", "/v1/revocations/r1", "").status,
        200
    );
    assert_eq!(
        gateway.admin("DELETE", "/v1/revocations/r1", "").status,
        404
    );
    opens(bearer(&ann), &gateway).await.unwrap().close().await;

    gateway.wait_until_idle().await;
    let mut one = opens(bearer(&anew), &gateway).await.unwrap();
    let id = gateway.sessions()[0]["id"].clone();
    assert_eq!(revoke(json!({ "session": id })).json()["closed"], 1);
    assert_eq!(one.end().await.unwrap().0, 3000);
    for wrong in [
        json!({}),
        json!({ "subject": "a", "token_id": "b" }),
        json!({ "subject": "a", "ttl": "x" }),
    ] {
        assert_eq!(revoke(wrong).status, 400);
    }
    let records = gateway.wait_for_records(10).await;
    assert_eq!(
        records.iter().filter(|one| one.cause == "revoked").count(),
        8
    );
}

fn humantime_of(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
