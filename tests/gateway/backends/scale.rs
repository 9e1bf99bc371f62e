//! Many sessions at once.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};

use crate::support::{Backend, Client, Gateway, config, eventually, raise_open_files};

const SESSIONS: usize = 9_000;

#[tokio::test]
async fn nine_thousand_idle_sessions_all_answer_afterwards() {
    raise_open_files();
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    // Memory that the process allocates once, with its first sessions, does not count.
    let mut clients = connect(&gateway, 100).await;
    let before = gateway.memory_kib("VmRSS");
    let start = Instant::now();
    clients.extend(connect(&gateway, SESSIONS - 100).await);
    let connected = start.elapsed();
    assert_eq!(gateway.sessions_live(), SESSIONS as u64);
    // What the handshakes took is given back some time later.
    let each = || {
        let taken = gateway.memory_kib("VmRSS").saturating_sub(before);
        taken as f64 / (SESSIONS - 100) as f64
    };
    eventually("an idle session takes less than 4 KiB", async || {
        each() < 4.0
    })
    .await;
    let each = each();

    let start = Instant::now();
    let clients: Vec<_> = stream::iter(clients)
        .map(|mut client| async move {
            client.echo("still here").await;
            client
        })
        .buffer_unordered(200)
        .collect()
        .await;
    let answered = start.elapsed();
    eprintln!(
        "{SESSIONS} sessions in {connected:?}, {each:.2} KiB each while idle, all answered within \
         {answered:?}"
    );

    drop(clients);
    eventually("all are gone", async || gateway.sessions_live() == 0).await;
    assert_eq!(gateway.wait_for_records(SESSIONS).await.len(), SESSIONS);
}

async fn connect(gateway: &Gateway, count: usize) -> Vec<Client> {
    stream::iter(0..count)
        .map(|key| async move {
            let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
            client.echo("hello").await;
            client
        })
        .buffer_unordered(50)
        .collect()
        .await
}
