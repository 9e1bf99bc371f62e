//! What is known of a session goes along to the next process.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{echo, hand_over};
use crate::support::time::run_out;
use crate::support::tokens::{SECRET, claims, token};
use crate::support::{Backend, Client, Dial, Gateway, config};

/// Sessions of users, each of whom may have two and has them together.
fn of_users(backends: &[SocketAddr]) -> String {
    let route = "authenticate = [\"users\"]\nstick = \"live\"\n\
                 limits = { sessions_per_principal = 2 }";
    format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n{}",
        config::echo(backends, "", route)
    )
}

async fn session_of(gateway: &Gateway, user: &str) -> Result<Client, u16> {
    let bearer = format!("Bearer {}", token(&claims(user)));
    let dial = Dial::new(&format!("/?k={user}")).header("authorization", &bearer);
    let client = dial.connect(gateway.address()).await;
    client.map_err(|refused| refused.status)
}

#[tokio::test]
async fn i6_the_principal_and_the_quotas_of_a_session_are_handed_over() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let mut gateway = Gateway::start_with_handover(&of_users(&[one.address])).await;
    let users: Vec<_> = (0..8).map(|number| format!("user-{number}")).collect();
    let mut clients = Vec::new();
    for user in &users {
        let mut client = session_of(&gateway, user).await.unwrap();
        client.echo("before").await;
        clients.push(client);
    }
    let before = gateway.sessions();
    let began = Instant::now();
    // No limit, but an age that a session which began anew in the next process would not have.
    run_out(Duration::from_secs(1)).await;
    let moving = Instant::now();
    let gateway = hand_over(&mut gateway).await;
    let moving = moving.elapsed();

    let after = gateway.sessions();
    assert_eq!(after.len(), users.len());
    for (was, is) in before.iter().zip(&after) {
        assert!(was["principal"].is_string(), "{was}");
        for what in ["id", "principal", "authenticator", "started", "expires"] {
            assert_eq!(was[what], is[what], "{what}");
        }
        for what in ["route", "upstream", "backend", "client", "to_backend"] {
            assert_eq!(was[what], is[what], "{what}");
        }
    }
    // Their keys, so that later sessions of the same keys can be compared.
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    let body = json!({ "config": config }).to_string();
    let preview = gateway.admin("POST", "/v1/preview", &body).json();
    assert_eq!(preview["sessions"]["keyed"], 8, "{preview}");
    // Bytes that the old process has counted are not counted again.
    let counted = ["direction=\"to_backend\"", "kind=\"text\""];
    assert!(gateway.metric("sessile_messages_total", &counted).abs() < 0.5);

    gateway.write_config(&of_users(&[one.address, two.address]));
    assert_eq!(gateway.reload().status, 200);
    for user in &users {
        let mut second = session_of(&gateway, user).await.unwrap();
        assert_eq!(second.backend().await, one.address, "tabs stay together");
        let third = session_of(&gateway, user).await;
        assert_eq!(third.err(), Some(429), "two are enough");
        second.close().await;
    }
    // The time between two processes is not counted.
    let lived = began.elapsed().saturating_sub(moving);
    for mut client in clients {
        client.echo("after").await;
        client.close().await;
    }
    let records = gateway.wait_for_records(16).await;
    let ids: Vec<_> = before.iter().map(|session| &session["id"]).collect();
    let of_before = records
        .iter()
        .filter(|record| ids.contains(&&json!(record.id)));
    let of_before: Vec<_> = of_before.collect();
    assert_eq!(of_before.len(), users.len());
    for record in of_before {
        assert!(record.principal.is_some(), "{record:?}");
        assert!(record.duration_ms >= lived.as_secs_f64() * 1000.0);
        assert_eq!(record.to_backend.messages("text"), 2);
    }
}

#[tokio::test]
async fn the_rate_of_a_client_is_handed_over() {
    let backend = Backend::echo().await;
    let route = "limits = { messages_per_second = 10 }";
    let text = config::echo(&[backend.address], "", route);
    let mut gateway = Gateway::start_with_handover(&text).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("within").await;
    let gateway = hand_over(&mut gateway).await;
    for _ in 0..200 {
        client.try_send("beyond").await;
    }
    assert_eq!(client.end().await.unwrap().0, 1008);
    gateway.wait_for_records(1).await;
}

#[tokio::test]
async fn a_process_that_takes_over_has_no_admission_ramp() {
    let backend = Backend::echo().await;
    let ramp = "[admission]\nramp = \"1h\"\nfrom = \"1/s\"\nto = \"1/s\"\n\n";
    let text = format!("{ramp}{}", echo(&backend));
    let mut gateway = Gateway::start_with_handover(&text).await;
    let gateway = hand_over(&mut gateway).await;
    for number in 0..50 {
        let client = Dial::new("/").connect(gateway.address()).await;
        let client = client.map_err(|refused| refused.status);
        assert!(client.is_ok(), "{number}: {:?}", client.err());
        client.unwrap().close().await;
    }
}
