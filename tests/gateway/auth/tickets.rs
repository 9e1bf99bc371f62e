//! Tickets in URLs that an application makes by itself. It has the secret and nothing of the
//! gateway: what binds them, and for how long.

use std::collections::HashSet;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Dial, Gateway, config};

/// As docs and `src/core/auth/ticket.rs` describe it: payload and HMAC-SHA256 in base64url.
fn ticket(secret: &str, payload: &Value) -> String {
    let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, payload.as_bytes());
    format!("{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

fn text(backend: &Backend, more: &str) -> String {
    format!("[authenticators.tickets]\ntype = \"signed_url\"\nsecret = \"{SECRET}\"\n{more}\n\n")
        + &config::echo(&[backend.address], "", "authenticate = [\"tickets\"]\n")
}

async fn gateway(backend: &Backend) -> Gateway {
    Gateway::start(&text(backend, "")).await
}

/// 101, or the reason of the refusal in the record.
async fn opens(gateway: &Gateway, path: &str, ticket: &str) -> Result<(), String> {
    let dial = Dial::new(&format!("{path}?ticket={ticket}"));
    match dial.connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            Ok(())
        }
        Err(refused) => {
            assert_eq!(refused.status, 401, "{}", refused.body);
            Err(gateway.detail_of(&refused.body).await)
        }
    }
}

/// A good one but for this change.
fn with(more: Value) -> String {
    let mut payload = json!({ "sub": "ann", "exp": in_seconds(60) });
    let more = more.as_object().unwrap().clone();
    payload.as_object_mut().unwrap().extend(more);
    ticket(SECRET, &payload)
}

#[tokio::test]
async fn a_ticket_is_good_once_in_its_time_on_its_path_and_whole() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let whole = with(json!({ "jti": "whole" }));
    let (payload, tag) = whole.split_once('.').unwrap();
    let forged = json!({ "sub": "root", "exp": in_seconds(60), "jti": "whole" }).to_string();
    let forged = BASE64_URL_SAFE_NO_PAD.encode(forged);
    let other = "another-secret-that-is-long-enough-0123";
    let stranger = json!({ "sub": "ann", "exp": in_seconds(60), "jti": "s" });
    let stranger = ticket(other, &stranger);
    let (elsewhere, a) = ("another audience", json!({ "jti": "p", "path": "/a" }));
    let cases = [
        ("/", format!("{forged}.{tag}"), "signature is not valid"),
        ("/", stranger, "signature is not valid"),
        ("/", format!("{payload}."), "signature is not valid"),
        ("/", format!("{payload}.{}", &tag[..42]), ""),
        ("/", payload.to_owned(), "malformed"),
        // A token is no ticket, although its secret is the tickets'.
        (
            "/",
            token(&json!({ "sub": "ann", "exp": in_seconds(60), "jti": "1" })),
            "malformed",
        ),
        (
            "/",
            with(json!({ "jti": "old", "exp": in_seconds(-1) })),
            "expired",
        ),
        ("/b", with(a.clone()), elsewhere),
        ("/a/b", with(a.clone()), elsewhere),
        ("/", with(json!({ "jti": "p", "path": 7 })), elsewhere),
        ("/", with(json!({})), "malformed"),
        ("/", with(json!({ "jti": "" })), "malformed"),
        ("/", with(json!({ "jti": "x", "exp": "soon" })), "no expiry"),
        (
            "/",
            with(json!({ "jti": "x", "sub": "" })),
            "names no subject",
        ),
        (
            "/",
            with(json!({ "jti": "x", "pad": "x".repeat(8 << 10) })),
            "too large",
        ),
    ];
    for (path, ticket, why) in cases {
        let refusal = opens(&gateway, path, &ticket).await.err();
        let refusal = refusal.unwrap_or_else(|| panic!("let in: {path} {ticket}"));
        assert!(refusal.contains(why), "{path} {ticket}: {refusal}");
    }
    assert_eq!(backend.accepted(), 0, "a backend was connected to");
    // Nothing of that has used them up.
    opens(&gateway, "/", &whole).await.unwrap();
    assert_eq!(backend.last_seen().header("sessile-subject"), Some("ann"));
    let bound = with(a);
    opens(&gateway, "/a", &bound).await.unwrap();
    for ticket in [whole, bound, with(json!({ "jti": "p", "sub": "bob" }))] {
        let refusal = opens(&gateway, "/a", &ticket).await.unwrap_err();
        assert!(refusal.contains("used before"), "{refusal}");
    }
}

#[tokio::test]
async fn of_many_who_bring_one_ticket_at_once_one_is_let_in() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let payload = json!({ "sub": "ann", "exp": in_seconds(60), "jti": "race" });
    let target = format!("/?ticket={}", ticket(SECRET, &payload));
    let mut race = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (address, dial) = (gateway.address(), Dial::new(&target));
        race.spawn(async move {
            match dial.connect(address).await {
                Ok(client) => {
                    client.close().await;
                    101
                }
                Err(refused) => refused.status,
            }
        });
    }
    let mut answers = race.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers[0], 101);
    let rest: HashSet<_> = answers[1..].iter().collect();
    assert_eq!(rest, HashSet::from([&401]), "{answers:?}");
    // And a reload makes no used ticket good again.
    let before = backend.accepted();
    gateway.write_config(&text(&backend, "leeway = \"1s\""));
    let report = gateway.reload();
    assert_eq!(report.json()["swapped"], true, "{}", report.body);
    let again = Dial::new(&target).connect(gateway.address()).await;
    assert_eq!(again.err().map(|refused| refused.status), Some(401));
    assert_eq!(backend.accepted(), before);
}
