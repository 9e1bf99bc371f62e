//! From a request for an upgrade to its 101, or to an honest refusal.

use crate::support::backend::{read_head, switching, wait_for_end};
use crate::support::raw::{ACCEPT, UPGRADE, masked, unmasked};
use crate::support::{Backend, Client, Dial, Gateway, Raw, config, eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn gateway(backend: &Backend, route: &str) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", route)).await
}

#[tokio::test]
async fn a_session_is_a_session() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address(), "/any?k=1").await;
    client.echo("hello").await;
    assert_eq!(gateway.sessions_live(), 1);
    assert_eq!(backend.last_seen().target, "/any?k=1");
    client.close().await;
    gateway.wait_until_idle().await;
    assert_eq!(backend.ends(), [Some((1000, String::new()))]);
}

#[tokio::test]
async fn headers_of_the_handshake_pass_both_ways() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let dial = Dial::new("/")
        .header("sec-websocket-protocol", "chat.v0, chat.v2")
        .header("x-mine", "kept")
        .header(
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        );
    let client = dial.connect(gateway.address()).await.unwrap();
    assert_eq!(client.header("sec-websocket-protocol"), Some("chat.v2"));
    assert_eq!(client.header("x-from-backend"), Some("yes"));
    let seen = backend.last_seen();
    assert_eq!(
        seen.header("sec-websocket-protocol"),
        Some("chat.v0, chat.v2")
    );
    assert_eq!(seen.header("x-mine"), Some("kept"));
    let offered = seen.header("sec-websocket-extensions");
    assert_eq!(offered, Some("permessage-deflate; client_max_window_bits"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
    assert!(seen.header("x-request-id").is_some());
    assert!(seen.header("sessile-session").is_some());
}

#[tokio::test]
async fn i9_a_refusal_is_an_ordinary_response_on_an_ordinary_connection() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    backend.refuse_with(403);
    let refused = Dial::new("/")
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (403, "no"));

    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(UPGRADE).await;
    assert_eq!(raw.status().await, Some(403));
    assert_eq!(raw.read(2).await, b"no");
    raw.write("GET /status/200 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(raw.status().await, Some(200));
}

#[tokio::test]
async fn i9_a_101_that_is_none_tunnels_nothing() {
    let good = switching(UPGRADE);
    assert!(good.contains(ACCEPT));
    let lies = [
        good.replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        good.replace(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n"), ""),
        good.replace("HTTP/1.1", "HTTP/1.0"),
        good.replace("Upgrade: websocket\r\n", ""),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Connection: Upgrade\r\n", ""),
        "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Content-Length: 0\r\n\r\n"
            .to_owned(),
    ];
    for lie in lies {
        let lines = lie.clone();
        let backend = Backend::scripted(move |mut stream| {
            let lines = lines.clone();
            async move {
                read_head(&mut stream).await;
                stream.write_all(lines.as_bytes()).await.ok();
                stream.write_all(&unmasked(0x81, b"secret")).await.ok();
                wait_for_end(&mut stream).await;
            }
        })
        .await;
        let gateway = gateway(&backend, "").await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE.replace("Host", "Connection: close\r\nHost"))
            .await;
        let head = raw.read_head().await;
        assert!(
            !head.starts_with("HTTP/1.1 101"),
            "{lie} was taken for an upgrade: {head}"
        );
        if !lie.contains(" 200 ") {
            assert!(head.starts_with("HTTP/1.1 502"), "{lie} gave {head}");
        }
    }
}

