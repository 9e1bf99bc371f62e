//! Where clients connect, and which address is theirs: PROXY protocol, unix sockets, IPv6.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;

use crate::support::backend::{switching, wait_for_end};
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Client, Dial, Gateway, Raw, config};
use tokio::io::AsyncWriteExt as _;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A version 2 header for a TCP connection over IPv4.
fn version_2(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([0x21, 0x11, 0, 12]);
    header.extend(source);
    header.extend([127, 0, 0, 1]);
    header.extend(port.to_be_bytes());
    header.extend(443_u16.to_be_bytes());
    header
}

fn listener(from: &str) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         proxy_protocol = {{ from = [\"{from}\"] }}\n\n"
    )
}

#[tokio::test]
async fn a_trusted_peer_reports_the_address_of_its_client() {
    let backend = Backend::echo().await;
    let text = listener("127.0.0.0/8") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let headers = [
        b"PROXY TCP4 203.0.113.7 127.0.0.1 1234 443\r\n".to_vec(),
        version_2([203, 0, 113, 7], 1234),
    ];
    for header in headers {
        let dial = Dial::new("/").prelude(&header);
        let client = dial.connect(gateway.address()).await.unwrap();
        assert_eq!(
            backend.last_seen().header("x-forwarded-for"),
            Some("203.0.113.7")
        );
        let sessions = gateway.sessions();
        assert!(
            sessions[0]["client"]
                .as_str()
                .unwrap()
                .starts_with("203.0.113.7")
        );
        client.close().await;
        gateway.wait_until_idle().await;
    }
    // A load balancer's own health check has no client behind it.
    let local = [SIGNATURE, &[0x20, 0x00, 0, 0]].concat();
    let client = Dial::new("/")
        .prelude(&local)
        .connect(gateway.address())
        .await
        .unwrap();
    assert_eq!(
        backend.last_seen().header("x-forwarded-for"),
        Some("127.0.0.1")
    );
    client.close().await;
}

#[tokio::test]
async fn only_trusted_peers_may_and_must_send_a_proxy_header() {
    let backend = Backend::echo().await;
    let text = listener("10.0.0.0/8") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write([&version_2([203, 0, 113, 7], 1), UPGRADE.as_bytes()].concat())
        .await;
    assert_ne!(raw.status().await, Some(101), "a stranger named its client");
    Client::connect(gateway.address(), "/").await.close().await;

    let text = listener("127.0.0.0/8") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    for begun in [
        UPGRADE.as_bytes(),
        b"PROXY TCP9 x\r\n",
        &[SIGNATURE, &[0x31, 0, 0, 0]].concat(),
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(begun).await;
        assert_ne!(raw.status().await, Some(101), "{begun:?}");
    }
}

#[tokio::test]
async fn backends_get_the_client_address_by_proxy_protocol_if_configured() {
    for (version, length) in [("v1", None), ("v2", Some(28))] {
        let (sender, mut heard) = tokio::sync::mpsc::channel(1);
        let backend = Backend::scripted(move |mut stream| {
            let sender = sender.clone();
            async move {
                let mut prelude = Vec::new();
                let done = |prelude: &[u8]| match length {
                    Some(length) => prelude.len() == length,
                    None => prelude.ends_with(b"\r\n"),
                };
                while !done(&prelude) {
                    prelude.push(stream.read_u8().await.unwrap());
                }
                sender.send(prelude).await.unwrap();
                let head = crate::support::backend::read_head(&mut stream).await;
                stream.write_all(switching(&head).as_bytes()).await.unwrap();
                wait_for_end(&mut stream).await;
            }
        })
        .await;
        let upstream = format!("proxy_protocol = \"{version}\"");
        let text = config::echo(
            &[backend.address],
            &upstream,
            "timeouts = { close = \"100ms\" }",
        );
        let gateway = Gateway::start(&text).await;
        let _raw = Raw::upgrade(gateway.address()).await;
        let prelude = heard.recv().await.unwrap();
        if version == "v1" {
            let text = String::from_utf8(prelude).unwrap();
            assert!(
                text.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "),
                "{text}"
            );
        } else {
            assert!(prelude.starts_with(SIGNATURE));
            assert_eq!(prelude[12..20], [0x21, 0x11, 0, 12, 127, 0, 0, 1]);
        }
    }
}

#[tokio::test]
async fn unix_sockets_serve_at_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edge.sock");
    let backend = Backend::echo().await;
    let listener = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"unix:{}\"]\n\n",
        path.display()
    );
    // A second gateway has the first one's unix socket as its backend.
    let text = listener + &config::echo(&[backend.address], "", "");
    let inner = Gateway::start(&text).await;
    let upstream = format!(
        "[upstreams.inner]\nbackends = [\"unix:{}\"]\n",
        path.display()
    );
    let text = format!("{upstream}\n[[routes]]\nname = \"all\"\nupstream = \"inner\"\n");
    let outer = Gateway::start(&text).await;
    let mut client = Client::connect(outer.address(), "/").await;
    client.echo("through two").await;
    let mut direct = Dial::new("/").connect_unix(&path).await.unwrap();
    direct.echo("through one").await;
    assert_eq!(inner.sessions_live(), 2);
    direct.close().await;
    client.close().await;
    outer.wait_until_idle().await;
}

#[tokio::test]
async fn ipv6_serves_at_both_sides() {
    let any: SocketAddr = "[::1]:0".parse().unwrap();
    let backend = Backend::echo_at(any).await;
    let text = "[[listeners]]\nname = \"edge\"\nlisten = [\"[::1]:0\"]\n\n".to_owned()
        + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("six").await;
    assert_eq!(backend.last_seen().header("x-forwarded-for"), Some("::1"));
}
