//! One address that throws bad handshakes at the gateway as fast as it can, while a client of
//! another address goes on talking.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::raw::{ACCEPT, UPGRADE, masked};
use crate::support::{Backend, Gateway, config, soon};

/// Messages that the other client exchanges meanwhile, at least.
const ECHOES: usize = 200;
/// Bad handshakes, at least.
const THROWN: usize = 5_000;
const ATTACKERS: usize = 4;
const BAD: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A connection from an address of the loopback's own choice.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// One bad handshake. It ends by a reset, so that no port stays behind in TIME_WAIT.
fn throw(edge: SocketAddr) {
    if let Ok(mut stream) = std::net::TcpStream::connect(edge) {
        // It may be cut off already.
        let _ = stream.write_all(BAD);
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// Sends one message and waits for its echo.
async fn echo(stream: &mut TcpStream) {
    let message = masked(0x81, b"0123456789");
    let sent = stream.write_all(&message);
    soon("the message is sent", sent).await.unwrap();
    let mut echo = [0; 12];
    let received = stream.read_exact(&mut echo);
    soon("the echo", received).await.unwrap();
    assert_eq!(&echo[2..], b"0123456789");
}

#[tokio::test]
async fn i8_a_flood_of_bad_handshakes_takes_no_memory_and_others_go_on_talking() {
    let backend = Backend::echo().await;
    let listener = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        limits = { connects_per_address = \"500/s\", connections_per_address = 100 }\n\n";
    let text = listener.to_owned() + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let edge = gateway.address();
    let mut client = connect("127.0.0.2", edge).await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = vec![0; 4096];
    let read = client.read(&mut head).await.unwrap();
    assert!(String::from_utf8_lossy(&head[..read]).contains(ACCEPT));
    echo(&mut client).await;
    let before = gateway.memory_kib("VmRSS");

    let (stop, thrown) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|_| {
            let (stop, thrown) = (Arc::clone(&stop), Arc::clone(&thrown));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    throw(edge);
                    thrown.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // The flood lasts for many echoes, and until connections of its address are refused.
    let (mut echoes, mut flooded) = (0, false);
    while echoes < ECHOES || !flooded {
        echo(&mut client).await;
        echoes += 1;
        flooded = thrown.load(Ordering::Relaxed) >= THROWN
            && gateway.metric("sessile_refusals_total", &["connect"]) > 0.0;
    }
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().unwrap();
    }
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < 8 * 1024, "the gateway grew by {grown} KiB");
    drop(client);
    gateway.wait_until_idle().await;
}