#[tokio::test]
async fn bytes_right_behind_either_head_arrive() {
    let backend = Backend::scripted(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let mut answer = switching(&head).into_bytes();
        answer.extend(unmasked(0x81, b"early"));
        stream.write_all(&answer).await.unwrap();
        let mut frame = [0; 11];
        stream.read_exact(&mut frame).await.unwrap();
        let text = &frame[6..];
        stream.write_all(&unmasked(0x81, text)).await.unwrap();
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write([UPGRADE.as_bytes(), &masked(0x81, b"eager")].concat())
        .await;
    assert_eq!(raw.status().await, Some(101));
    assert_eq!(raw.read(7).await, unmasked(0x81, b"early"));
    assert_eq!(raw.read(7).await, unmasked(0x81, b"eager"));
}

#[tokio::test]
async fn invalid_upgrades_are_refused_with_a_reason() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let cases = [
        (UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (
            UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            400,
        ),
        (UPGRADE.replace("Version: 13", "Version: 8"), 426),
        (UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", ""), 426),
        (UPGRADE.replace("GET /", "POST /"), 400),
    ];
    for (request, status) in cases {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(&request).await;
        let head = raw.read_head().await;
        assert_eq!(
            head.split(' ').nth(1),
            Some(status.to_string().as_str()),
            "{request}\n{head}"
        );
        if status == 426 {
            assert!(
                head.to_ascii_lowercase()
                    .contains("sec-websocket-version: 13"),
                "{head}"
            );
        }
    }
    assert_eq!(backend.seen().len(), 0, "a backend saw an invalid upgrade");
}

#[tokio::test]
async fn an_upgrade_over_http_1_0_is_an_ordinary_request() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(UPGRADE.replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(raw.status().await, Some(200));
    let seen = backend.last_seen();
    assert_eq!((seen.upgrade, seen.header("upgrade")), (false, None));
    assert_eq!(gateway.sessions_live(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_during_the_handshake_leaves_nothing_behind() {
    let backend = Backend::scripted(|mut stream| async move {
        // Never answers; ends as the gateway hangs up.
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = gateway(&backend, "timeouts = { handshake = \"60s\" }").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(UPGRADE).await;
    eventually("the backend is asked", async || backend.accepted() == 1).await;
    raw.reset();
    eventually("its connection is gone", async || {
        let status = gateway.get("/v1/status");
        let workers = status["workers"].as_array().unwrap().clone();
        workers.iter().all(|worker| worker["connections"] == 0)
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_never_answers_is_a_504_in_time() {
    let backend = Backend::scripted(|mut stream| async move {
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = gateway(&backend, "timeouts = { handshake = \"300ms\" }").await;
    let refused = soon("a refusal", Dial::new("/").connect(gateway.address()))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 504);
    assert!(
        refused.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/problem+json")
    );
}

/// A backend that takes requests and never answers.
async fn silent() -> Backend {
    Backend::scripted(|mut stream| async move {
        read_head(&mut stream).await;
        wait_for_end(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn a_silent_backend_costs_one_attempt_where_the_route_allows_another() {
    let (silent, echo) = (silent().await, Backend::echo().await);
    let timeouts = "timeouts = { attempt = \"100ms\", handshake = \"8s\" }";
    let text = config::echo(&[silent.address, echo.address], "", timeouts);
    let gateway = Gateway::start(&text).await;
    let mut key = 0;
    while silent.accepted() == 0 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(client.backend().await, echo.address);
        client.close().await;
        key += 1;
    }
}

#[tokio::test]
async fn a_silent_backend_has_all_the_time_where_no_other_may_be_asked() {
    let (silent, echo) = (silent().await, Backend::echo().await);
    // The route does not allow for another attempt.
    let timeouts = "timeouts = { handshake = \"300ms\" }";
    let text = config::echo(&[silent.address, echo.address], "", timeouts);
    let gateway = Gateway::start(&text).await;
    let mut key = 0;
    loop {
        let dial = Dial::new(&format!("/?k={key}"));
        match dial.connect(gateway.address()).await {
            Ok(client) => client.close().await,
            Err(refused) => break assert_eq!(refused.status, 504),
        }
        key += 1;
    }
    assert_eq!(echo.accepted(), key, "the request went to one backend");
    drop(gateway);

    // There is no other.
    let timeouts = "timeouts = { attempt = \"50ms\", handshake = \"600ms\" }";
    let gateway = Gateway::start(&config::echo(&[silent.address], "", timeouts)).await;
    let begun = std::time::Instant::now();
    let refused = Dial::new("/").connect(gateway.address()).await.err();
    assert_eq!(refused.map(|refused| refused.status), Some(504));
    assert!(begun.elapsed() >= std::time::Duration::from_millis(600));
    assert_eq!(silent.accepted(), 2);
}
