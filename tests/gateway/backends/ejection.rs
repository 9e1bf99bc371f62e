//! Which failures put a backend out, and how soon it is back.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::backend::read_head;
use crate::support::{Backend, Dial, Gateway, config, eventually};
use tokio::io::AsyncWriteExt as _;

const LISTENER: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
                        trusted_proxies = [\"127.0.0.0/8\"]\n\n";

/// A gateway that believes what the clients say about their addresses.
async fn gateway(backends: &[&Backend], upstream: &str) -> Gateway {
    let addresses: Vec<_> = backends.iter().map(|one| one.address).collect();
    let mut text = LISTENER.to_owned();
    write!(text, "{}", config::echo(&addresses, upstream, "")).unwrap();
    Gateway::start(&text).await
}

/// A backend that does this with each handshake.
async fn failing(answer: &'static str) -> Backend {
    Backend::scripted(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// A handshake from this address.
async fn handshake(gateway: &Gateway, from: &str, key: usize) -> u16 {
    let dial = Dial::new(&format!("/?k={key}")).header("x-forwarded-for", from);
    match dial.connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            101
        }
        Err(refused) => refused.status,
    }
}

fn is_ejected(gateway: &Gateway, backend: &Backend) -> bool {
    !gateway.backend("echo", backend.address)["ejected"].is_null()
}

#[tokio::test]
async fn i12_one_client_does_not_eject_a_backend_and_several_do() {
    for answer in [
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: nonsense\r\n\r\n",
    ] {
        let (bad, good) = (failing(answer).await, Backend::echo().await);
        let upstream = "attempts = 1\npassive = { failures = 5, ejection = \"60s\" }";
        let gateway = gateway(&[&bad, &good], upstream).await;
        // One network is one client, whatever its keys.
        for key in 0..40 {
            let from = format!("203.0.113.{}", key + 1);
            handshake(&gateway, &from, key).await;
        }
        assert!(!is_ejected(&gateway, &bad), "{answer:?}");
        for key in 0..40 {
            let from = format!("198.51.{key}.1");
            handshake(&gateway, &from, key).await;
        }
        assert!(is_ejected(&gateway, &bad), "{answer:?}");
    }
}

#[tokio::test]
async fn a_killed_backend_is_back_one_probe_after_it_returned() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let upstream = "passive = { failures = 2, ejection = \"300s\", ejection_max = \"300s\" }\n\
                    probe = { type = \"websocket\", interval = \"2s\", timeout = \"1s\" }";
    let gateway = gateway(&[&first, &second], upstream).await;
    gateway
        .wait_for_health("echo", first.address, "healthy")
        .await;
    let address = first.stop().await;
    let ejected = || !gateway.backend("echo", address)["ejected"].is_null();
    eventually("it is ejected", async || {
        for key in 0..8 {
            handshake(&gateway, "203.0.113.1", key).await;
        }
        ejected()
    })
    .await;
    gateway.wait_for_health("echo", address, "unhealthy").await;
    let first = Backend::echo_at(address).await;
    let back = Instant::now();
    eventually("keys are home again", async || {
        for key in 0..8 {
            handshake(&gateway, "203.0.113.1", key).await;
        }
        first.accepted() > 2 && !ejected()
    })
    .await;
    // An ejection of five minutes did not hold it back. How quick it was is printed.
    eprintln!("keys were home again after {:?}", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(60));
}
