//! The end of a session while bytes are under way: each side gets all that it was sent, and a close
//! frame behind it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::backend::{upgrade, wait_for_end};
use crate::support::raw::{Raw, masked, unmasked};
use crate::support::time::pace;
use crate::support::{Backend, Gateway, config, soon};

/// What is under way: messages of this size, six million bytes together.
const MESSAGE: usize = 60_000;
const MESSAGES: usize = 100;
/// The slow side reads so much at once, forty times, which takes it four seconds: four times what
/// `timeouts.close` allows without a byte.
const CHUNK_BYTES: usize = 150_000;
const CLOSE: &str = "timeouts = { close = \"1s\" }";

/// A whole binary message.
fn message(mask: bool) -> Vec<u8> {
    let length = u16::try_from(MESSAGE).unwrap().to_be_bytes();
    let head = if mask {
        vec![0x82, 0x80 | 126, length[0], length[1], 0, 0, 0, 0]
    } else {
        vec![0x82, 126, length[0], length[1]]
    };
    [head, vec![7; MESSAGE]].concat()
}

/// Reads slowly and goes on talking; answers everything that came, what is here already first, to
/// the close frame.
async fn read_slowly(stream: &mut TcpStream, mut came: Vec<u8>, to_send: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        pace(Duration::from_millis(100)).await;
        // The peer may be gone.
        stream.write_all(to_send).await.ok();
        let mut read = 0;
        while read < CHUNK_BYTES {
            match soon("the end", stream.read(&mut chunk)).await.unwrap() {
                0 => return came,
                some => {
                    came.extend_from_slice(&chunk[..some]);
                    read += some;
                }
            }
            if came.ends_with(CLOSE_FRAME) || came.ends_with(MASKED_CLOSE_FRAME) {
                return came;
            }
        }
    }
}

/// Code 4000.
const CLOSE_FRAME: &[u8] = &[0x88, 2, 0x0F, 0xA0];
/// The same from a client, masked with zeros.
const MASKED_CLOSE_FRAME: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x0F, 0xA0];

#[tokio::test]
async fn i10_a_slow_client_that_goes_on_talking_gets_all_of_a_backend_that_closes() {
    let backend = Backend::scripted(|mut stream| async move {
        upgrade(&mut stream).await;
        for _ in 0..MESSAGES {
            stream.write_all(&message(false)).await.unwrap();
        }
        stream.write_all(CLOSE_FRAME).await.unwrap();
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", CLOSE)).await;
    let mut client = Raw::upgrade_with_buffer(gateway.address(), 65_536).await;
    let to_send = masked(0x81, b"on and on");
    let begun = client.take_read();
    let came = read_slowly(&mut client.stream, begun, &to_send).await;
    let all = MESSAGES * message(false).len();
    assert_eq!(came.len(), all + CLOSE_FRAME.len());
    client.write(masked(0x88, &[0x0F, 0xA0])).await;
    assert_eq!(client.read_to_end().await, b"", "the gateway ends it");
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.ended_by, &*record.cause, record.close_code),
        ("backend", "close_frame", Some(4000))
    );
}

#[tokio::test]
async fn i10_a_slow_backend_that_goes_on_talking_gets_all_of_a_client_that_closes() {
    let (sender, mut came) = tokio::sync::mpsc::channel(1);
    let backend = Backend::scripted(move |mut stream| {
        let sender = sender.clone();
        async move {
            upgrade(&mut stream).await;
            let to_send = unmasked(0x81, b"on and on");
            let came = read_slowly(&mut stream, Vec::new(), &to_send).await;
            sender.send(came).await.unwrap();
            stream.write_all(CLOSE_FRAME).await.unwrap();
            wait_for_end(&mut stream).await;
        }
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", CLOSE)).await;
    let client = Raw::upgrade(gateway.address()).await;
    let (mut reader, mut writer) = client.stream.into_split();
    let reading = tokio::spawn(async move {
        let mut came = Vec::new();
        soon("the end", reader.read_to_end(&mut came))
            .await
            .unwrap();
        came
    });
    for _ in 0..MESSAGES {
        writer.write_all(&message(true)).await.unwrap();
    }
    writer.write_all(MASKED_CLOSE_FRAME).await.unwrap();
    let came = soon("all of it", came.recv()).await.unwrap();
    let all = MESSAGES * message(true).len();
    assert_eq!(came.len(), all + MASKED_CLOSE_FRAME.len());
    let answer = reading.await.unwrap();
    assert!(answer.ends_with(CLOSE_FRAME), "its answer comes back");
    drop(writer);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.ended_by, &*record.cause, record.close_code),
        ("client", "close_frame", Some(4000))
    );
}

#[tokio::test]
async fn a_client_that_closes_gets_an_answer_though_its_backend_just_goes() {
    // How the backend takes the close frame: it ends its connection, or sends nothing at all.
    for goes in [true, false] {
        let backend = Backend::scripted(move |mut stream| async move {
            upgrade(&mut stream).await;
            stream.write_all(&unmasked(0x81, b"hello")).await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            if !goes {
                wait_for_end(&mut stream).await;
            }
        })
        .await;
        let route = "timeouts = { close = \"400ms\" }";
        let gateway = Gateway::start(&config::echo(&[backend.address], "", route)).await;
        let mut client = Raw::upgrade(gateway.address()).await;
        assert_eq!(client.read(7).await, unmasked(0x81, b"hello"));
        client.write(masked(0x88, &[0x0F, 0xA1])).await;
        assert_eq!(
            client.read_to_end().await,
            unmasked(0x88, &[0x0F, 0xA1]),
            "the backend goes: {goes}"
        );
        drop(client);
        let record = gateway.wait_for_records(1).await.remove(0);
        assert_eq!(
            (&*record.ended_by, record.close_code, record.clean),
            ("client", Some(4001), false)
        );
    }
}
