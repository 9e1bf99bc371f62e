//! What a node does that has as much as it can take: it refuses early, keeps what it has, and takes
//! clients again when there is room.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::certificates;
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Client, Dial, Gateway, Raw, config, eventually};

/// The status of a handshake; 101 is a session, which is closed.
async fn status(gateway: &Gateway, target: &str) -> u16 {
    match Dial::new(target).connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            101
        }
        Err(refused) => {
            assert!(refused.status != 503 || refused.headers.contains_key("retry-after"));
            refused.status
        }
    }
}

#[tokio::test]
async fn over_sessions_max_new_ones_are_shed_and_low_priorities_before() {
    let backend = Backend::echo().await;
    let text = format!(
        "# node: sessions_max = 10\n{}\n[[routes]]\nname = \"low\"\npath = \"/low\"\n\
         upstream = \"echo\"\npriority = \"low\"\n",
        config::echo(&[backend.address], "", "")
    );
    let gateway = Gateway::start(&text).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    assert_eq!(status(&gateway, "/low").await, 503);
    for _ in 0..2 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    let reached = backend.accepted();
    assert_eq!(status(&gateway, "/").await, 503);
    assert_eq!(
        backend.accepted(),
        reached,
        "something was spent on who is shed"
    );
    assert_eq!(
        gateway.metric("sessile_refusals_total", &["reason=\"sessions_max\""]),
        2.0
    );
    let shown = gateway.get("/v1/quotas");
    assert_eq!(
        (&shown["sessions"], &shown["sessions_max"]),
        (&10.into(), &10.into())
    );
    for client in &mut clients {
        client.echo("lives").await;
    }
    for client in clients {
        client.close().await;
    }
    eventually("there is room again", async || {
        status(&gateway, "/low").await == 101
    })
    .await;
}

#[tokio::test]
async fn over_handshakes_max_upgrades_are_shed_while_others_wait_for_their_backend() {
    let silent = Backend::scripted(|stream| async move {
        crate::support::backend::wait_for_end(&mut { stream }).await;
    })
    .await;
    let route = "timeouts = { handshake = \"30s\" }";
    let text = format!(
        "# node: handshakes_max = 2\n{}",
        config::echo(&[silent.address], "", route)
    );
    let gateway = Gateway::start(&text).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE).await;
        waiting.push(raw);
    }
    eventually("two wait", async || {
        gateway.get("/v1/quotas")["handshakes"] == 2
    })
    .await;
    assert_eq!(status(&gateway, "/").await, 503);
    assert_eq!(
        gateway.metric("sessile_refusals_total", &["reason=\"handshakes_max\""]),
        1.0
    );
    drop(waiting);
    eventually("no request waits", async || {
        gateway.get("/v1/quotas")["handshakes"] == 0
    })
    .await;
}

#[tokio::test]
async fn over_handshakes_max_connections_are_cut_off_before_tls() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let authority = certificates::Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let text = format!(
        "# node: handshakes_max = 1\n[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n{}",
        config::echo(&[backend.address], "", "")
    );
    let gateway = Gateway::start_in(directory, &text).await;
    // It sends nothing, and holds the only place for as long as it may.
    let idle = TcpStream::connect(gateway.address()).await.unwrap();
    eventually("it has come in", async || {
        gateway.get("/v1/quotas")["handshakes"] == 1
    })
    .await;
    let mut second = Raw::connect(gateway.address()).await;
    assert_eq!(
        second.read_to_end().await,
        b"",
        "rejected connections are closed silently"
    );
    drop(idle);
    eventually("the place is free", async || {
        gateway.get("/v1/quotas")["handshakes"] == 0
    })
    .await;
    let client = Dial::new("/")
        .connect_tls(gateway.address(), authority.client())
        .await
        .unwrap();
    client.close().await;
}

#[tokio::test]
async fn i8_short_of_memory_new_clients_are_refused_and_sessions_stay() {
    let backend = Backend::echo().await;
    let echo = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&format!("# node: memory_max = 0\n{echo}")).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    gateway.write_config(&format!("# node: memory_max = \"1 MiB\"\n{echo}"));
    let report = gateway.reload().json();
    assert_eq!(report["restart_for"], serde_json::json!([]), "{report}");
    eventually("clients are cut off", async || {
        let mut raw = Raw::connect(gateway.address()).await;
        tokio::time::timeout(Duration::from_millis(300), raw.read_to_end())
            .await
            .is_ok()
    })
    .await;
    client.echo("who is here stays").await;
    assert!(gateway.metric("sessile_refusals_total", &["reason=\"memory_max\""]) >= 1.0);
    assert!(gateway.metric("sessile_overloaded", &["limit=\"memory_max\""]) == 1.0);
    eventually("it is reported", async || {
        gateway.log().contains("short of memory")
    })
    .await;
    gateway.write_config(&format!("# node: memory_max = \"64 GiB\"\n{echo}"));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(status(&gateway, "/").await, 101);
    client.close().await;
}
