//! What the session understands of a server's bytes, at every cut.

use super::*;
use crate::io::broker::{Received, ends};

fn session() -> Session {
    Session::new(&"sessile".into(), "queue".to_owned(), 4096)
}

fn feed(session: &mut Session, link: &mut Link, bytes: &[u8]) -> Result<BytesMut, Fault> {
    let mut input = BytesMut::from(bytes);
    while !input.is_empty() && session.read(&mut input, link)? {}
    Ok(input)
}

fn deliver(out: &mut BytesMut, key: &str, parts: &[&str]) {
    deliver_of(out, ("sessile", key), parts);
}

fn deliver_of(out: &mut BytesMut, (exchange, key): (&str, &str), parts: &[&str]) {
    put_method(out, OWN, (60, 60), |out| {
        put_short(out, "consumer");
        out.put_u64(1);
        out.put_u8(0);
        put_short(out, exchange);
        put_short(out, key);
    });
    put_frame(out, HEADER, OWN, |out| {
        out.put_u16(60);
        out.put_u16(0);
        out.put_u64(parts.concat().len() as u64);
        out.put_u16(0);
    });
    for part in parts {
        put_frame(out, BODY, OWN, |out| out.put_slice(part.as_bytes()));
    }
}

fn confirm(out: &mut BytesMut, channel: u16, method: u16, tag: u64, multiple: bool) {
    put_method(out, channel, (60, method), |out| {
        out.put_u64(tag);
        out.put_u8(multiple.into());
    });
}

fn close(out: &mut BytesMut, channel: u16, text: &str) {
    put_method(out, channel, (20, 40), |out| {
        out.put_u16(404);
        put_short(out, text);
        out.put_u32(0);
    });
}

type Answer = tokio::sync::oneshot::Receiver<Result<(), NotCarried>>;

fn wait(confirms: &mut Confirms, link: &mut Link, exchange: &str) -> Answer {
    let (confirm, answer) = tokio::sync::oneshot::channel();
    let number = link.pending.push(confirm);
    confirms.waiting.push_back(Some((number, exchange.into())));
    answer
}

