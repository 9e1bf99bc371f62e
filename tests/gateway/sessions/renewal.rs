//! A right that ends while its session lives: the client is warned, and renews it from within.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::raw::{Raw, masked};
use crate::support::time::pace;
use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

const RENEWAL: &str = r#"expiry.renewal = "renew "
expiry.renewed = '{"renewed":{seconds}}'
expiry.refused = '{"refused":"{reason}"}'
expiry.leeway = "0s""#;

fn text(backends: &[&Backend], route: &str) -> String {
    let backends: Vec<_> = backends.iter().map(|one| one.address).collect();
    format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n")
        + &config::echo(
            &backends,
            "passive = { failures = 0 }",
            &format!("authenticate = [\"users\"]\n{route}"),
        )
}

fn credential(subject: &str, seconds: i64) -> String {
    token(&json!({ "sub": subject, "exp": in_seconds(seconds) }))
}

async fn connect(gateway: &Gateway, seconds: i64) -> Client {
    let bearer = format!("Bearer {}", credential("ann", seconds));
    let dial = Dial::new("/?k=1").header("authorization", &bearer);
    dial.connect(gateway.address())
        .await
        .map_err(drop)
        .expect("let in")
}

async fn notice(client: &mut Client) -> Value {
    let message = client.receive_text().await;
    serde_json::from_str(&message).unwrap_or_else(|error| panic!("{message}: {error}"))
}

fn expires(gateway: &Gateway) -> String {
    let sessions = gateway.sessions();
    sessions[0]["expires"].as_str().expect("a time").to_owned()
}

/// The session goes on beyond this many seconds.
async fn outlives(client: &mut Client, seconds: u64) {
    for second in 0..=seconds {
        pace(Duration::from_secs(1)).await;
        client.echo(&format!("second {second}")).await;
    }
}

#[tokio::test]
async fn a_client_is_warned_before_its_right_ends() {
    let backend = Backend::echo().await;
    let route = "renew = \"/renew\"\n[routes.expiry]\nleeway = \"0s\"\nwarn = \"60s\"\n\
                 warning = '{\"type\":\"expiring\",\"in\":{seconds}}'";
    let gateway = Gateway::start(&text(&[&backend], route)).await;
    let mut client = connect(&gateway, 4).await;
    let warning = notice(&mut client).await;
    assert_eq!(warning["type"], "expiring");
    let left = warning["in"].as_u64().expect("a number");
    assert!((1..=4).contains(&left), "{warning}");
    assert_eq!(backend.received(), 0, "it is the client's alone");
    client.echo("still here").await;
    let end = client.end().await;
    assert_eq!(end, Some((3000, "credential expired".to_owned())));

    gateway.wait_for_records(1).await;

    // One that has time yet is not warned, until an operator changes that.
    let mut client = connect(&gateway, 600).await;
    client.echo("not yet").await;
    let id = gateway.sessions()[0]["id"].as_str().unwrap().to_owned();
    let soon = std::time::SystemTime::now() + Duration::from_secs(30);
    let body = json!({ "expires": humantime::format_rfc3339(soon).to_string() });
    let answer = gateway.admin("PATCH", &format!("/v1/sessions/{id}"), &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(notice(&mut client).await["type"], "expiring");
    client.close().await;
}

#[tokio::test]
async fn i7_a_session_is_renewed_by_a_message_that_no_backend_sees() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&text(&[&backend], RENEWAL)).await;
    let mut client = connect(&gateway, 5).await;
    client.echo("before").await;
    let (before, received) = (expires(&gateway), backend.received());
    for (message, reason) in [
        (credential("bob", 600), "other_subject"),
        (credential("ann", -60), "expired"),
        ("nonsense".to_owned(), "malformed"),
    ] {
        client.send(Message::text(format!("renew {message}"))).await;
        assert_eq!(notice(&mut client).await, json!({ "refused": reason }));
    }
    assert_eq!(expires(&gateway), before, "what is refused changes nothing");
    let renewal = format!("renew {}", credential("ann", 600));
    client.send(Message::text(renewal)).await;
    let left = notice(&mut client).await["renewed"]
        .as_u64()
        .expect("a number");
    assert!((590..=600).contains(&left), "{left}");
    assert!(expires(&gateway) > before);
    assert_eq!(
        backend.received(),
        received,
        "a backend saw something of it"
    );
    outlives(&mut client, 5).await;
    let count = |outcome: &str| {
        let labels = [&*format!("outcome=\"{outcome}\"")];
        gateway.metric("sessile_authentications_total", &labels)
    };
    assert_eq!((count("other_subject"), count("expired")), (1.0, 1.0));
    // With the handshake.
    assert_eq!(count("ok"), 2.0);
    client.close().await;
}

