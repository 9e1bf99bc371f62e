//! What the session understands of a server's bytes, at every cut.

use bytes::BufMut;

use super::*;
use crate::io::broker::{PAYLOAD_MAX, Received, ends};

fn feed(session: &mut Session, link: &mut Link, bytes: &[u8]) -> Result<BytesMut, Fault> {
    let mut input = BytesMut::from(bytes);
    while !input.is_empty() && session.read(&mut input, link)? {}
    Ok(input)
}

fn outgoing(link: &mut Link) -> (u64, tokio::sync::oneshot::Receiver<Result<(), NotCarried>>) {
    let (confirm, answer) = tokio::sync::oneshot::channel();
    (link.pending.push(confirm), answer)
}

#[tokio::test]
async fn answers_and_pushes_are_read_at_every_cut() {
    let bytes = b">3\r\n$9\r\nsubscribe\r\n$13\r\nsessile.fleet\r\n:1\r\n\
                  >3\r\n$7\r\nmessage\r\n$13\r\nsessile.fleet\r\n$4\r\na\r\nb\r\n\
                  :2\r\n-NOPERM no\r\n+PONG\r\n-NOPERM never\r\n";
    for cut in 0..bytes.len() {
        let (_broker, mut received, end) = ends();
        let mut link = Link::new(end.incoming);
        let mut session = Session::new(&"sessile".into(), false);
        session.subscribe(Topic::Fleet, &mut link);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (number, answer) = outgoing(&mut link);
            session.expected.push_back(Expected::Published(number));
            answers.push(answer);
        }
        session.ping(&mut link);
        session.ping(&mut link);
        session.subscribe(Topic::Foreign("x".into()), &mut link);
        let mut rest = feed(&mut session, &mut link, &bytes[..cut]).unwrap();
        rest.put_slice(&bytes[cut..]);
        assert!(feed(&mut session, &mut link, &rest).unwrap().is_empty());
        let expected = Received {
            topic: Topic::Fleet,
            payload: "a\r\nb".into(),
        };
        assert_eq!(received.next().await, Some(expected));
        let answers = answers.iter_mut().map(|one| one.try_recv().unwrap());
        let refused = NotCarried::Refused("NOPERM no".to_owned());
        assert_eq!(answers.collect::<Vec<_>>(), [Ok(()), Err(refused)]);
        assert_eq!(
            link.refused.as_deref(),
            Some("it refuses the subscription of x: NOPERM never")
        );
        assert_eq!(session.pings, 0);
    }
}

#[test]
fn what_is_too_large_is_skipped_and_counted_and_nonsense_ends_the_connection() {
    let (_broker, received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = Session::new(&"sessile".into(), false);
    let size = PAYLOAD_MAX + 1;
    let large = format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n${size}\r\n");
    assert!(
        feed(&mut session, &mut link, large.as_bytes())
            .unwrap()
            .is_empty()
    );
    assert_eq!((link.skip, received.dropped()), (size + 2, 1));
    for nonsense in [
        "HTTP/1.1 400\r\n",
        "+OK\r\n",
        ":x\r\n",
        "$1\r\nabc\r\n",
        "$-7\r\n",
        "*99999999999999999999\r\n",
        "*9999999\r\n",
        "\r\n",
        ">2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n",
        ">3\r\n$7\r\nmessage\r\n$9999999999\r\na\r\n",
    ] {
        let mut session = Session::new(&"sessile".into(), false);
        let read = feed(&mut session, &mut link, nonsense.as_bytes());
        assert!(read.is_err(), "{nonsense:?}");
    }
    // Arrays within arrays cost no stack.
    let deep = "*1\r\n".repeat(100_000);
    assert!(scan(deep.as_bytes()).unwrap().is_none());
}

#[test]
fn slots_that_move_end_the_connection() {
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = Session::new(&"sessile".into(), true);
    session.subscribe(Topic::Fleet, &mut link);
    session.unsubscribe(&Topic::Fleet, &mut link);
    let wrote = b"*2\r\n$10\r\nSSUBSCRIBE\r\n$13\r\nsessile.fleet\r\n\
                  *2\r\n$12\r\nSUNSUBSCRIBE\r\n$13\r\nsessile.fleet\r\n";
    assert_eq!(&link.out[..], wrote);
    let ended = b">3\r\n$12\r\nsunsubscribe\r\n$13\r\nsessile.fleet\r\n:0\r\n";
    let done = b">3\r\n$10\r\nssubscribe\r\n$13\r\nsessile.fleet\r\n:1\r\n";
    feed(&mut session, &mut link, done).unwrap();
    feed(&mut session, &mut link, ended).unwrap();
    assert!(feed(&mut session, &mut link, ended).is_err());
    let (number, mut answer) = outgoing(&mut link);
    session.expected.push_back(Expected::Published(number));
    assert!(feed(&mut session, &mut link, b"-MOVED 1 10.0.0.1:7000\r\n").is_err());
    assert_eq!(answer.try_recv().unwrap(), Err(NotCarried::NotConnected));
}
