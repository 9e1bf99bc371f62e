//! Sessions over in-memory streams of any width, with a clock that the test owns.

mod endings;
mod floods;
mod handover;
mod life;
mod moving;
mod random;
mod silence;

use std::future::poll_fn;
use std::pin::Pin;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::core::session::record::EndedBy;
use crate::core::wire::frame::close_frame;
use crate::core::wire::tracker::Extensions;

const RULES: Rules = Rules {
    frame_bytes: 1 << 20,
    message_bytes: 1 << 20,
    extensions: Extensions::None,
};
const TIMES: Times = Times {
    idle: Some(600),
    lifetime_at: Some(10_000),
    expires_at: None,
    close: 50,
};

/// A relay and the far ends of its two streams.
struct Rig {
    relay: Relay<DuplexStream>,
    client: DuplexStream,
    backend: DuplexStream,
    scratch: Scratch,
    now: Tick,
}

impl Rig {
    fn new(width: usize) -> Self {
        Self::with(width, RULES, Vec::new())
    }

    fn with(width: usize, client_rules: Rules, client_early: Vec<u8>) -> Self {
        let (client, inner_client) = duplex(width);
        let (backend, inner_backend) = duplex(width);
        let setup = Setup {
            client_rules,
            client_early,
            ..Self::setup()
        };
        let relay = Relay::new(inner_client, inner_backend, setup, 0);
        Self {
            relay,
            client,
            backend,
            scratch: Scratch::new(4096),
            now: 0,
        }
    }

    /// What a relay starts with that does nothing of its own.
    fn setup() -> Setup {
        Setup {
            client_rules: RULES,
            backend_rules: RULES,
            client_early: Vec::new(),
            backend_early: Vec::new(),
            times: TIMES,
            backend_lost_code: 1011,
            hold: None,
            keepalive: None,
            throttle: None,
            warning: None,
            in_band: None,
        }
    }

    /// Lets the relay do what it can.
    async fn turn(&mut self) -> Option<Ending> {
        let turn = poll_fn(|cx| {
            let poll = self.relay.poll(cx, &mut self.scratch, self.now);
            Poll::Ready(match poll {
                Poll::Ready(Turn::Ended(ending)) => Some(ending),
                _ => None,
            })
        });
        turn.await
    }

    /// Lets the relay run to its end.
    async fn run(&mut self) -> Ending {
        let turn = poll_fn(|cx| self.relay.poll(cx, &mut self.scratch, self.now));
        match turn.await {
            Turn::Ended(ending) => ending,
            other => panic!("{other:?}"),
        }
    }
}

fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let mut frame = vec![first, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

fn from_backend(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[first, length], payload].concat()
}

async fn read_now(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    let read = poll_fn(|cx| {
        let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
        let poll = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
        Poll::Ready(if poll.is_ready() {
            buffer.filled().len()
        } else {
            0
        })
    })
    .await;
    bytes.truncate(read);
    bytes
}

fn ending(by: EndedBy, cause: Cause, close_code: Option<u16>, clean: bool) -> Ending {
    Ending {
        by,
        cause,
        close_code,
        clean,
    }
}

#[tokio::test]
async fn i6_an_orderly_close_is_the_clients() {
    let mut rig = Rig::new(1024);
    rig.client
        .write_all(&from_client(0x81, b"hi"))
        .await
        .expect("room");
    rig.client
        .write_all(&close_frame(1000, "", Some([0; 4])))
        .await
        .expect("room");
    assert_eq!(rig.turn().await, None);
    let came = read_now(&mut rig.backend).await;
    assert_eq!(
        came,
        [
            from_client(0x81, b"hi"),
            close_frame(1000, "", Some([0; 4]))
        ]
        .concat()
    );
    rig.backend
        .write_all(&close_frame(1000, "", None))
        .await
        .expect("room");
    drop(rig.backend);
    rig.backend = duplex(1).0;
    assert_eq!(rig.turn().await, None, "the client has not left yet");
    let mut answer = Vec::new();
    rig.client
        .read_to_end(&mut answer)
        .await
        .expect("the gateway ends the connection");
    assert_eq!(answer, close_frame(1000, "", None));
    rig.client.shutdown().await.expect("open");
    assert_eq!(
        rig.run().await,
        ending(EndedBy::Client, Cause::CloseFrame, Some(1000), true)
    );
    assert_eq!(
        (rig.relay.to_backend().text, rig.relay.to_backend().close),
        (1, 1)
    );
}

#[tokio::test]
async fn a_lost_backend_is_told_to_the_client() {
    let mut rig = Rig::new(1024);
    rig.backend
        .write_all(&from_backend(0x82, b"last words"))
        .await
        .expect("room");
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    assert_eq!(rig.turn().await, None);
    let mut came = Vec::new();
    rig.client
        .read_to_end(&mut came)
        .await
        .expect("the gateway ends the connection");
    let lost = close_frame(1011, "backend lost", None);
    assert_eq!(came, [from_backend(0x82, b"last words"), lost].concat());
    drop(std::mem::replace(&mut rig.client, duplex(1).0));
    assert_eq!(
        rig.run().await,
        ending(EndedBy::Backend, Cause::Disconnected, Some(1011), false)
    );
}

