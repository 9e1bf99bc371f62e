//! A hand-over, watched in Chromium while it runs.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::admin::exposed;
use crate::support::backend::{read_head, switching, wait_for_end};
use crate::support::peers::{Language, run_client};
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Client, Gateway, Raw, eventually};

const SESSIONS: u64 = 20;

fn configuration(echo: &Backend, slow: &Backend) -> String {
    format!(
        "[upstreams.echo]\nbackends = [\"{}\"]\n[upstreams.slow]\nbackends = [\"{}\"]\n\n\
         [[routes]]\nname = \"rooms\"\npath = \"/ws\"\nupstream = \"echo\"\n\n\
         [[routes]]\nname = \"slow\"\nupstream = \"slow\"\n",
        echo.address, slow.address
    )
}

/// A handshake that is under way keeps the hand-over going until the page has shown it.
#[tokio::test]
async fn a_hand_over_is_shown_while_it_runs() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let slow = Backend::scripted(move |mut stream: TcpStream| {
        let wait = Arc::clone(&wait);
        async move {
            let head = read_head(&mut stream).await;
            wait.notified().await;
            stream.write_all(switching(&head).as_bytes()).await.ok();
            wait_for_end(&mut stream).await;
        }
    })
    .await;
    let echo = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&configuration(&echo, &slow)).await;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        clients.push(Client::connect(gateway.address(), "/ws").await);
    }
    let mut pending = Raw::connect(gateway.address()).await;
    pending.write(UPGRADE).await;
    eventually("it is with the backend", async || slow.accepted() == 1).await;
    // The page asks for each step by a connection.
    let steps = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asks = steps.local_addr().unwrap();
    let base = format!("http://{}", exposed(gateway.directory()));
    let page = run_client(
        Language::Node,
        "dashboard_handover",
        vec![base, asks.port().to_string(), SESSIONS.to_string()],
    );
    let steps = async {
        drop(steps.accept().await.unwrap());
        let next = gateway.start_successor().await;
        eventually("the sessions have arrived", async || {
            let status = next.get("/v1/status");
            status["taking_over"]["sessions"] == SESSIONS && status["taken_over"].is_null()
        })
        .await;
        drop(steps.accept().await.unwrap());
        go.notify_waiters();
        next.wait_until_taken_over().await;
        assert!(next.get("/v1/status")["taking_over"].is_null());
        next
    };
    let (_, next) = tokio::join!(page, steps);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert_eq!(next.sessions_live(), SESSIONS + 1);
    for client in &mut clients {
        client.echo("still here").await;
    }
    drop((clients, pending));
}
