//! How much one client, one route or one backend may have, and who may come in at all.

use std::fs;
use std::net::SocketAddr;

use crate::support::raw::UPGRADE;
use crate::support::{Backend, Client, Dial, Gateway, Raw, config, eventually, http};

/// A listener that takes its clients' addresses from PROXY headers.
const PROXIED: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
    proxy_protocol = { from = [\"127.0.0.0/8\"] }\n";

async fn gateway(backend: &Backend, limits: &str) -> Gateway {
    let route = format!("limits = {{ {limits} }}");
    Gateway::start(&format!(
        "{PROXIED}\n{}",
        config::echo(&[backend.address], "", &route)
    ))
    .await
}

/// A session of this client, or the status instead.
async fn session(edge: SocketAddr, client: &str) -> Result<Client, u16> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let to = if client.contains(':') {
        "::1"
    } else {
        "127.0.0.1"
    };
    let header = format!("PROXY {family} {client} {to} 1234 80\r\n");
    let dial = Dial::new("/").prelude(header.as_bytes());
    dial.connect(edge).await.map_err(|refused| {
        let waits = refused.headers.get("retry-after");
        let waits = waits.map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
        assert!(
            !matches!(refused.status, 429 | 503) || waits.is_some_and(|wait| wait > 0),
            "{refused:?} does not say when to come back"
        );
        refused.status
    })
}

#[tokio::test]
async fn handshakes_of_one_address_are_counted_by_its_network() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "handshakes_per_address = \"3/h\"").await;
    let edge = gateway.address();
    for _ in 0..3 {
        session(edge, "203.0.113.7").await.unwrap().close().await;
    }
    let connections = backend.accepted();
    assert_eq!(session(edge, "203.0.113.7").await.err(), Some(429));
    assert_eq!(
        backend.accepted(),
        connections,
        "a refused handshake reached a backend"
    );
    session(edge, "203.0.113.8").await.unwrap().close().await;
    // The owner of a /64 has very many addresses.
    for host in 1..=3 {
        session(edge, &format!("2001:db8:0:1::{host}"))
            .await
            .unwrap()
            .close()
            .await;
    }
    assert_eq!(session(edge, "2001:db8:0:1:ffff::1").await.err(), Some(429));
    session(edge, "2001:db8:0:2::1")
        .await
        .unwrap()
        .close()
        .await;
    assert_eq!(
        gateway.metric(
            "sessile_refusals_total",
            &["reason=\"handshakes_per_address\""]
        ),
        2.0
    );
}

#[tokio::test]
async fn prefixes_have_the_configured_length() {
    let backend = Backend::echo().await;
    let node = "# node: address_prefix = { v4 = 24, v6 = 48 }\n";
    let route = "limits = { handshakes_per_address = \"1/h\" }";
    let text = format!(
        "{node}{PROXIED}\n{}",
        config::echo(&[backend.address], "", route)
    );
    let gateway = Gateway::start(&text).await;
    let edge = gateway.address();
    session(edge, "203.0.113.7").await.unwrap().close().await;
    assert_eq!(session(edge, "203.0.113.200").await.err(), Some(429));
    session(edge, "2001:db8:0:1::1")
        .await
        .unwrap()
        .close()
        .await;
    assert_eq!(session(edge, "2001:db8:0:ffff::1").await.err(), Some(429));
}

#[tokio::test]
async fn live_sessions_of_one_address_are_bounded_and_given_back() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "sessions_per_address = 2").await;
    let edge = gateway.address();
    let first = session(edge, "203.0.113.7").await.unwrap();
    let mut second = session(edge, "203.0.113.7").await.unwrap();
    assert_eq!(session(edge, "203.0.113.7").await.err(), Some(429));
    session(edge, "203.0.113.8").await.unwrap().close().await;
    second.echo("lives").await;
    first.close().await;
    eventually("there is room again", async || {
        match session(edge, "203.0.113.7").await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(status) => {
                assert_eq!(status, 429);
                false
            }
        }
    })
    .await;
    second.close().await;
}