#[tokio::test]
async fn i10_nothing_goes_into_the_middle_of_a_frame() {
    let mut rig = Rig::new(1024);
    let frame = from_backend(0x82, b"this one breaks off");
    rig.backend.write_all(&frame[..9]).await.expect("room");
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    rig.turn().await;
    let mut came = Vec::new();
    rig.client
        .read_to_end(&mut came)
        .await
        .expect("the gateway ends the connection");
    assert_eq!(came, &frame[..9]);
    drop(std::mem::replace(&mut rig.client, duplex(1).0));
    assert_eq!(
        rig.run().await,
        ending(EndedBy::Backend, Cause::Disconnected, None, false)
    );
}

#[tokio::test]
async fn i10_the_gateways_close_waits_for_the_frame_to_end() {
    let mut rig = Rig::new(1024);
    let frame = from_backend(0x82, b"in two parts");
    rig.backend.write_all(&frame[..5]).await.expect("room");
    rig.turn().await;
    let order = CloseOrder {
        code: 1001,
        reason: "going".into(),
        cause: Cause::Shutdown,
    };
    assert!(rig.relay.close(&order, 0));
    assert!(!rig.relay.close(&order, 0), "it is closing already");
    rig.turn().await;
    assert_eq!(read_now(&mut rig.client).await, &frame[..5]);
    let late = from_backend(0x82, b"too late");
    rig.backend
        .write_all(&[&frame[5..], &late].concat())
        .await
        .expect("room");
    rig.turn().await;
    let rest = read_now(&mut rig.client).await;
    assert_eq!(
        rest,
        [&frame[5..], &close_frame(1001, "going", None)].concat()
    );
    // What the client still says, its answer included, goes on to the backend.
    let said = [
        from_client(0x81, b"ok"),
        close_frame(1001, "", Some([0; 4])),
    ]
    .concat();
    rig.client.write_all(&said).await.expect("room");
    rig.turn().await;
    assert_eq!(read_now(&mut rig.backend).await, said);
    drop(std::mem::replace(&mut rig.client, duplex(1).0));
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    assert_eq!(
        rig.run().await,
        ending(EndedBy::Gateway, Cause::Shutdown, Some(1001), true)
    );
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_so_after_the_answers_to_what_was_good() {
    let mut rig = Rig::new(1024);
    let good = from_client(0x81, b"good");
    let bad = from_client(0x83, b"bad");
    rig.client
        .write_all(&[good.clone(), bad].concat())
        .await
        .expect("room");
    rig.turn().await;
    let told_backend = read_now(&mut rig.backend).await;
    assert!(told_backend.starts_with(&good));
    assert_eq!(
        told_backend[good.len()],
        0x88,
        "the backend is told as well"
    );
    assert_eq!(
        read_now(&mut rig.client).await,
        b"",
        "the backend has the word"
    );
    let answer = from_backend(0x81, b"answer");
    let farewell = close_frame(1002, "", None);
    rig.backend
        .write_all(&[answer.clone(), farewell].concat())
        .await
        .expect("room");
    rig.turn().await;
    let mut told = Vec::new();
    rig.client
        .read_to_end(&mut told)
        .await
        .expect("the gateway ends the connection");
    assert_eq!(
        told,
        [answer, close_frame(1002, "unknown opcode", None)].concat()
    );
    drop(std::mem::replace(&mut rig.client, duplex(1).0));
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    let ended = rig.run().await;
    let expected = ending(
        EndedBy::Gateway,
        Cause::ClientProtocolError,
        Some(1002),
        true,
    );
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn a_backend_without_a_last_word_is_not_waited_for() {
    let mut rig = Rig::new(1024);
    rig.client
        .write_all(&from_client(0x83, b"bad"))
        .await
        .expect("room");
    rig.turn().await;
    assert_eq!(rig.relay.due(), Some(10));
    rig.relay.expire(10);
    rig.turn().await;
    assert_eq!(
        read_now(&mut rig.client).await,
        close_frame(1002, "unknown opcode", None)
    );
    rig.relay.expire(60);
    assert!(!rig.run().await.clean);
}

#[tokio::test]
async fn i8_a_reader_that_stops_makes_its_sender_stop() {
    let mut rig = Rig::new(64);
    let message = from_client(0x82, &[7; 100]);
    let mut written = 0;
    for _ in 0..200 {
        let poll =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut rig.client).poll_write(cx, &message))).await;
        match poll {
            Poll::Ready(bytes) => written += bytes.expect("open"),
            Poll::Pending => break,
        }
        rig.turn().await;
    }
    // Two stream buffers of 64 bytes, and one read of the gateway's.
    assert!(written <= 3 * 64, "{written} bytes were taken in");
    assert!(
        rig.relay.held() <= 64,
        "{} bytes are held",
        rig.relay.held()
    );
}