#[tokio::test]
async fn i7_a_renewal_has_to_meet_the_conditions_of_its_route() {
    let backend = Backend::echo().await;
    let route = format!(
        "path = \"/ws/{{room}}\"\nauthorize = [\"path:room in claim:rooms\"]\n\
         renew = \"/renew\"\n{RENEWAL}"
    );
    let gateway = Gateway::start(&text(&[&backend], &route)).await;
    let of = |room: &str, seconds| {
        let claims = json!({ "sub": "ann", "exp": in_seconds(seconds), "rooms": [room] });
        token(&claims)
    };
    let bearer = format!("Bearer {}", of("blue room", 60));
    let dial = Dial::new("/ws/blue%20room?k=1").header("authorization", &bearer);
    let client = dial.connect(gateway.address()).await;
    let mut client = client.map_err(drop).expect("let in");
    let before = expires(&gateway);
    let renewal = format!("renew {}", of("red", 600));
    client.send(Message::text(renewal)).await;
    assert_eq!(
        notice(&mut client).await,
        json!({ "refused": "insufficient" })
    );
    let outside = async |room: &str| {
        let bearer = format!("authorization: Bearer {}\r\n", of(room, 600));
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(format!(
            "POST /renew HTTP/1.1\r\nhost: a\r\n{bearer}content-length: 0\r\n\r\n"
        ))
        .await;
        raw.read_head().await
    };
    assert!(outside("red").await.starts_with("HTTP/1.1 404"));
    assert_eq!(expires(&gateway), before, "what is refused changes nothing");
    assert!(outside("blue room").await.starts_with("HTTP/1.1 200"));
    assert!(expires(&gateway) > before);
    let renewal = format!("renew {}", of("blue room", 700));
    client.send(Message::text(renewal)).await;
    assert!(notice(&mut client).await["renewed"].is_number());
    client.close().await;
}

#[tokio::test]
async fn a_renewal_that_is_refused_ends_nothing_before_its_time() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&text(&[&backend], RENEWAL)).await;
    let mut client = connect(&gateway, 3).await;
    client.send(Message::text("renew nothing")).await;
    assert_eq!(notice(&mut client).await["refused"], "malformed");
    client.echo("goes on").await;
    let end = client.end().await;
    assert_eq!(end, Some((3000, "credential expired".to_owned())));
}

#[tokio::test]
async fn nothing_is_compressed_where_messages_are_looked_at() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&text(&[&backend], RENEWAL)).await;
    let bearer = format!("Bearer {}", credential("ann", 60));
    let dial = Dial::new("/")
        .header("authorization", &bearer)
        .header("sec-websocket-extensions", "permessage-deflate");
    let client = dial
        .connect(gateway.address())
        .await
        .map_err(drop)
        .expect("in");
    assert_eq!(client.header("sec-websocket-extensions"), None);
    let seen = backend.last_seen();
    assert_eq!(seen.header("sec-websocket-extensions"), None);
    client.close().await;
}

#[tokio::test]
async fn i7_a_renewal_in_a_form_that_is_not_taken_ends_the_session_before_the_backend_sees_it() {
    let backend = Backend::echo().await;
    let route = format!("{RENEWAL}\nexpiry.renewal_bytes = \"1 KiB\"");
    let gateway = Gateway::start(&text(&[&backend], &route)).await;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {}\r\n\r\n",
        credential("ann", 60)
    );
    let long = [b"renew ".as_slice(), &[b't'; 2000]].concat();
    let cases = [
        (
            [masked(0x01, b"ren"), masked(0x80, b"ew abc")].concat(),
            1008_u16,
        ),
        (masked(0x81, &long), 1009),
    ];
    for (number, (bytes, code)) in cases.into_iter().enumerate() {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(&upgrade).await;
        raw.read_head().await;
        let before = backend.received();
        // Byte by byte is how the worst network brings it.
        for byte in bytes {
            raw.write([byte]).await;
        }
        let end = raw.read_to_end().await;
        assert_eq!(
            (end[0], &end[2..4]),
            (0x88, &code.to_be_bytes()[..]),
            "{end:?}"
        );
        assert_eq!(backend.received(), before);
        let records = gateway.wait_for_records(number + 1).await;
        assert_eq!(records[number].ended_by, "gateway");
    }
}

#[tokio::test]
async fn renewal_and_warning_go_along_to_the_next_process_and_the_next_backend() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let route = format!(
        "on_backend_loss = \"reconnect\"\n{RENEWAL}\nexpiry.warn = \"60s\"\n\
         expiry.warning = '{{\"in\":{{seconds}}}}'"
    );
    let mut gateway = Gateway::start_with_handover(&text(&[&first, &second], &route)).await;
    let mut client = connect(&gateway, 120).await;
    client.echo("before").await;
    let next = gateway.succeed().await;
    gateway.wait_for_exit().await;
    client
        .send(Message::text(format!("renew {}", credential("ann", 70))))
        .await;
    assert!(notice(&mut client).await["renewed"].is_u64());

    let at = client.backend().await;
    let (old, other) = match at == first.address {
        true => (first, second),
        false => (second, first),
    };
    old.stop().await;
    eventually("the other has it", async || other.live() == 1).await;
    client
        .send(Message::text(format!("renew {}", credential("ann", 30))))
        .await;
    // Less than a minute: the warning comes with it, in either order.
    let both = [notice(&mut client).await, notice(&mut client).await];
    assert!(both.iter().any(|one| one["renewed"].is_u64()), "{both:?}");
    assert!(both.iter().any(|one| one["in"].is_u64()), "{both:?}");
    assert_eq!(client.backend().await, other.address);
    client.close().await;
    drop(next);
}
