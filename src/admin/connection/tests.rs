use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;

use axum::routing::get;
use tokio::task::spawn_blocking;

use super::*;

const CONNECTIONS: usize = 20;
const REQUESTS: usize = 100;

#[tokio::test]
async fn i12_requests_that_wait_in_a_row_keep_no_probe_waiting() {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let look = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { "looked" }
    };
    let router = Router::new()
        .route("/v1/status", get(look))
        .route("/livez", get(async || "live"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_stop, stopping) = watch::channel(());
    let turns = Arc::new(Semaphore::new(1));
    let ask = |path: &str, times: usize| {
        let mut client = TcpStream::connect(address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        let sent = client.write_all(request.repeat(times).as_bytes());
        sent.expect("the system takes it");
        let (socket, _) = listener.accept().expect("a connection");
        socket.set_nonblocking(true).expect("a socket");
        let socket = tokio::net::TcpStream::from_std(socket).expect("a socket");
        let serving = Serving {
            router: router.clone(),
            tls: None,
            stopping: stopping.clone(),
            turns: Arc::clone(&turns),
        };
        tokio::spawn(serve(Socket::Tcp(socket), None, serving));
        client
    };
    let _crowd: Vec<_> = (0..CONNECTIONS)
        .map(|_| ask("/v1/status", REQUESTS))
        .collect();
    let mut probe = ask("/livez", 1);
    let answer = spawn_blocking(move || {
        let mut answer = [0; 12];
        probe.read_exact(&mut answer).map(|()| answer)
    });
    let answer = answer.await.expect("no panic").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    let before = answered.load(Ordering::Relaxed);
    assert!(before < CONNECTIONS * REQUESTS / 2, "{before} came first");
}
