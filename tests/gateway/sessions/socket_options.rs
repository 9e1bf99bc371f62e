//! Options of the socket to a session's backend. They are set once they can matter, and then a
//! backend whose machine is gone is noticed even on a silent session: the system asks it.

use std::fs;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;

use crate::support::backend::{read_head, wait_for_end};
use crate::support::raw::{Raw, UPGRADE};
use crate::support::{Backend, Client, Gateway, config, eventually};

/// What the system does next on the gateway's established connections to a backend: in `/proc`,
/// `02` is the keepalive timer, and `00` none at all.
fn timers(backend: SocketAddr) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", backend.port());
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = lines.filter(|fields| fields[2].ends_with(&port) && fields[3] == "01");
    ours.map(|fields| fields[5].split(':').next().unwrap().to_owned())
        .collect()
}

/// Waits until each of so many connections to a backend has its keepalive timer.
async fn wait_until_asked(backend: SocketAddr, connections: usize) {
    eventually("the system asks the backend", async || {
        timers(backend) == vec!["02"; connections]
    })
    .await;
}

#[tokio::test]
async fn a_silent_sessions_backend_is_asked_for_a_sign_of_life() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let client = Client::connect(gateway.address(), "/").await;
    wait_until_asked(backend.address, 1).await;
    client.close().await;
}

#[tokio::test]
async fn i1_a_session_that_is_handed_over_early_has_it_too() {
    let backend = Backend::echo().await;
    let echo = config::echo(&[backend.address], "", "");
    let mut before = Gateway::start_with_handover(&echo).await;
    let mut client = Client::connect(before.address(), "/").await;
    let after = before.succeed().await;
    before.wait_for_exit().await;
    wait_until_asked(backend.address, 1).await;
    client.echo("still here").await;
    client.close().await;
    after.wait_until_idle().await;
}

#[tokio::test]
async fn the_next_backend_of_a_session_is_asked_too() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let both = [first.address, second.address];
    let route = "on_backend_loss = \"reconnect\"";
    let gateway = Gateway::start(&config::echo(&both, "passive = { failures = 0 }", route)).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let home = client.backend().await;
    wait_until_asked(home, 1).await;
    let (mortal, other) = match home == first.address {
        true => (first, second),
        false => (second, first),
    };
    mortal.stop().await;
    wait_until_asked(other.address, 1).await;
    client.echo("at the other").await;
    client.close().await;
}

#[tokio::test]
async fn an_answer_that_declines_a_session_is_read_from_a_backend_that_is_asked() {
    let backend = Backend::scripted(async |mut stream| {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nand no more of it";
        stream.write_all(answer.as_bytes()).await.ok();
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.write(UPGRADE).await;
    assert_eq!(client.status().await, Some(200));
    wait_until_asked(backend.address, 1).await;
    client.reset();
}
