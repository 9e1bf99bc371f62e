//! A session that echoes, and how long it takes for that: what others notice of what goes on.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::accept;

/// Between two echoes.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(10);
const GOOD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// "0123456789" under a mask of zeros, and as it comes back.
const MESSAGE: &[u8] = b"\x81\x8a\0\0\0\x000123456789";
const ECHO: &[u8] = b"\x81\x0a0123456789";

/// Times of echoes, in seconds.
pub(crate) struct Times {
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

/// A session from this address.
pub(crate) fn session(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let mut client = connect(from, to).unwrap();
    client.write_all(GOOD).unwrap();
    let mut head = [0; 1024];
    let read = client.read(&mut head).unwrap();
    assert!(head[..read].starts_with(b"HTTP/1.1 101 "), "no session");
    client
}

/// A connection from this address.
pub(crate) fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// How long echoes take, until it is `done` for so long.
pub(crate) fn echoes(client: &mut TcpStream, mut done: impl FnMut(Duration) -> bool) -> Times {
    let (start, mut times) = (Instant::now(), Vec::new());
    while !done(start.elapsed()) {
        let sent = Instant::now();
        client.write_all(MESSAGE).unwrap();
        let mut echo = [0; ECHO.len()];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(echo, ECHO);
        times.push(sent.elapsed().as_secs_f64());
        thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    Times {
        median: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        longest: times[times.len() - 1],
    }
}

/// A backend that echoes.
pub(crate) fn backend() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.set_nodelay(true).ok();
                let Ok(mut session) = accept(stream) else {
                    return;
                };
                while let Ok(message) = session.read() {
                    if message.is_text() && session.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
