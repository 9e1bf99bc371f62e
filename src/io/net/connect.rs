//! A TCP connection to one address.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use futures_util::FutureExt as _;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Connects to `address`.
///
/// tokio's own `connect` asks each socket for its error when the attempt is over. Here only a
/// socket that reports one is asked, which saves a system call of each connection that succeeds.
///
/// # Errors
/// Why the system could not connect.
pub(super) async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from_std(socket.into())?;
    // The attempt is over when the socket becomes writable. Polled by hand, because the future of
    // `ready` is large, and part of every request's.
    poll_fn(|cx| stream.poll_write_ready(cx)).await?;
    if !is_connected(&stream)
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

/// Whether an attempt that is over succeeded. A socket whose attempt failed is closed for writing
/// and reports an error (EPOLLHUP and EPOLLERR).
fn is_connected(stream: &TcpStream) -> bool {
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR);
    let ready = ready.now_or_never().and_then(Result::ok);
    ready.is_some_and(|ready| !ready.is_error() && !ready.is_write_closed())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_is_reached_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let stream = connect_tcp(address).await.expect("it listens");
            assert_eq!(stream.peer_addr().expect("connected"), address);
            let (accepted, peer) = listener.accept().await.expect("a connection");
            assert_eq!(stream.local_addr().expect("connected"), peer);
            drop(accepted);
        }
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_and_not_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let error = connect_tcp(address).await.expect_err("no process listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
