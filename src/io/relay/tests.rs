//! The engine over tokio's in-memory streams: wake-ups, streams that end, and the same bytes as a
//! driver without tokio.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

use super::*;
use crate::core::relay::pump::Link;
use crate::core::relay::tests::cases;
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::core::wire::frame::close_frame;
use crate::core::wire::tracker::{Extensions, Rules};

const READ_BYTES: usize = 512;

fn setup() -> Setup {
    let rules = Rules {
        frame_bytes: 1 << 20,
        message_bytes: 1 << 20,
        extensions: Extensions::None,
    };
    let times = Times {
        idle: Some(600),
        lifetime_at: None,
        expires_at: None,
        close: 50,
    };
    Setup {
        hold: Some(300),
        ..Setup::plain(rules, times)
    }
}

/// An engine, the far ends of its streams, and how often its task was woken.
struct Rig {
    relay: Relay<DuplexStream>,
    client: DuplexStream,
    backend: DuplexStream,
    buffer: ReadBuffer,
    woken: Arc<Woken>,
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rig {
    fn new(width: usize) -> Self {
        let (client, inner_client) = duplex(width);
        let (backend, inner_backend) = duplex(width);
        Self {
            relay: Relay::new(inner_client, inner_backend, setup(), 0),
            client,
            backend,
            buffer: ReadBuffer::new(READ_BYTES),
            woken: Arc::new(Woken(AtomicUsize::new(0))),
        }
    }

    fn poll(&mut self) -> Poll<Turn> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        self.relay.poll(&mut cx, &mut self.buffer, 0)
    }

    /// How often the task was woken since the last call.
    fn woken(&self) -> usize {
        self.woken.0.swap(0, Ordering::Relaxed)
    }
}

/// Takes what has arrived.
fn take(stream: &mut DuplexStream) -> Vec<u8> {
    let mut came = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *stream).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                came.extend_from_slice(buffer.filled());
            }
            _ => return came,
        }
    }
}

fn send(stream: &mut DuplexStream, bytes: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    let written = Pin::new(stream).poll_write(&mut cx, bytes);
    assert!(matches!(written, Poll::Ready(Ok(written)) if written == bytes.len()));
}

fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn kicked() -> CloseOrder {
    CloseOrder {
        code: 1008,
        reason: "kicked".into(),
        cause: Cause::Kicked,
    }
}

fn drained() -> LeaveOrder {
    LeaveOrder {
        code: 1012,
        reason: "drained".into(),
        cause: Cause::Drained,
        resume: ResumeReason::Draining,
        operator: None,
    }
}

#[test]
fn commands_between_two_polls_wake_the_task() {
    let mut rig = Rig::new(1024);
    assert!(rig.poll().is_pending());
    assert_eq!(rig.woken(), 0, "nothing happened");
    assert!(rig.relay.close(&kicked(), 0));
    assert_eq!(rig.woken(), 1);
    assert!(rig.poll().is_pending());
    assert_eq!(take(&mut rig.client), close_frame(1008, "kicked", None));
}

#[test]
fn time_without_effect_wakes_no_task() {
    let mut rig = Rig::new(1024);
    assert!(rig.poll().is_pending());
    rig.relay.expire(599);
    assert_eq!(rig.woken(), 0);
    rig.relay.expire(600);
    assert_eq!(rig.woken(), 1, "it was idle for too long");
    assert!(rig.relay.closing());
}

#[test]
fn bytes_on_a_stream_wake_the_task() {
    let mut rig = Rig::new(1024);
    assert!(rig.poll().is_pending());
    let text = from_client(0x81, b"hi");
    send(&mut rig.client, &text);
    assert!(rig.woken() > 0);
    assert!(rig.poll().is_pending());
    assert_eq!(take(&mut rig.backend), text);
}

#[test]
fn a_cut_writes_close_frames_at_once_and_ends_at_the_next_poll() {
    let mut rig = Rig::new(1024);
    assert!(rig.poll().is_pending());
    rig.relay.cut(0);
    let frame = close_frame(1001, "session ended", None);
    assert_eq!(take(&mut rig.client), frame, "before any poll");
    assert_eq!(take(&mut rig.backend)[0], 0x88);
    rig.relay.cut(0);
    assert_eq!(take(&mut rig.client), b"", "there is one close frame");
    let ended = Ending {
        by: EndedBy::Gateway,
        cause: Cause::Shutdown,
        close_code: Some(1001),
        clean: false,
    };
    assert_eq!(rig.poll(), Poll::Ready(Turn::Ended(ended)));
    assert!(rig.relay.state(0).is_none());
}

#[test]
fn the_stream_of_a_backend_that_is_left_is_dropped() {
    let mut rig = Rig::new(1024);
    assert!(rig.relay.leave(&drained(), 0));
    assert!(rig.poll().is_pending());
    assert_eq!(take(&mut rig.backend)[0], 0x88);
    send(&mut rig.backend, &close_frame(1012, "", None));
    let needed = Turn::BackendNeeded(ResumeReason::Draining);
    assert_eq!(rig.poll(), Poll::Ready(needed));
    assert!(rig.relay.streams().1.is_none() && rig.relay.needs_backend());
    assert!(rig.poll().is_pending(), "it is reported once");
    let (backend, inner) = duplex(1024);
    rig.relay.attach(inner, Vec::new(), 0);
    assert!(rig.woken() > 0 && rig.relay.streams().1.is_some());
    rig.backend = backend;
    let text = from_client(0x81, b"to the next");
    send(&mut rig.client, &text);
    assert!(rig.poll().is_pending());
    assert_eq!(take(&mut rig.backend), text);
}

