//! Silence that the gateway itself causes is no silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::*;

/// A rig of narrow streams, whose sides are pinged after ten ticks and have five to answer.
fn rig(to_client: bool, to_backend: bool) -> Rig {
    let mut rig = Rig::new(64);
    let rules = Keepalive {
        interval: 10,
        timeout: 5,
        to_client,
        to_backend,
    };
    rig.relay.times.idle = None;
    rig.relay.alive = Some(Box::new(Alive::new(rules, 0)));
    rig
}

/// Whether the relay has asked to be polled.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets so many ticks pass. The relay is polled only when it asks for that, as by a worker.
async fn pass(rig: &mut Rig, ticks: Tick) {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..ticks {
        tokio::task::yield_now().await;
        rig.now += 1;
        if rig.relay.due().is_some_and(|due| due <= rig.now) {
            rig.relay.expire(rig.now);
        }
        if woken.0.swap(false, Ordering::Relaxed) {
            let mut cx = Context::from_waker(&waker);
            let poll = rig.relay.poll(&mut cx, &mut rig.scratch, rig.now);
            assert!(poll.is_pending(), "at {}: {poll:?}", rig.now);
        }
    }
}

/// Writes until there is no room.
async fn fill(rig: &mut Rig, side: Side, frame: &[u8]) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
        let stream = match side {
            Side::Client => &mut rig.client,
            Side::Backend => &mut rig.backend,
        };
        let write = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_write(cx, frame)));
        match write.await {
            Poll::Ready(written) => assert_eq!(written.expect("open"), frame.len()),
            Poll::Pending => return,
        }
        rig.turn().await;
    }
    panic!("nobody stopped it");
}

#[tokio::test]
async fn a_client_that_is_not_read_because_its_backend_is_slow_is_not_silent() {
    let frame = from_client(0x82, &[7; 10]);
    // Before it is asked, and while its answer is waited for.
    for asked in [false, true] {
        let mut rig = rig(true, false);
        if asked {
            pass(&mut rig, 12).await;
            assert_eq!(read_now(&mut rig.client).await.len(), 10, "a ping");
        }
        fill(&mut rig, Side::Client, &frame).await;
        pass(&mut rig, 500).await;
        assert!(!rig.relay.closing(), "asked: {asked}");
        // Read again, it has its time anew, to the last tick.
        while !read_now(&mut rig.backend).await.is_empty() {
            rig.turn().await;
        }
        pass(&mut rig, if asked { 4 } else { 14 }).await;
        assert!(!rig.relay.closing());
        pass(&mut rig, 20).await;
        assert!(rig.relay.closing(), "silent in earnest");
    }
}

#[tokio::test]
async fn a_backend_that_is_not_read_because_its_client_is_slow_is_not_silent() {
    let frame = from_backend(0x82, &[7; 14]);
    for asked in [false, true] {
        let mut rig = rig(true, true);
        if asked {
            pass(&mut rig, 12).await;
            assert_eq!(read_now(&mut rig.backend).await.len(), 14, "a ping");
        }
        fill(&mut rig, Side::Backend, &frame).await;
        pass(&mut rig, 500).await;
        // Neither is the client, which had no room for its ping.
        assert!(!rig.relay.closing(), "asked: {asked}");
        while !read_now(&mut rig.client).await.is_empty() {
            rig.turn().await;
        }
        pass(&mut rig, 4).await;
        assert!(!rig.relay.closing());
        pass(&mut rig, 20).await;
        assert!(rig.relay.closing(), "silent in earnest");
    }
}

#[tokio::test]
async fn a_ping_that_waits_for_the_end_of_a_frame_waits_for_no_answer() {
    let mut rig = rig(true, false);
    let frame = from_backend(0x82, &[7; 40]);
    rig.backend.write_all(&frame[..20]).await.expect("room");
    pass(&mut rig, 300).await;
    assert!(!rig.relay.closing(), "the client was not asked yet");
    assert_eq!(read_now(&mut rig.client).await, &frame[..20]);
    rig.backend.write_all(&frame[20..]).await.expect("room");
    pass(&mut rig, 1).await;
    let came = read_now(&mut rig.client).await;
    assert_eq!(came[..22], frame[20..]);
    assert_eq!(came[22], 0x89);
    pass(&mut rig, 8).await;
    assert!(rig.relay.closing(), "now it was, and says nothing");
}
