//! One address that throws bad handshakes at the gateway as fast as it can, while a client of
//! another address goes on talking.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::raw::{ACCEPT, UPGRADE, masked};
use crate::support::{Backend, Gateway, config};

const FLOOD: Duration = Duration::from_secs(2);
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

/// How long an echo takes, in the middle of those measured until `done`.
async fn median_echo(stream: &mut TcpStream, mut done: impl FnMut(usize) -> bool) -> Duration {
    let mut times = Vec::new();
    while !done(times.len()) {
        let start = Instant::now();
        stream
            .write_all(&masked(0x81, b"0123456789"))
            .await
            .unwrap();
        let mut echo = [0; 12];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo[2..], b"0123456789");
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort_unstable();
    times[times.len() / 2]
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
    let quiet = median_echo(&mut client, |count| count >= 200).await;
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
    let start = Instant::now();
    let flooded = median_echo(&mut client, |_| start.elapsed() >= FLOOD).await;
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().unwrap();
    }
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    let rate = thrown.load(Ordering::Relaxed) as f64 / FLOOD.as_secs_f64();
    let cut = gateway.metric("sessile_refusals_total", &["connect"]);
    eprintln!(
        "{rate:.0} bad handshakes a second, {cut} cut off; echo {quiet:?} before and {flooded:?} \
         meanwhile; {grown} KiB grown"
    );
    assert!(cut > 0.0, "nobody was cut off");
    // The other client is served beside them; generous, because machines are shared.
    let bound = 50 * quiet + Duration::from_millis(250);
    assert!(
        flooded < bound,
        "an echo takes {flooded:?} instead of {quiet:?}"
    );
    assert!(grown < 8 * 1024, "the gateway grew by {grown} KiB");
    drop(client);
    gateway.wait_until_idle().await;
}