/// A stream whose TLS peer went without a close_notify alert.
struct Truncated;

impl AsyncRead for Truncated {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
    }
}

impl AsyncWrite for Truncated {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for Truncated {
    fn send_queue(&self) -> Option<SendQueue> {
        None
    }
}

#[test]
fn a_tls_stream_without_close_notify_ended_in_order() {
    let mut relay = Relay::new(Truncated, Truncated, setup(), 0);
    let mut cx = Context::from_waker(Waker::noop());
    let turn = relay.poll(&mut cx, &mut ReadBuffer::new(64), 0);
    let Poll::Ready(Turn::Ended(ended)) = turn else {
        panic!("{turn:?}");
    };
    let expected = (EndedBy::Client, Cause::Disconnected);
    assert_eq!(
        (ended.by, ended.cause),
        expected,
        "a failure would be a reset"
    );
}

/// A stream in memory without a runtime: all input is there from the beginning.
struct Memory {
    input: VecDeque<u8>,
    output: Vec<u8>,
}

impl Link for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = buffer.len().min(self.input.len());
        for (to, from) in buffer.iter_mut().zip(self.input.drain(..read)) {
            *to = from;
        }
        Poll::Ready(Ok(read))
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Masking keys that two drivers have in common.
const FIXED: Entropy = |bytes| bytes.fill(0x5A);

/// What client and backend receive, and how the session ends.
type Outcome = (Vec<u8>, Vec<u8>, Ending);

fn without_moves() -> Setup {
    Setup {
        hold: None,
        ..setup()
    }
}

fn in_memory(up: &[u8], down: &[u8]) -> Outcome {
    let stream = |bytes: &[u8]| Memory {
        input: bytes.iter().copied().collect(),
        output: Vec::new(),
    };
    let (mut client, mut backend) = (stream(up), stream(down));
    let mut machine = Machine::new(without_moves(), FIXED, 0);
    let mut buffer = ReadBuffer::new(READ_BYTES);
    loop {
        let sink = Some(&mut backend);
        match pump::turn(&mut machine, &mut client, sink, &mut buffer, 0) {
            Pumped::Turn(Turn::Ended(ending)) => return (client.output, backend.output, ending),
            Pumped::Again => {}
            other => panic!("both streams ended: {other:?}"),
        }
    }
}

fn with_tokio(up: &[u8], down: &[u8]) -> Outcome {
    let mut rig = Rig::new(1 << 16);
    rig.relay.machine = Machine::new(without_moves(), FIXED, 0);
    send(&mut rig.client, up);
    send(&mut rig.backend, down);
    let mut cx = Context::from_waker(Waker::noop());
    for stream in [&mut rig.client, &mut rig.backend] {
        assert!(Pin::new(stream).poll_shutdown(&mut cx).is_ready());
    }
    loop {
        if let Poll::Ready(turn) = rig.poll() {
            let Turn::Ended(ending) = turn else {
                panic!("{turn:?}");
            };
            return (take(&mut rig.client), take(&mut rig.backend), ending);
        }
        assert!(rig.woken() > 0, "both streams ended");
    }
}

/// Frames of one side, valid and not.
fn frames(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(0x81_u8),
        4 => Just(0x82),
        2 => Just(0x01),
        2 => Just(0x80),
        2 => Just(0x89),
        2 => Just(0x8A),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..100);
    let frame = (first, payload).prop_map(move |(first, payload)| {
        if masked {
            from_client(first, &payload)
        } else {
            [&[first, payload.len() as u8], &payload[..]].concat()
        }
    });
    prop::collection::vec(frame, 0..40).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn the_engine_and_a_driver_without_tokio_bring_the_same_bytes(
        up in frames(true),
        down in frames(false),
        cut in any::<prop::sample::Index>(),
    ) {
        // Half a frame at the end of the client's stream.
        let up = &up[..up.len() - cut.index(up.len() + 1) % 8 % (up.len() + 1)];
        prop_assert_eq!(with_tokio(up, &down), in_memory(up, &down));
    }
}

#[tokio::test]
async fn i10_payload_is_never_changed_over_streams_that_wait() {
    let rig = Rig::new(7);
    let (mut client, mut backend) = (rig.client, rig.backend);
    let (mut relay, mut buffer) = (rig.relay, rig.buffer);
    let up: Vec<u8> = (0..40).flat_map(|n| from_client(0x82, &[n; 100])).collect();
    let down: Vec<u8> = (0..40)
        .flat_map(|n| [&[0x82, 100][..], &[n; 100]].concat())
        .collect();
    let (mut came_up, mut came_down) = (vec![0; up.len()], vec![0; down.len()]);
    let (mut client_in, mut client_out) = tokio::io::split(&mut client);
    let (mut backend_in, mut backend_out) = tokio::io::split(&mut backend);
    let relaying = poll_fn(|cx| relay.poll(cx, &mut buffer, 0));
    let peers = async {
        tokio::try_join!(
            client_out.write_all(&up),
            backend_out.write_all(&down),
            backend_in.read_exact(&mut came_up),
            client_in.read_exact(&mut came_down),
        )
        .expect("everything arrives");
    };
    tokio::select! {
        turn = relaying => panic!("ended early: {turn:?}"),
        () = peers => {}
    }
    assert_eq!((came_up, came_down), (up, down));
}
