//! Bytes in a socket's send queue. Linux reports them by two ioctls for which no crate here has a
//! safe call.
#![expect(
    unsafe_code,
    reason = "ioctl is unsafe in general: the kernel writes to a pointer. These two requests write one \
              int, whatever the descriptor is, and rustix' `Getter` gives them exactly that."
)]

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

use crate::core::relay::SendQueue;

/// `SIOCOUTQ`: bytes that the peer's system has not acknowledged, sent or not.
const NOT_ACKNOWLEDGED: Opcode = 0x5411;
/// `SIOCOUTQNSD`: bytes that were not sent yet. TCP only.
const NOT_SENT: Opcode = 0x894B;

/// The send queue of this socket; `None` if the system does not report it.
pub fn of(socket: &impl AsFd) -> Option<SendQueue> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    // SAFETY: `SIOCOUTQ` writes one `int` (tty_ioctl(2), tcp(7), unix(7)).
    let queued = unsafe { ioctl(socket, Getter::<NOT_ACKNOWLEDGED, c_int>::new()) };
    let bytes = usize::try_from(queued.ok()?).ok()?;
    // SAFETY: `SIOCOUTQNSD` writes one `int`; sockets that do not support it return an error.
    let unsent = unsafe { ioctl(socket, Getter::<NOT_SENT, c_int>::new()) };
    let unsent = unsent.ok().and_then(|unsent| usize::try_from(unsent).ok());
    Some(SendQueue {
        bytes,
        in_flight: bytes.saturating_sub(unsent.unwrap_or(bytes)),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::base::clock;

    fn eventually(socket: &TcpStream, holds: impl Fn(SendQueue) -> bool) -> SendQueue {
        let start = clock::now();
        loop {
            let queue = of(socket).expect("TCP on Linux");
            if holds(queue) {
                return queue;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{queue:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_peer_without_room_has_a_queue_with_nothing_in_flight() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut writer = TcpStream::connect(address).expect("it listens");
        let (mut reader, _) = listener.accept().expect("it connects");
        assert_eq!(of(&writer), Some(SendQueue::default()));
        writer.set_nonblocking(true).expect("a socket");
        let mut written = 0;
        while let Ok(more) = writer.write(&[7; 65_536]) {
            written += more;
        }
        let full = eventually(&writer, |queue| queue.in_flight == 0);
        assert!(
            full.bytes > 0,
            "{written} bytes went to a peer that reads none"
        );
        // What the peer takes leaves the queue.
        let reading = thread::spawn(move || {
            let mut bytes = vec![0; written];
            reader.read_exact(&mut bytes).expect("all of it");
            reader
        });
        eventually(&writer, |queue| queue.bytes == 0);
        drop(reading.join());
    }

    #[test]
    fn a_unix_socket_has_a_queue_too() {
        let (mut writer, mut reader) = std::os::unix::net::UnixStream::pair().expect("sockets");
        writer.write_all(b"words").expect("room");
        assert!(of(&writer).expect("Linux").bytes > 0);
        assert_eq!(of(&writer).expect("Linux").in_flight, 0, "not known");
        reader.read_exact(&mut [0; 5]).expect("words");
        assert_eq!(of(&writer), Some(SendQueue::default()));
    }
}
