//! A session lives as long as its right: expiry, refusals that scripts can read, keys that change.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::peers::Language;
use crate::support::tokens::{self, SECRET, claims, in_seconds, token, wanted};
use crate::support::{Backend, Dial, Gateway, config, eventually};

fn secret(backend: &Backend, route: &str) -> String {
    format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n")
        + &config::echo(
            &[backend.address],
            "",
            &format!("authenticate = [\"users\"]\n{route}"),
        )
}

fn bearer(token: &str) -> Dial {
    Dial::new("/").header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn a_session_ends_when_its_credential_does() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&secret(&backend, "expiry = { leeway = \"0s\" }")).await;
    let short = token(&json!({ "sub": "ann", "exp": in_seconds(2) }));
    let mut client = bearer(&short).connect(gateway.address()).await.unwrap();
    let mut other = bearer(&token(&claims("bob")))
        .connect(gateway.address())
        .await
        .unwrap();
    client.echo("still here").await;
    let shown = gateway.sessions();
    assert_eq!(shown[0]["authenticator"], "users");
    assert!(shown[0]["expires"].as_str().unwrap() < shown[1]["expires"].as_str().unwrap());
    let end = client.end().await.unwrap();
    assert_eq!(end, (3000, "credential expired".to_owned()));
    let records = gateway.wait_for_records(1).await;
    assert_eq!(
        (&*records[0].cause, &*records[0].ended_by),
        ("expired", "gateway")
    );
    assert!(records[0].duration_ms > 900.0, "{records:?}");
    other.echo("lives on").await;
    other.close().await;
}

#[tokio::test]
async fn a_script_learns_why_it_is_refused() {
    let backend = Backend::echo().await;
    let route = "reject_with = \"close\"\npath = \"/rooms/{room}\"\n\
                 authorize = [\"path:room in claim:rooms\"]";
    let gateway = Gateway::start(&secret(&backend, route)).await;
    let ann = json!({ "sub": "ann", "rooms": ["7"], "exp": in_seconds(60) });
    let old = json!({ "sub": "ann", "rooms": ["7"], "exp": in_seconds(-60) });
    let cases = [
        (
            "/rooms/7",
            None,
            Some((3000, "no credential was presented")),
        ),
        (
            "/rooms/7",
            Some(token(&old)),
            Some((3000, "the credential is not accepted")),
        ),
        (
            "/rooms/8",
            Some(token(&ann)),
            Some((3003, "the credential does not allow this")),
        ),
        ("/rooms/7", Some(token(&ann)), None),
    ];
    for (path, token, expected) in cases {
        let mut dial = Dial::new(path).header("sec-websocket-protocol", "chat.v1, chat.v2");
        if let Some(token) = &token {
            dial = dial.header("authorization", &format!("Bearer {token}"));
        }
        let mut client = dial.connect(gateway.address()).await.unwrap();
        match expected {
            Some((code, reason)) => {
                // A browser would fail a 101 without one of them.
                assert_eq!(client.header("sec-websocket-protocol"), Some("chat.v1"));
                assert_eq!(client.end().await, Some((code, reason.to_owned())));
                assert_eq!(backend.accepted(), 0, "a backend was connected to");
            }
            None => {
                client.echo("in").await;
                client.close().await;
            }
        }
    }
    for reason in ["credential_missing", "credential_expired"] {
        let reason = format!("reason=\"{reason}\"");
        let refused = gateway.metric("sessile_refusals_total", &[&reason]);
        assert_eq!(refused, 1.0, "{reason}");
    }
    gateway.wait_for_records(1).await;
    // And what is no WebSocket gets the status.
    let answer = crate::support::http::get(gateway.address(), "/rooms/7", &[]).await;
    assert_eq!(answer.status, 401);
}