#[tokio::test]
async fn deliveries_are_read_at_every_cut() {
    let mut bytes = BytesMut::new();
    deliver(&mut bytes, "fleet", &["he", "", "llo"]);
    put_frame(&mut bytes, HEARTBEAT, 0, |_| {});
    deliver(&mut bytes, "group.unknown", &["not wanted"]);
    deliver(&mut bytes, "fleet", &[]);
    for cut in 0..bytes.len() {
        let (_broker, mut received, end) = ends();
        let mut link = Link::new(end.incoming);
        let mut session = session();
        session.subscribe(Topic::Fleet, &mut link);
        let mut rest = feed(&mut session, &mut link, &bytes[..cut]).unwrap();
        rest.put_slice(&bytes[cut..]);
        assert!(feed(&mut session, &mut link, &rest).unwrap().is_empty());
        for payload in ["hello", ""] {
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
fn confirms_are_counted_for_each_channel() {
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(wait(&mut session.own, &mut link, "sessile"));
        answers.push(wait(&mut session.foreign, &mut link, "prices"));
    }
    let mut bytes = BytesMut::new();
    confirm(&mut bytes, OWN, 80, 2, false);
    confirm(&mut bytes, OWN, 80, 3, true);
    confirm(&mut bytes, OWN, 80, 9, false);
    confirm(&mut bytes, OWN, 80, 0, true);
    confirm(&mut bytes, FOREIGN, 120, 1, false);
    assert!(feed(&mut session, &mut link, &bytes).unwrap().is_empty());
    let refused = Err(NotCarried::Refused("it could not be queued".to_owned()));
    let (yes, no) = (Some(Ok(())), None);
    let expected = [&yes, &Some(refused), &yes, &no, &yes, &no, &no, &no];
    for (answer, expected) in answers.iter_mut().zip(expected) {
        assert_eq!(&answer.try_recv().ok(), expected);
    }
}

#[test]
fn an_error_of_one_binding_or_message_leaves_the_others() {
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let [absent, present] = ["absent/x", "present/x"].map(|name| Topic::Foreign(name.into()));
    session.subscribe(absent, &mut link);
    session.subscribe(present.clone(), &mut link);
    let mut answers = ["other", "absent"].map(|name| wait(&mut session.foreign, &mut link, name));
    link.out.clear();
    let mut bytes = BytesMut::new();
    close(
        &mut bytes,
        BINDINGS,
        "NOT_FOUND - no exchange 'absent' in vhost '/'",
    );
    close(
        &mut bytes,
        FOREIGN,
        "NOT_FOUND - no exchange 'absent' in vhost '/'",
    );
    assert!(feed(&mut session, &mut link, &bytes).unwrap().is_empty());
    assert!(
        link.refused
            .as_ref()
            .is_some_and(|text| text.contains("of absent/x: 404"))
    );
    assert_eq!(session.binding, [(present.clone(), true)]);
    let mut again = BytesMut::new();
    put_method(&mut again, BINDINGS, (20, 41), |_| {});
    put_method(&mut again, BINDINGS, (20, 10), |out| put_short(out, ""));
    session.write_binding(&present, true, &mut again);
    assert!(link.out.starts_with(&again));
    let [other, absent] = answers.each_mut().map(|answer| answer.try_recv().unwrap());
    assert_eq!(other, Err(NotCarried::Lost));
    assert!(matches!(absent, Err(NotCarried::Refused(_))), "{absent:?}");
    let mut bytes = BytesMut::new();
    close(&mut bytes, OWN, "PRECONDITION_FAILED");
    let fault = feed(&mut session, &mut link, &bytes).unwrap_err();
    assert_eq!(fault.text(), "the server refuses: 404 PRECONDITION_FAILED");
}

#[test]
fn nonsense_ends_the_connection_and_what_is_too_large_is_dropped() {
    let (_broker, received, end) = ends();
    let mut link = Link::new(end.incoming);
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request"[..],
        b"\x01\0\0\xff\xff\xff\xff",
        b"\x08\0\0\0\0\0\0!",
        b"\x02\0\x01\0\0\0\0\xce",
        b"\x01\0\0\0\0\0\x02\0\x0a\xce",
        b"\x01\0\x01\0\0\0\x04\0\x3c\0\x3c\xce",
    ] {
        assert!(
            feed(&mut session(), &mut link, nonsense).is_err(),
            "{nonsense:?}"
        );
    }
    let mut session = session();
    session.subscribe(Topic::Fleet, &mut link);
    let part = "x".repeat(100_000);
    let mut bytes = BytesMut::new();
    deliver(&mut bytes, "fleet", &[&*part; 20]);
    assert!(feed(&mut session, &mut link, &bytes).unwrap().is_empty());
    assert_eq!(received.dropped(), 1);
    for name in ["no-slash", "/key", "e/a.*", "e/#", "sessile/fleet"] {
        assert_eq!(
            session.address(&Topic::Foreign(name.into())),
            None,
            "{name}"
        );
    }
}

#[test]
fn bindings_to_a_missing_exchange_cost_no_more_than_others() {
    const BINDINGS_WANTED: usize = 1000;
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let mut one = BytesMut::new();
    session.write_binding(&Topic::Foreign("absent/room-1000".into()), true, &mut one);
    for n in 0..BINDINGS_WANTED {
        session.subscribe(Topic::Foreign(format!("absent/room-{n}").into()), &mut link);
    }
    let present = Topic::Foreign("present/x".into());
    session.subscribe(present.clone(), &mut link);
    session.subscribe(Topic::Fleet, &mut link);
    let mut written = 0;
    let mut closes = 0;
    // As a server does: what is behind an error is skipped.
    while session.binding.iter().any(|(topic, _)| *topic != present) {
        written += link.out.split().len();
        closes += 1;
        let mut bytes = BytesMut::new();
        close(
            &mut bytes,
            BINDINGS,
            "NOT_FOUND - no exchange 'absent' in vhost '/'",
        );
        feed(&mut session, &mut link, &bytes).expect("it goes on");
    }
    written += link.out.len();
    assert!(
        written <= 2 * one.len() * BINDINGS_WANTED,
        "{written} bytes"
    );
    assert_eq!(closes, 1);
    assert_eq!(session.topics.len(), 2);
    assert_eq!(session.binding, [(present, true)]);
}

#[test]
fn bindings_that_are_refused_one_by_one_are_written_a_bounded_number_of_times() {
    const BINDINGS_WANTED: usize = 1000;
    let (_broker, _received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let mut one = BytesMut::new();
    session.write_binding(&Topic::Foreign("guarded/room-1000".into()), true, &mut one);
    for n in 0..BINDINGS_WANTED {
        session.subscribe(
            Topic::Foreign(format!("guarded/room-{n}").into()),
            &mut link,
        );
    }
    let mut written = 0;
    while let Some((topic, _)) = session.binding.front().cloned() {
        written += link.out.split().len();
        let mut bytes = BytesMut::new();
        let text = format!("ACCESS_REFUSED - access to topic '{topic}' in exchange 'guarded'");
        close(
            &mut bytes,
            BINDINGS,
            &format!("{text} in vhost '/' refused for user 'edge'"),
        );
        feed(&mut session, &mut link, &bytes).expect("it goes on");
    }
    assert!(
        written <= 150 * one.len() * BINDINGS_WANTED,
        "{written} bytes"
    );
    assert!(session.topics.is_empty());
}

#[tokio::test]
async fn a_message_reaches_those_of_its_key_and_those_of_all_keys() {
    let (_broker, mut received, end) = ends();
    let mut link = Link::new(end.incoming);
    let mut session = session();
    let [all, keyed] = ["news/", "news/sport"].map(|name| Topic::Foreign(name.into()));
    session.subscribe(all.clone(), &mut link);
    session.subscribe(keyed.clone(), &mut link);
    let mut bytes = BytesMut::new();
    deliver_of(&mut bytes, ("news", "sport"), &["goal"]);
    deliver_of(&mut bytes, ("news", "weather"), &["rain"]);
    deliver_of(&mut bytes, ("news", ""), &["all"]);
    assert!(feed(&mut session, &mut link, &bytes).unwrap().is_empty());
    for (topic, payload) in [
        (&keyed, "goal"),
        (&all, "goal"),
        (&all, "rain"),
        (&all, "all"),
    ] {
        let expected = Received {
            topic: topic.clone(),
            payload: payload.into(),
        };
        assert_eq!(received.next().await, Some(expected));
    }
    assert_eq!(received.dropped(), 0);
}