#[tokio::test]
async fn silence_and_age_end_a_session_with_a_reason() {
    let mut rig = Rig::new(1024);
    rig.now = 500;
    rig.client
        .write_all(&from_client(0x81, b"awake"))
        .await
        .expect("room");
    rig.turn().await;
    assert_eq!(
        rig.relay.due(),
        Some(1_100),
        "idle time counts from the last byte"
    );
    rig.relay.expire(1_099);
    assert!(!rig.relay.closing());
    rig.now = 1_100;
    rig.relay.expire(1_100);
    rig.turn().await;
    assert_eq!(
        read_now(&mut rig.client).await,
        close_frame(3008, "idle for too long", None)
    );
    assert_eq!(
        rig.relay.due(),
        Some(1_150),
        "a peer that does not answer is waited for so long"
    );
    rig.relay.expire(1_150);
    assert_eq!(
        rig.run().await,
        ending(EndedBy::Gateway, Cause::IdleTimeout, Some(3008), false)
    );
}

#[tokio::test]
async fn what_the_client_said_early_goes_first() {
    let early = from_client(0x81, b"early bird");
    let mut rig = Rig::with(1024, RULES, early[..7].to_vec());
    rig.client.write_all(&early[7..]).await.expect("room");
    rig.turn().await;
    assert_eq!(read_now(&mut rig.backend).await, early);
}

#[tokio::test]
async fn a_half_closed_client_still_hears_the_backend() {
    let mut rig = Rig::new(1024);
    rig.client.shutdown().await.expect("open");
    rig.turn().await;
    let mut rest = Vec::new();
    rig.backend
        .read_to_end(&mut rest)
        .await
        .expect("told that the client says no more");
    rig.now = 45;
    let answer = from_backend(0x81, b"still here");
    rig.backend.write_all(&answer).await.expect("room");
    rig.turn().await;
    assert_eq!(read_now(&mut rig.client).await, answer);
    assert_eq!(
        rig.relay.due(),
        Some(95),
        "it may go on for as long as it says something"
    );
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    assert_eq!(
        rig.run().await,
        ending(EndedBy::Client, Cause::Disconnected, None, false)
    );
}

#[tokio::test]
async fn a_half_closed_session_can_still_be_ended_by_the_gateway() {
    let mut rig = Rig::new(1024);
    rig.client.shutdown().await.expect("open");
    rig.turn().await;
    let order = CloseOrder {
        code: 1008,
        reason: "kicked".into(),
        cause: Cause::Kicked,
    };
    assert!(rig.relay.close(&order, 0));
    rig.turn().await;
    assert_eq!(
        read_now(&mut rig.client).await,
        close_frame(1008, "kicked", None)
    );
    // Nor does it live beyond its lifetime, however much the backend says.
    let mut old = Rig::new(1024);
    old.client.shutdown().await.expect("open");
    old.turn().await;
    old.now = 9_990;
    old.backend
        .write_all(&from_backend(0x81, b"on and on"))
        .await
        .expect("room");
    old.turn().await;
    assert_eq!(old.relay.due(), Some(10_000));
    old.relay.expire(10_000);
    let ended = ending(EndedBy::Gateway, Cause::LifetimeReached, Some(1001), false);
    old.relay.expire(10_050);
    assert_eq!(old.run().await, ended);
}

#[tokio::test]
async fn i10_a_cut_writes_nothing_behind_half_a_frame() {
    let mut rig = Rig::new(16);
    let frame = from_client(0x82, &[7; 18]);
    let mut sent = 0;
    while sent < frame.len() {
        let rest = &frame[sent..];
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut rig.client).poll_write(cx, rest))).await {
            Poll::Ready(written) => sent += written.expect("open"),
            Poll::Pending => break,
        }
        rig.turn().await;
    }
    assert!(rig.relay.held() > 0, "the backend does not read");
    let before = read_now(&mut rig.backend).await;
    rig.relay.cut(0);
    rig.run().await;
    let after = read_now(&mut rig.backend).await;
    assert!(
        frame.starts_with(&[before, after].concat()),
        "payload was changed"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// I10 over streams of any width: what comes out is what went in, byte for byte, in both
    /// directions.
    #[test]
    fn i10_payload_is_never_changed(
        width in 1_usize..200,
        up in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20),
        down in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let up: Vec<u8> = up.iter().flat_map(|payload| from_client(0x82, payload)).collect();
        let down: Vec<u8> = down.iter().flat_map(|payload| from_backend(0x82, payload)).collect();
        let rig = Rig::new(width);
        let (mut client, mut backend) = (rig.client, rig.backend);
        let (mut relay, mut scratch) = (rig.relay, rig.scratch);
        let (came_up, came_down) = runtime.block_on(async {
            let mut came_up = vec![0; up.len()];
            let mut came_down = vec![0; down.len()];
            let (mut client_in, mut client_out) = tokio::io::split(&mut client);
            let (mut backend_in, mut backend_out) = tokio::io::split(&mut backend);
            let pumps = poll_fn(|cx| relay.poll(cx, &mut scratch, 0));
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
                ending = pumps => panic!("ended early: {ending:?}"),
                () = peers => {}
            }
            (came_up, came_down)
        });
        prop_assert_eq!(came_up, up);
        prop_assert_eq!(came_down, down);
    }
}
