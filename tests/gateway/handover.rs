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
