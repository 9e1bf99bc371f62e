//! Backends that die, hang, refuse or lie: what clients see, and how soon new sessions go
//! elsewhere.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::support::backend::{upgrade, wait_for_end};
use crate::support::peers::{Language, Server};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http};

/// A listener that believes what clients say about their addresses.
const BELIEVING: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
                         trusted_proxies = [\"127.0.0.0/8\"]\n\n";
/// Keeps every backend in play, so that a test sees one effect at a time.
const NO_PASSIVE: &str = "passive = { failures = 0 }";

/// A backend in a process that can be killed and stopped, and one that stays.
struct Pair {
    mortal: Server,
    other: Backend,
    gateway: Gateway,
}

impl Pair {
    async fn start(upstream: &str, route: &str) -> Self {
        let mortal = Server::start(Language::Node, "server", &[]);
        let other = Backend::echo().await;
        let members = [mortal.address, other.address];
        let gateway = Gateway::start(&config::echo(&members, upstream, route)).await;
        Self {
            mortal,
            other,
            gateway,
        }
    }

    /// A key whose place is the mortal backend.
    async fn key(&self) -> String {
        for number in 0..100 {
            let key = number.to_string();
            let answer = http::get(self.gateway.address(), &format!("/?k={key}"), &[]).await;
            if answer.text() != self.other.address.to_string() {
                return key;
            }
        }
        panic!("no key of a hundred belongs to the backend");
    }

    async fn connect(&self, key: &str) -> Client {
        Client::connect(self.gateway.address(), &format!("/?k={key}")).await
    }
}

#[tokio::test]
async fn a_killed_backend_is_a_1011_with_a_reason_and_others_take_over_at_once() {
    let pair = Pair::start(NO_PASSIVE, "").await;
    let key = pair.key().await;
    let mut client = pair.connect(&key).await;
    client.echo("hello").await;
    let start = Instant::now();
    pair.mortal.signal(Signal::KILL);
    let (code, reason) = client
        .end()
        .await
        .expect("a close frame, not a bare disconnect");
    let told_after = start.elapsed();
    assert_eq!(code, 1011);
    assert!(!reason.is_empty());
    let mut next = pair.connect(&key).await;
    assert_eq!(next.backend().await, pair.other.address);
    let elsewhere_after = start.elapsed();
    eprintln!("SIGKILL: client told after {told_after:?}, new session after {elsewhere_after:?}");
    assert!(elsewhere_after < Duration::from_secs(2));
    next.close().await;
    drop(client);
    let records = pair.gateway.wait_for_records(2).await;
    let lost = records.iter().find(|record| record.ended_by == "backend");
    assert_eq!(
        lost.and_then(|lost| lost.close_code),
        Some(1011),
        "{records:?}"
    );
}

#[tokio::test]
async fn a_route_chooses_the_code_for_a_lost_backend() {
    let pair = Pair::start(NO_PASSIVE, "close_codes = { backend_lost = 1012 }").await;
    let key = pair.key().await;
    let mut client = pair.connect(&key).await;
    pair.mortal.signal(Signal::KILL);
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1012));
}

