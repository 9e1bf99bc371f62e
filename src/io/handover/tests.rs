use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::*;

fn pair() -> (Wire, Wire) {
    let (one, other) = UnixStream::pair().expect("two sockets");
    (Wire::new(one).expect("us"), Wire::new(other).expect("us"))
}

async fn next(wire: &mut Wire) -> Message<FromNew> {
    wire.receive()
        .await
        .expect("a message")
        .expect("not the end")
}

fn taken(random: u128) -> FromNew {
    FromNew::Taken {
        taken: vec![SessionId::new(7, random)],
        refused: Vec::new(),
    }
}

#[tokio::test]
async fn messages_come_one_by_one_each_with_its_own_descriptors_and_attachment() {
    let (mut new, mut old) = pair();
    let (mut far, near) = std::os::unix::net::UnixStream::pair().expect("two sockets");
    let big = vec![7; 3_000_000];
    let sender = tokio::spawn(async move {
        new.send_message(&FromNew::Serving).await.expect("room");
        let fds = [near.as_fd()];
        new.send(&FromNew::Finished, &[&big[..1000], &big[1000..]], &fds)
            .await
            .expect("room");
        new.send(&taken(1), &[b"x"], &[]).await.expect("room");
    });
    let first = next(&mut old).await;
    assert_eq!(first.content, FromNew::Serving);
    assert!(first.descriptors.is_empty() && first.attachment.is_empty());
    let second = next(&mut old).await;
    assert_eq!(second.content, FromNew::Finished);
    assert_eq!(*second.attachment, vec![7; 3_000_000]);
    let descriptor = second.descriptors.into_iter().next().expect("one came");
    far.write_all(b"hi").expect("open");
    let mut read = [0; 2];
    let mut near = std::os::unix::net::UnixStream::from(descriptor);
    near.read_exact(&mut read).expect("it is the same socket");
    let third = next(&mut old).await;
    assert_eq!(
        (third.content, &third.attachment[..]),
        (taken(1), &b"x"[..])
    );
    sender.await.expect("no panic");
    assert!(old.receive::<FromNew>().await.expect("an end").is_none());
}

#[tokio::test]
async fn after_shutting_the_receiving_side_all_sent_messages_are_read() {
    let (mut new, mut old) = pair();
    new.send_message(&taken(1)).await.expect("room");
    new.send_message(&taken(2)).await.expect("room");
    old.shut_receiving().expect("open");
    new.send_message(&taken(3))
        .await
        .expect_err("nothing gets through any more");
    assert_eq!(next(&mut old).await.content, taken(1));
    assert_eq!(next(&mut old).await.content, taken(2));
    assert!(old.receive::<FromNew>().await.expect("an end").is_none());
}

#[tokio::test]
async fn messages_of_a_process_that_died_are_read() {
    let (mut new, mut old) = pair();
    // Unread bytes in its queue must not hide its message.
    old.send_message(&FromOld::Batch).await.expect("room");
    new.send_message(&taken(1)).await.expect("room");
    drop(new);
    assert_eq!(next(&mut old).await.content, taken(1));
    assert!(!matches!(old.receive::<FromNew>().await, Ok(Some(_))));
}

#[tokio::test]
async fn strangers_talk_is_refused() {
    let check = async |bytes: &[u8], wanted: &str| {
        let (mut raw, other) = UnixStream::pair().expect("two sockets");
        let mut wire = Wire::new(other).expect("us");
        raw.write_all(bytes).await.expect("room");
        drop(raw);
        let error = wire.receive::<FromNew>().await.expect_err("no message");
        assert!(error.to_string().contains(wanted), "{error}");
    };
    check(b"GET / HTTP/1.1\r\n\r\n", "not a hand-over message").await;
    check(
        b"SSH1\0\0\0\x02\0\0\0\0\0\0\0\0{}",
        "cannot parse a message",
    )
    .await;
    check(b"SSH1\0\0\0\x02\0\0\0\0\0\0\0\x01{}", "0 descriptors").await;
    check(b"SSH1\0\x10\0\0\0\0\0\0\0\0\0\0", "too big").await;
    check(b"SSH1\0\0\0\x02\xff\0\0\0\0\0\0\0", "too big").await;
    check(b"SSH1\0\0\0\x02\0\0\0\0\0\0\0\x03", "too big").await;
    check(b"SSH1\0\0\0\x02", "broke").await;
    let unknown = br#"{"send_message":"failed","reason":"","more":1}"#;
    let header = [&b"SSH1\0\0\0\x25\0\0\0\0\0\0\0\0"[..], unknown].concat();
    check(&header, "cannot parse a message").await;
}

#[test]
fn versions_must_meet() {
    assert_eq!(agree(PROTOCOL, (STATE_OLDEST, STATE)), Ok(()));
    assert_eq!(agree(PROTOCOL, (STATE, STATE + 3)), Ok(()));
    assert!(agree(PROTOCOL + 1, (STATE_OLDEST, STATE)).is_err());
    assert!(agree(PROTOCOL, (STATE + 1, STATE + 2)).is_err());
    assert!(agree(PROTOCOL, (0, STATE - 1)).is_err());
}
