//! One process takes the place of another, and nobody at the other end of a socket notices.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{Backend, Client, Gateway, config, eventually};

fn echo(backend: &Backend) -> String {
    config::echo(&[backend.address], "", "")
}

#[tokio::test]
async fn new_connections_are_never_refused_through_three_handovers_in_a_row() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let address = gateway.address();
    let done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let loops = (0..4).map(|_| {
        let (done, count) = (Arc::clone(&done), Arc::clone(&count));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let mut client = Client::connect(address, "/").await;
                client.echo("hello").await;
                client.close().await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let loops: Vec<_> = loops.collect();
    for _ in 0..3 {
        let before = count.load(Ordering::Relaxed);
        eventually("clients come in", async || {
            count.load(Ordering::Relaxed) > before + 20
        })
        .await;
        let next = gateway.succeed().await;
        assert_eq!(next.address(), address);
        assert_eq!(
            gateway.wait_for_exit().await.code(),
            Some(0),
            "{}",
            gateway.log()
        );
        assert_eq!(
            next.get("/v1/status")["taken_over"]["from_pid"],
            gateway.pid()
        );
        gateway = next;
    }
    done.store(true, Ordering::Relaxed);
    for task in loops {
        task.await.unwrap();
    }
    let mode = std::fs::metadata(gateway.door())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let sessions = count.load(Ordering::Relaxed);
    let records = gateway
        .wait_for_records(usize::try_from(sessions).unwrap())
        .await;
    assert!(records.iter().all(|record| record.cause == "close_frame"));
}

#[tokio::test]
async fn i6_sessions_go_on_and_each_leaves_one_record_over_three_processes() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = Vec::new();
    for index in 0..200 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={index}")).await;
        client.echo("before").await;
        let id = client.session_id().await;
        clients.push((client, id));
    }
    for round in 0..3 {
        let next = gateway.succeed().await;
        assert_eq!(
            gateway.wait_for_exit().await.code(),
            Some(0),
            "{}",
            gateway.log()
        );
        let status = next.get("/v1/status");
        assert_eq!(status["taken_over"]["sessions"], 200, "{status}");
        assert_eq!(status["sessions"], 200);
        for worker in status["workers"].as_array().unwrap() {
            assert_eq!(worker["sessions"], 100, "they are spread evenly: {status}");
        }
        assert_eq!(next.backend("echo", backend.address)["sessions"], 200);
        assert_eq!(next.metric("sessile_sessions", &["route=\"all\""]), 200.0);
        let came = ["direction=\"in\""];
        assert_eq!(next.metric("sessile_handover_sessions_total", &came), 200.0);
        for (client, id) in &mut clients {
            client.echo(&format!("round {round}")).await;
            assert_eq!(
                client.session_id().await,
                *id,
                "it is the same session to the backend"
            );
        }
        gateway = next;
    }
    let listed = gateway.sessions();
    for (client, id) in clients {
        let shown = listed.iter().find(|session| session["id"] == *id);
        let sent = &shown.expect("it is listed")["to_backend"]["text"];
        // `before` and an echo a round, and the question for its id each time.
        assert_eq!(*sent, 8, "counters go along");
        client.close().await;
    }
    let records = gateway.wait_for_records(200).await;
    for record in records {
        assert_eq!(record.to_backend.messages("text"), 8);
        assert_eq!(record.to_client.messages("text"), 8);
        assert_eq!(
            (record.ended_by.as_str(), record.cause.as_str()),
            ("client", "close_frame")
        );
    }
}
