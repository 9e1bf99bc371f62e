//! I8: what floods of the smallest frames cost. Work goes by the byte, and nothing piles up.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::*;
use crate::core::wire::tracker::PING_BYTES;
use crate::io::net::send_queue::SendQueue;

/// A stream that counts the calls that would be system calls.
struct Counted {
    stream: DuplexStream,
    writes: Rc<Cell<usize>>,
}

impl Stream for Counted {
    fn send_queue(&self) -> Option<SendQueue> {
        None
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.set(self.writes.get() + 1);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const WATCHED: [u8; PING_BYTES] = *b"ourping!";

#[tokio::test]
async fn i8_the_smallest_frames_cost_one_write_for_what_came_in_one_read() {
    let pong = from_client(0x8A, &WATCHED);
    let own = from_client(0x81, b"renew x");
    let text = from_client(0x81, b"");
    let fragments = [
        from_client(0x01, b""),
        from_client(0x00, b""),
        from_client(0x80, b""),
    ];
    let floods: [(&str, Vec<Vec<u8>>); 6] = [
        ("empty messages", vec![text.clone()]),
        ("empty fragments", fragments.to_vec()),
        ("pings", vec![from_client(0x89, b"")]),
        (
            "pongs that nobody asked for",
            vec![from_client(0x8A, b"8 letter")],
        ),
        (
            "pongs to the gateway between messages",
            vec![pong, text.clone()],
        ),
        ("messages for the gateway between others", vec![own, text]),
    ];
    for (what, frames) in floods {
        let writes = Rc::new(Cell::new(0));
        let counted = |stream| Counted {
            stream,
            writes: Rc::clone(&writes),
        };
        let (mut client, inner_client) = duplex(4096);
        let (mut backend, inner_backend) = duplex(64 * 1024);
        let mut setup = Rig::setup();
        setup.in_band = Some(InBandMatcher::new("renew ", 64));
        let (inner_client, inner_backend) = (counted(inner_client), counted(inner_backend));
        let mut relay = Relay::new(inner_client, inner_backend, setup, 0);
        relay.up.tracker.watch(WATCHED);
        let mut scratch = Scratch::new(4096);
        let unit: Vec<u8> = frames.concat();
        let flood = unit.repeat(4096 / unit.len());
        client.write_all(&flood).await.expect("room");
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(turn) = relay.poll(&mut cx, &mut scratch, 0) {
            assert_eq!(turn, Turn::Renewal, "{what}");
            relay.renewal_over(true);
        }
        assert!(writes.get() <= 2, "{what}: {} writes", writes.get());
        assert_eq!(relay.held(), 0, "{what}");
        let passed = frames.last().expect("one").len() * frames.len();
        let came = read_now(&mut backend).await;
        assert!(came.len() >= passed, "{what}");
    }
}

#[tokio::test]
async fn i8_floods_towards_a_side_that_does_not_read_pile_up_nowhere() {
    let ping = from_client(0x89, b"");
    let fragment = from_client(0x00, b"");
    for frame in [ping, fragment] {
        let mut rig = Rig::new(64);
        let begun = from_client(0x01, b"");
        rig.client.write_all(&begun).await.expect("room");
        let rules = Keepalive {
            interval: 1,
            timeout: 1,
            to_client: true,
            to_backend: true,
        };
        rig.relay.alive = Some(Box::new(Alive::new(rules, 0)));
        let mut taken = 0;
        for _ in 0..500 {
            tokio::task::yield_now().await;
            let client = &mut rig.client;
            let write = poll_fn(|cx| Poll::Ready(Pin::new(&mut *client).poll_write(cx, &frame)));
            if let Poll::Ready(written) = write.await {
                taken += written.expect("open");
            }
            rig.turn().await;
            rig.now += 1;
            rig.relay.expire(rig.now);
            rig.relay
                .tell("and the gateway has something to say to somebody who does not read");
            // One read, one ping, and what the gateway may say at most.
            assert!(
                rig.relay.held() <= 64 + 14 + 16 * 1024,
                "{}",
                rig.relay.held()
            );
        }
        assert!(taken <= 3 * 64, "{taken} bytes were taken in");
    }
}