/// An issuer whose answer can be changed.
struct Issuer {
    server: Backend,
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(jwks: String) -> Self {
        let answer = Arc::new(Mutex::new(Some(jwks)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (current, count) = (Arc::clone(&answer), Arc::clone(&asked));
        let server = Backend::scripted(move |mut stream| {
            let (current, count) = (Arc::clone(&current), Arc::clone(&count));
            async move {
                let mut head = [0; 2048];
                stream.read(&mut head).await.map(drop).ok();
                count.fetch_add(1, Ordering::Relaxed);
                let body = current.lock().unwrap().clone();
                let answer = match body {
                    Some(body) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    None => "HTTP/1.1 500 Down\r\ncontent-length: 0\r\n\r\n".to_owned(),
                };
                stream.write_all(answer.as_bytes()).await.ok();
            }
        })
        .await;
        Self {
            server,
            answer,
            asked,
        }
    }

    fn say(&self, jwks: Option<String>) {
        *self.answer.lock().unwrap() = jwks;
    }

    fn gateway(&self, backend: &Backend, refresh: &str) -> String {
        format!(
            "[authenticators.users]\ntype = \"jwt\"\njwks = \"http://{}/jwks.json\"\n\
             issuer = \"https://id\"\nrefresh = \"{refresh}\"\n\n",
            self.server.address
        ) + &config::echo(&[backend.address], "", "authenticate = [\"users\"]\n")
    }
}

fn issued(key: &str, algorithm: &str) -> serde_json::Value {
    let mut claims = claims("ann");
    claims["iss"] = json!("https://id");
    wanted(algorithm, key, claims)
}

#[tokio::test]
async fn keys_of_an_issuer_outlive_it_and_new_ones_count_at_once() {
    let old = tokens::mint(Language::Python, &[issued("rsa", "RS256")]).await;
    let mut second = issued("p256", "ES256");
    second["headers"] = json!({ "kid": "new" });
    let new = tokens::mint(Language::Python, &[second]).await;
    let issuer = Issuer::start(old.jwks()).await;
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&issuer.gateway(&backend, "1h")).await;
    // The first may come before the keys have been read, and waits for them.
    let client = bearer(&old.tokens[0])
        .connect(gateway.address())
        .await
        .unwrap();
    client.close().await;
    assert!(gateway.metric("sessile_keys_age_seconds", &["users"]) < 60.0);
    let asked = issuer.asked.load(Ordering::Relaxed);

    // Strangers name any key, and cannot make the gateway ask more often than now and then.
    issuer.say(None);
    for _ in 0..3 {
        let refused = bearer(&new.tokens[0])
            .connect(gateway.address())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.status, 401);
    }
    let more = issuer.asked.load(Ordering::Relaxed) - asked;
    assert!(more <= 3, "asked {more} times");
    // Down or not, the keys that were read stay.
    let client = bearer(&old.tokens[0])
        .connect(gateway.address())
        .await
        .unwrap();

    let rotated = new.jwks().replace("\"p256\"", "\"new\"");
    issuer.say(Some(rotated));
    eventually("the new key counts", async || {
        match bearer(&new.tokens[0]).connect(gateway.address()).await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(_) => false,
        }
    })
    .await;
    // The old key is gone, which ends no session (I1).
    let refused = bearer(&old.tokens[0])
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 401);
    client.close().await;
}

#[tokio::test]
async fn rotation_under_load_refuses_no_client() {
    let first = tokens::mint(Language::Node, &[issued("ed", "EdDSA")]).await;
    let mut wanted = issued("ed", "EdDSA");
    wanted["headers"] = json!({ "kid": "ed-2" });
    let second = tokens::mint(Language::Node, &[wanted]).await;
    let issuer = Issuer::start(first.jwks()).await;
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&issuer.gateway(&backend, "500ms")).await;
    let both = {
        let mut old: serde_json::Value = serde_json::from_str(&first.jwks()).unwrap();
        let new = second.jwks().replace("\"ed\"", "\"ed-2\"");
        let new: serde_json::Value = serde_json::from_str(&new).unwrap();
        let more = new["keys"].as_array().unwrap().clone();
        old["keys"].as_array_mut().unwrap().extend(more);
        old.to_string()
    };
    for round in 0..30 {
        if round == 10 {
            issuer.say(Some(both.clone()));
        }
        let mut dials = vec![bearer(&first.tokens[0])];
        if round >= 10 {
            // Signed with a key that the gateway may not have read yet.
            dials.push(bearer(&second.tokens[0]));
        }
        for dial in dials {
            let opened = dial.connect(gateway.address()).await;
            opened.map_err(drop).expect("in").close().await;
        }
    }
}

#[tokio::test]
async fn without_an_issuer_clients_get_503_and_not_401() {
    let minted = tokens::mint(Language::Python, &[issued("rsa", "RS256")]).await;
    let issuer = Issuer::start(minted.jwks()).await;
    issuer.say(None);
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&issuer.gateway(&backend, "1h")).await;
    let refused = bearer(&minted.tokens[0])
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(backend.accepted(), 0);
    issuer.say(Some(minted.jwks()));
    eventually("the issuer is back", async || {
        match bearer(&minted.tokens[0]).connect(gateway.address()).await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(_) => false,
        }
    })
    .await;
}