#[tokio::test]
async fn the_sessions_of_a_route_are_bounded_across_principals() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "sessions_max = 1").await;
    let edge = gateway.address();
    // What comes to nothing takes no place.
    backend.refuse_with(403);
    for _ in 0..3 {
        assert_eq!(session(edge, "203.0.113.7").await.err(), Some(403));
    }
    backend.refuse_with(0);
    let first = session(edge, "203.0.113.7").await.unwrap();
    assert_eq!(session(edge, "203.0.113.8").await.err(), Some(503));
    // Ordinary requests are no sessions.
    let proxied = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut raw = Raw::connect(edge).await;
    raw.write(proxied).await;
    assert_eq!(raw.status().await, Some(200));
    first.close().await;
    gateway.wait_until_idle().await;
    eventually("there is room again", async || {
        match session(edge, "203.0.113.8").await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_backend_is_passed_over() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let text = config::echo(&addresses, "sessions_per_backend = 1", "");
    let gateway = Gateway::start(&text).await;
    let mut first = Client::connect(gateway.address(), "/?k=1").await;
    let mut second = Client::connect(gateway.address(), "/?k=1").await;
    assert_ne!(first.backend().await, second.backend().await);
    let refused = Dial::new("/?k=1")
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 503);
    let asked = "{\"path\":\"/?k=1\"}";
    let explained = gateway.admin("POST", "/v1/resolve", asked).body;
    assert!(
        explained.contains("as many sessions of this gateway as it may"),
        "{explained}"
    );
    // Ordinary requests still have somewhere to go.
    assert_eq!(http::get(gateway.address(), "/?k=1", &[]).await.status, 200);
    first.close().await;
    second.close().await;
}

/// Whether a connection to this listener is served at all.
async fn served(edge: SocketAddr) -> bool {
    let mut raw = Raw::connect(edge).await;
    // It may be cut off before it is written.
    use tokio::io::AsyncWriteExt as _;
    if raw.stream.write_all(UPGRADE.as_bytes()).await.is_err() {
        return false;
    }
    raw.status().await.is_some()
}

#[tokio::test]
async fn a_listeners_lists_cut_off_and_change_at_once() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("blocked.txt");
    let many: String = (0..5000)
        .map(|n| format!("10.{}.{}.0/24\n", n / 256, n % 256))
        .collect();
    fs::write(&list, format!("# long\n{many}192.0.2.0/24 # tests\n")).unwrap();
    let listener = |deny: &str| {
        format!(
            "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\ndeny = [{deny}]\n\n{}",
            config::echo(&[backend.address], "", "")
        )
    };
    let file = format!("{{ file = \"{}\" }}", list.display());
    let gateway = Gateway::start(&listener(&file)).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    fs::write(&list, "127.0.0.0/8\n").unwrap();
    let report = gateway.reload().json();
    assert_eq!(report["restart_for"], serde_json::json!([]), "{report}");
    assert!(
        !served(gateway.address()).await,
        "a denied client is served"
    );
    client.echo("who is here stays").await;
    assert_eq!(
        gateway.metric("sessile_refusals_total", &["reason=\"address\""]),
        1.0
    );
    fs::write(&list, "127.0.0.0/8\nnonsense\n").unwrap();
    let refused = gateway.reload();
    assert!(
        refused.status == 422 && refused.body.contains("blocked.txt:2"),
        "{refused:?}"
    );
    gateway.write_config(&listener("\"10.0.0.0/8\""));
    assert_eq!(gateway.reload().status, 200);
    assert!(served(gateway.address()).await);
    client.close().await;
}

#[tokio::test]
async fn the_lists_of_a_route_use_the_trusted_client_address() {
    let backend = Backend::echo().await;
    let route = "allow = [\"203.0.113.0/24\"]\ndeny = [\"203.0.113.66\"]";
    let text = format!("{PROXIED}\n{}", config::echo(&[backend.address], "", route));
    let gateway = Gateway::start(&text).await;
    let edge = gateway.address();
    session(edge, "203.0.113.7").await.unwrap().close().await;
    assert_eq!(session(edge, "203.0.113.66").await.err(), Some(403));
    assert_eq!(session(edge, "198.51.100.1").await.err(), Some(403));
    let proxied = b"PROXY TCP4 198.51.100.1 127.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut raw = Raw::connect(edge).await;
    raw.write(proxied).await;
    assert_eq!(raw.status().await, Some(403));
}

#[tokio::test]
async fn connections_of_one_address_are_bounded_before_anything_is_read() {
    let backend = Backend::echo().await;
    let listener = |limit: &str| {
        format!(
            "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
             limits = {{ {limit} }}\n\n{}",
            config::echo(&[backend.address], "", "")
        )
    };
    let gateway = Gateway::start(&listener("connections_per_address = 2")).await;
    let first = Client::connect(gateway.address(), "/").await;
    let mut second = Client::connect(gateway.address(), "/").await;
    assert!(!served(gateway.address()).await);
    second.echo("lives").await;
    first.close().await;
    eventually("there is room again", async || {
        served(gateway.address()).await
    })
    .await;
    second.close().await;

    let gateway = Gateway::start(&listener("connects_per_address = \"2/h\"")).await;
    for _ in 0..2 {
        assert!(served(gateway.address()).await);
    }
    assert!(!served(gateway.address()).await);
    assert_eq!(
        gateway.metric(
            "sessile_refusals_total",
            &["reason=\"connects_per_address\""]
        ),
        1.0
    );
}