#[tokio::test]
async fn a_stopped_backend_keeps_its_sessions_and_gets_no_new_ones() {
    let probe = "probe = { type = \"websocket\", path = \"/\", interval = \"100ms\", \
        timeout = \"200ms\", rise = 1, fall = 2 }";
    let pair = Pair::start(probe, "timeouts = { handshake = \"1s\" }").await;
    pair.gateway
        .wait_for_health("echo", pair.mortal.address, "healthy")
        .await;
    let key = pair.key().await;
    let mut client = pair.connect(&key).await;
    client.echo("before").await;
    let start = Instant::now();
    pair.mortal.signal(Signal::STOP);
    eventually("a new session goes elsewhere", async || {
        let dial = Dial::new(&format!("/?k={key}"));
        match dial.connect(pair.gateway.address()).await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(refused) => {
                assert!(matches!(refused.status, 502..=504), "{refused:?}");
                false
            }
        }
    })
    .await;
    let elsewhere_after = start.elapsed();
    eprintln!("SIGSTOP: new sessions elsewhere after {elsewhere_after:?}");
    assert!(elsewhere_after < Duration::from_secs(5));
    pair.mortal.signal(Signal::CONT);
    client.echo("the old session lives").await;
    pair.gateway
        .wait_for_health("echo", pair.mortal.address, "healthy")
        .await;
    let mut back = pair.connect(&key).await;
    back.echo("and the backend has its key again").await;
    assert_eq!(
        pair.gateway.backend("echo", pair.mortal.address)["sessions"],
        2
    );
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_passed_over_within_the_request() {
    let other = Backend::echo().await;
    let gone = Backend::echo().await.stop().await;
    let text = config::echo(&[gone, other.address], NO_PASSIVE, "");
    let gateway = Gateway::start(&text).await;
    for key in 0..20 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(client.backend().await, other.address);
        client.close().await;
        assert_eq!(
            http::get(gateway.address(), &format!("/?k={key}"), &[])
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let mut gone = Vec::new();
    for _ in 0..5 {
        gone.push(Backend::echo().await.stop().await);
    }
    let text = config::echo(&gone, &format!("{NO_PASSIVE}\nattempts = 2"), "");
    let gateway = Gateway::start(&text).await;
    let refused = Dial::new("/")
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert!(matches!(refused.status, 502 | 503), "{refused:?}");
    let status = gateway.get("/v1/status");
    assert_eq!(status["phase"].as_str().map(str::is_empty), Some(false));
}

/// A backend that never takes a connection: its queue is full.
async fn full() -> (TcpListener, SocketAddr, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(
        Duration::from_millis(200),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        waiting.push(stream);
    }
    (listener, address, waiting)
}

#[tokio::test]
async fn a_dial_that_hangs_is_given_up_in_time_for_the_next_candidate() {
    let other = Backend::echo().await;
    let (_listener, address, _waiting) = full().await;
    let upstream = format!("{NO_PASSIVE}\nconnect_timeout = \"300ms\"");
    let gateway = Gateway::start(&config::echo(&[address, other.address], &upstream, "")).await;
    for key in 0..6 {
        let start = Instant::now();
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(client.backend().await, other.address);
        assert!(start.elapsed() < Duration::from_secs(3));
        client.close().await;
    }
}

#[tokio::test]
async fn backends_that_never_answer_the_upgrade_are_ejected() {
    let other = Backend::echo().await;
    let mute = Backend::scripted(|mut stream| async move { wait_for_end(&mut stream).await }).await;
    let upstream = "passive = { failures = 3, ejection = \"60s\", ejected_share_max = 0.5 }";
    let text = config::echo(
        &[mute.address, other.address],
        upstream,
        "timeouts = { handshake = \"200ms\" }",
    );
    let gateway = Gateway::start(&format!("{BELIEVING}{text}")).await;
    let mut refused = 0;
    for key in 0..100 {
        match Dial::new(&format!("/?k={key}"))
            .header("x-forwarded-for", &format!("198.51.{key}.1"))
            .connect(gateway.address())
            .await
        {
            Ok(client) => client.close().await,
            Err(answer) => {
                assert_eq!(answer.status, 504);
                refused += 1;
            }
        }
    }
    // Workers count failures for the upstream as a whole.
    assert_eq!(refused, 3, "of a hundred handshakes");
    assert!(!gateway.backend("echo", mute.address)["ejected"].is_null());
}

#[tokio::test]
async fn a_backend_that_resets_after_its_101_is_a_1011_and_is_ejected() {
    let other = Backend::echo().await;
    let resetting = Backend::scripted(|mut stream| async move {
        upgrade(&mut stream).await;
        stream.set_zero_linger().ok();
    })
    .await;
    let upstream = "passive = { failures = 3, ejection = \"60s\", ejected_share_max = 0.5 }";
    let text = config::echo(&[resetting.address, other.address], upstream, "");
    let gateway = Gateway::start(&format!("{BELIEVING}{text}")).await;
    let mut lost = 0;
    for key in 0..100 {
        // The reset may overtake the 101, which is then refused.
        match Dial::new(&format!("/?k={key}"))
            .header("x-forwarded-for", &format!("198.51.{key}.1"))
            .connect(gateway.address())
            .await
        {
            Ok(mut client) => {
                client.try_send("!who").await;
                match client.text_or_end().await {
                    Ok(name) => {
                        assert_eq!(name, other.address.to_string());
                        client.close().await;
                    }
                    Err(end) => {
                        assert_eq!(end.map(|(code, _)| code), Some(1011));
                        lost += 1;
                    }
                }
            }
            Err(refused) => {
                assert_eq!(refused.status, 502);
                lost += 1;
            }
        }
    }
    assert_eq!(lost, 3, "of a hundred sessions");
    assert!(!gateway.backend("echo", resetting.address)["ejected"].is_null());
}

#[tokio::test]
async fn an_ejected_backend_is_tried_again() {
    let flaky = Backend::echo().await;
    let other = Backend::echo().await;
    let upstream = "passive = { failures = 1, ejection = \"300ms\", ejected_share_max = 0.5 }";
    let text = config::echo(&[flaky.address, other.address], upstream, "");
    let gateway = Gateway::start(&text).await;
    let address = flaky.stop().await;
    for key in 0..10 {
        Client::connect(gateway.address(), &format!("/?k={key}"))
            .await
            .close()
            .await;
    }
    assert!(!gateway.backend("echo", address)["ejected"].is_null());
    assert!(gateway.metric("sessile_ejections_total", &[]) >= 1.0);
    assert!(gateway.metric("sessile_connect_failures_total", &["reason=\"refused\""]) >= 1.0);
    let _flaky = Backend::echo_at(address).await;
    eventually("it has sessions again", async || {
        let mut homes = Vec::new();
        for key in 0..10 {
            let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
            homes.push(client.backend().await);
            client.close().await;
        }
        homes.contains(&address)
    })
    .await;
}

#[tokio::test]
async fn probes_take_a_backend_out_and_bring_it_back_with_its_own_keys() {
    let sick = Backend::echo().await;
    let others = [Backend::echo().await, Backend::echo().await];
    let members = [sick.address, others[0].address, others[1].address];
    for kind in ["http", "websocket"] {
        let probe = format!(
            "probe = {{ type = \"{kind}\", path = \"/healthz\", interval = \"50ms\", \
             timeout = \"1s\", rise = 2, fall = 2 }}"
        );
        let gateway = Gateway::start(&config::echo(&members, &probe, "")).await;
        gateway
            .wait_for_health("echo", sick.address, "healthy")
            .await;
        let mut before = Vec::new();
        for key in 0..30 {
            before.push(
                http::get(gateway.address(), &format!("/?k={key}"), &[])
                    .await
                    .body,
            );
        }
        sick.set_healthy(false);
        gateway
            .wait_for_health("echo", sick.address, "unhealthy")
            .await;
        let shown = gateway.backend("echo", sick.address);
        assert!(
            shown["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("503")),
            "{shown}"
        );
        for (key, home) in before.iter().enumerate() {
            let now = http::get(gateway.address(), &format!("/?k={key}"), &[])
                .await
                .body;
            if *home == sick.address.to_string() {
                assert_ne!(now, *home);
            } else {
                assert_eq!(now, *home, "key {key} moved without need");
            }
        }
        sick.set_healthy(true);
        gateway
            .wait_for_health("echo", sick.address, "healthy")
            .await;
        for (key, home) in before.iter().enumerate() {
            assert_eq!(
                http::get(gateway.address(), &format!("/?k={key}"), &[])
                    .await
                    .body,
                home
            );
        }
    }
}

#[tokio::test]
async fn when_too_few_are_healthy_all_are_tried() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let members = [backends[0].address, backends[1].address];
    let probe = "probe = { type = \"http\", path = \"/healthz\", interval = \"50ms\", fall = 1 }";
    let text = config::echo(&members, &format!("{probe}\npanic_threshold = 0.6"), "");
    let gateway = Gateway::start(&text).await;
    for backend in &backends {
        backend.set_healthy(false);
        gateway
            .wait_for_health("echo", backend.address, "unhealthy")
            .await;
    }
    let mut homes = std::collections::BTreeSet::new();
    for key in 0..30 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        homes.insert(client.backend().await);
        client.close().await;
    }
    assert_eq!(
        homes.len(),
        2,
        "an upstream whose probes all fail is still tried"
    );
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed_by_its_backend() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("here").await;
    drop(client);
    eventually("the backend's session ends", async || backend.live() == 0).await;
    assert_eq!(gateway.wait_for_records(1).await[0].ended_by, "client");
}
