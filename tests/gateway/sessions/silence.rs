//! Keepalive beside transfers that one side holds up: a side that the gateway does not read, or
//! cannot write to, is not silent.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify, mpsc};

use crate::support::backend::upgrade;
use crate::support::raw::Raw;
use crate::support::time::pace;
use crate::support::{Backend, Gateway, config, soon};

/// Much shorter than the time for which a side does not read.
const KEEPALIVE: &str = "keepalive = { interval = \"500ms\", timeout = \"2s\", to = \"both\" }";
const HELD_UP: Duration = Duration::from_secs(6);
const MESSAGE: usize = 60_000;
/// Pings that each side answers when both have everything.
const PINGS_BEHIND: u32 = 3;

/// A frame, masked with zeros or not at all.
fn frame(first: u8, payload: &[u8], mask: bool) -> Vec<u8> {
    let bit = if mask { 0x80 } else { 0 };
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(bit | length),
        _ => {
            frame.push(bit | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    if mask {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// Reads one frame: its first byte and its payload, unmasked.
async fn read_frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.ok()?;
    let length = match second & 0x7F {
        126 => usize::from(stream.read_u16().await.ok()?),
        short => usize::from(short),
    };
    let mut key = [0; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut key).await.ok()?;
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    let masked = payload.iter_mut().zip(key.iter().cycle());
    masked.for_each(|(byte, key)| *byte ^= key);
    Some((first, payload))
}

/// One side of a session, which answers pings between its own frames: sends so many messages, reads
/// nothing for a while, then everything. Answers how many messages came before the first text,
/// which the other side sends when it has everything, and how many pings.
async fn talk(
    stream: TcpStream,
    begun: Vec<u8>,
    mask: bool,
    messages: usize,
    pause: Duration,
    both: Arc<Barrier>,
) -> (usize, usize) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = Cursor::new(begun).chain(reader);
    let (pongs, mut to_send) = mpsc::unbounded_channel::<Vec<u8>>();
    let sending = tokio::spawn(async move {
        for _ in 0..messages {
            while let Ok(pong) = to_send.try_recv() {
                writer.write_all(&pong).await.unwrap();
            }
            let message = frame(0x82, &[7; MESSAGE], mask);
            writer.write_all(&message).await.unwrap();
        }
        writer
            .write_all(&frame(0x81, b"that was all", mask))
            .await
            .unwrap();
        while let Some(pong) = to_send.recv().await {
            // It may be over.
            writer.write_all(&pong).await.ok();
        }
    });
    pace(pause).await;
    let (mut came, mut pings) = (0, 0);
    loop {
        match read_frame(&mut reader).await {
            Some((0x89, payload)) => {
                pings += 1;
                pongs.send(frame(0x8A, &payload, mask)).unwrap();
            }
            Some((0x82, _)) => came += 1,
            Some((0x81, _)) => break,
            other => panic!("{other:?} after {came} messages"),
        }
    }
    // Until both have everything, and for some pings behind that, only pings are answered.
    let (transferred, enough) = (AtomicBool::new(false), Notify::new());
    let idle = async {
        let mut behind = 0;
        while let Some((first, payload)) = read_frame(&mut reader).await {
            assert_eq!(first, 0x89, "the session ends");
            pings += 1;
            pongs.send(frame(0x8A, &payload, mask)).unwrap();
            behind += u32::from(transferred.load(Ordering::Relaxed));
            if behind == PINGS_BEHIND {
                enough.notify_one();
            }
        }
        panic!("the connection ends");
    };
    let over = async {
        both.wait().await;
        transferred.store(true, Ordering::Relaxed);
        enough.notified().await;
        both.wait().await;
    };
    tokio::select! {
        () = idle => {}
        () = over => {}
    }
    drop(pongs);
    sending.await.unwrap();
    (came, pings)
}

/// A session in which one side sends and the other does not read for a while.
async fn session(client_sends: usize, backend_sends: usize) -> ((usize, usize), (usize, usize)) {
    let (sender, mut heard) = mpsc::channel(1);
    let pause = |sent: usize| if sent > 0 { HELD_UP } else { Duration::ZERO };
    let backend_pause = pause(client_sends);
    let both = Arc::new(Barrier::new(2));
    let barrier = Arc::clone(&both);
    let backend = Backend::scripted(move |mut stream| {
        let (sender, both) = (sender.clone(), Arc::clone(&barrier));
        async move {
            upgrade(&mut stream).await;
            let heard = talk(
                stream,
                Vec::new(),
                false,
                backend_sends,
                backend_pause,
                both,
            )
            .await;
            sender.send(heard).await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", KEEPALIVE)).await;
    let mut client = Raw::upgrade(gateway.address()).await;
    let begun = client.take_read();
    let client_pause = pause(backend_sends);
    let client = talk(client.stream, begun, true, client_sends, client_pause, both);
    let client = tokio::spawn(client);
    let of_backend = soon("what the backend heard", heard.recv()).await.unwrap();
    (client.await.unwrap(), of_backend)
}

#[tokio::test]
async fn a_client_whose_backend_does_not_read_for_a_while_is_not_given_up() {
    let ((_, pings), (came, _)) = session(340, 0).await;
    assert_eq!(came, 340, "of twenty million bytes");
    assert!(pings > 0, "the client was asked when it could answer");
}

#[tokio::test]
async fn a_backend_whose_client_does_not_read_for_a_while_is_not_lost() {
    let ((came, _), (_, pings)) = session(0, 500).await;
    assert_eq!(came, 500, "of thirty million bytes");
    assert!(pings > 0, "the backend was asked when it could answer");
}
