//! What the session understands of a server's bytes, at every cut.

use super::*;
use crate::io::broker::{Received, ends};

fn session() -> Session {
    Session {
        prefix: "sessile".into(),
        payload_max: 100,
        headers: true,
        ..Session::default()
    }
}

fn read_all(session: &mut Session, link: &mut Link, bytes: &[u8]) -> Result<(), Fault> {
    let mut input = BytesMut::from(bytes);
    while !input.is_empty() && session.read(&mut input, link)? {}
    Ok(())
}

#[tokio::test]
async fn messages_are_read_at_every_cut() {
    let bytes = b"MSG sessile.fleet 1 5\r\nhe\nlo\r\nINFO {}\r\nMSG x 9 1\r\n?\r\n\
                  HMSG sessile.fleet 1 re.ply 14 16\r\nNATS/1.0\r\n\r\n\r\nab\r\nPING\r\n";
    for cut in 0..bytes.len() {
        let (_broker, mut received, end) = ends();
        let mut link = Link::new(end.incoming);
        let mut session = session();
        session.subscribe(Topic::Fleet, &mut link);
        assert_eq!(&link.out.split()[..], b"SUB sessile.fleet 1\r\nPING\r\n");
        let mut input = BytesMut::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            input.put_slice(part);
            while !input.is_empty() && session.read(&mut input, &mut link).unwrap() {}
        }
        assert!(input.is_empty());
        assert_eq!(&link.out[..], b"PONG\r\n");
        for payload in ["he\nlo", "ab"] {
            let expected = Received {
                topic: Topic::Fleet,
                payload: payload.into(),
            };
            assert_eq!(received.next().await, Some(expected));
        }
        assert_eq!(received.dropped(), 0);
    }
}

#[test]
fn what_is_too_large_is_skipped_and_counted_and_nonsense_ends_the_connection() {
    let (_broker, received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let mut input = BytesMut::from(&b"MSG a 1 99999999\r\nabc"[..]);
    assert!(session.read(&mut input, &mut link).unwrap());
    assert_eq!(
        (link.skip, received.dropped(), &input[..]),
        (100_000_001, 1, &b"abc"[..])
    );
    for nonsense in [
        "HTTP/1.1 400\r\n",
        "MSG a b c\r\n",
        "HMSG a 1 9 8\r\n",
        "PONG\r\n",
        "\r\n",
    ] {
        let mut input = BytesMut::from(nonsense.as_bytes());
        assert!(session.read(&mut input, &mut link).is_err(), "{nonsense}");
    }
    let mut endless = BytesMut::zeroed(LINE_MAX);
    assert!(session.read(&mut endless, &mut link).is_err());
}

#[test]
fn names_and_headers_cannot_break_out_of_their_line() {
    for name in ["a", "a.b-c_d", "é"] {
        assert!(is_subject(name), "{name}");
    }
    for name in [
        "",
        ".",
        "a.",
        "a..b",
        "a.*",
        ">",
        "a b",
        "a\r\nPUB x 0",
        "a\tb",
    ] {
        assert!(!is_subject(name), "{name}");
    }
    let block = |name: &str, value: &str| headers(&[(name.to_owned(), value.to_owned())]);
    assert_eq!(block("A", "b c").unwrap(), "NATS/1.0\r\nA: b c\r\n\r\n");
    for (name, value) in [("A", "b\r\nC: d"), ("A:", "b"), ("", "b"), ("A b", "c")] {
        assert_eq!(block(name, value), None, "{name} {value}");
    }
}

#[test]
fn a_refused_publish_is_told_to_its_publisher_alone() {
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let mut answers = Vec::new();
    for (number, subject) in [(1, "a"), (2, "b"), (3, "c")] {
        let (confirm, answer) = tokio::sync::oneshot::channel();
        link.pending.push(confirm);
        session.unconfirmed.insert(number, subject.to_owned());
        answers.push(answer);
    }
    session.settle(&mut link);
    session.settle(&mut link);
    assert_eq!(&link.out[..], b"PING\r\n");
    let said = b"-ERR 'Permissions Violation for Publish to \"b\"'\r\nPONG\r\n";
    let mut input = BytesMut::from(&said[..]);
    while !input.is_empty() && session.read(&mut input, &mut link).unwrap() {}
    let answers: Vec<_> = answers
        .iter_mut()
        .map(|one| one.try_recv().unwrap().is_ok())
        .collect();
    assert_eq!(answers, [true, false, true]);
    let mut input = BytesMut::from(&b"-ERR 'Authorization Violation'\r\n"[..]);
    let fault = session.read(&mut input, &mut link).unwrap_err();
    assert_eq!(fault.text(), "the server refuses: Authorization Violation");
}

fn foreign(name: &str) -> Topic {
    Topic::Foreign(name.into())
}

#[test]
fn a_full_server_refuses_subscriptions_and_the_connection_goes_on() {
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    for topic in [Topic::Fleet, foreign("a"), foreign("b"), foreign("c")] {
        session.subscribe(topic, &mut link);
    }
    link.out.clear();
    let full = "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n";
    let answers = format!("PONG\r\nPONG\r\n{full}{full}");
    read_all(&mut session, &mut link, answers.as_bytes()).expect("it goes on");
    assert!(session.pings.is_empty() && link.out.is_empty());
    let refused = link.refused.take().expect("a refusal");
    assert!(
        refused.contains("of c: the server allows no further one"),
        "{refused}"
    );
    assert_eq!(
        session.left_out,
        BTreeSet::from([foreign("b"), foreign("c")])
    );
    // What is the gateways' own takes the place of another service's.
    let group = Topic::Principal("ann".into());
    let subject = session.subject(&group).expect("a subject");
    session.subscribe(group, &mut link);
    link.out.clear();
    read_all(&mut session, &mut link, full.as_bytes()).expect("it goes on");
    let expected = format!("UNSUB 2\r\nSUB {subject} 6\r\nPING\r\n");
    assert_eq!(&link.out[..], expected.as_bytes());
    assert_eq!(session.left_out.len(), 3);
    // Room is used for what was left out, and what is wanted no longer is forgotten.
    link.out.clear();
    session.unsubscribe(&foreign("a"), &mut link);
    assert!(link.out.is_empty());
    session.unsubscribe(&Topic::Fleet, &mut link);
    assert_eq!(&link.out[..], b"UNSUB 1\r\nSUB b 7\r\nPING\r\n");
    assert_eq!(session.left_out, BTreeSet::from([foreign("c")]));
}

#[test]
fn a_refused_subject_is_found_however_many_there_are_and_however_long_it_is() {
    const COUNT: usize = 20_000;
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let name = |n: usize| format!("{}.{n}", "x".repeat(230));
    for n in 0..COUNT {
        session.subscribe(foreign(&name(n)), &mut link);
    }
    let mut answers = String::new();
    for n in 0..COUNT {
        let subject = name(n);
        answers.push_str(&format!(
            "-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\nPONG\r\n"
        ));
    }
    // With a search through all of them for each this takes minutes.
    read_all(&mut session, &mut link, answers.as_bytes()).expect("it goes on");
    let refused = link.refused.take().expect("a refusal");
    assert!(refused.contains(&name(COUNT - 1)), "{refused}");
}
