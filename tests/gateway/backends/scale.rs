//! Many sessions at once.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use crate::support::{Backend, Client, Gateway, config, eventually, raise_open_files};

const SESSIONS: usize = 9_000;

#[tokio::test]
async fn nine_thousand_idle_sessions_all_answer_afterwards() {
    raise_open_files();
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    // What the first sessions bring up once and for all is not theirs.
    let mut clients = connect(&gateway, 100).await;
    let before = gateway.memory_kib("VmRSS");
    let start = Instant::now();
    clients.extend(connect(&gateway, SESSIONS - 100).await);
    let connected = start.elapsed();
    assert_eq!(gateway.sessions_live(), SESSIONS as u64);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = gateway.memory_kib("VmRSS");
    let each = (after - before) as f64 / (SESSIONS - 100) as f64;

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
    assert!(each < 4.0, "an idle session takes {each:.2} KiB");

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
