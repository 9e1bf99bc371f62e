//! How answers change a session.

use http::{HeaderName, HeaderValue};

use super::*;

fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let name = HeaderName::try_from(*name).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    pairs.iter().map(pair).collect()
}

const GRIP: (&str, &str) = ("sec-websocket-extensions", "grip");

/// A session whose function answered its first request like this.
fn opened(pairs: &[(&str, &str)], rest: &str) -> (GripSession, Result<Taken, Malformed>) {
    let mut session = GripSession::new("/chat?room=1", Vec::new());
    let taken = session.open(&fields(pairs), format!("OPEN\r\n{rest}").as_bytes());
    (session, taken)
}

fn text(text: &str) -> ToClient {
    ToClient::Text(text.to_owned())
}

fn group(name: &str) -> GroupName {
    GroupName::parse(name).expect("a name")
}

/// An event of text, with its length.
fn event(text: &str) -> String {
    format!("TEXT {:x}\r\n{text}\r\n", text.len())
}

#[test]
fn a_session_begins_by_open_or_by_an_interval() {
    let mut session = GripSession::new("/", Vec::new());
    assert_eq!(session.clone().open(&fields(&[]), b""), Err(Malformed));
    let hello = event("hello");
    assert_eq!(
        session.clone().open(&fields(&[]), hello.as_bytes()),
        Err(Malformed)
    );
    let interval = fields(&[("keep-alive-interval", "30")]);
    assert_eq!(session.open(&interval, b""), Ok(Taken::default()));
    assert_eq!(session.waits().ask, Some(30));
    let (_, taken) = opened(&[], &hello);
    assert_eq!(taken.expect("an answer").frames, [text("hello")]);
    // OPEN is said once.
    assert_eq!(opened(&[], "OPEN\r\n").1, Err(Malformed));
}

#[test]
fn only_functions_with_grip_have_control_messages() {
    let subscribe = event(r#"c:{"type":"subscribe","channel":"lobby"}"#);
    let body = format!("{subscribe}{}{}", event("m:hello"), event("lost"));
    let (_, taken) = opened(&[GRIP], &body);
    let taken = taken.expect("an answer");
    assert_eq!(taken.frames, [text("hello")]);
    assert_eq!(taken.changes, [Change::Join(group("lobby"))]);

    let (_, taken) = opened(&[], &body);
    let taken = taken.expect("an answer");
    let all = [
        r#"c:{"type":"subscribe","channel":"lobby"}"#,
        "m:hello",
        "lost",
    ];
    assert_eq!(taken.frames, all.map(text));
    assert_eq!(taken.changes, []);
}

#[test]
fn a_function_chooses_the_prefix_of_its_messages() {
    for (extension, prefix) in [
        ("grip", Some("m:")),
        ("permessage-deflate, grip; message-prefix=\"\"", Some("")),
        ("grip;message-prefix=x", Some("x")),
        ("grips", None),
    ] {
        let found = prefix_of(extension);
        assert_eq!(found.as_deref(), prefix, "{extension}");
    }
}

fn prefix_of(extension: &str) -> Option<String> {
    prefix(&fields(&[("sec-websocket-extensions", extension)])).expect("it is short")
}

#[test]
fn a_closed_session_has_no_further_events() {
    let body = "CLOSE 5\r\n\x0f\x21bye\r\nPING\r\n";
    let (session, taken) = opened(&[], body);
    let taken = taken.expect("an answer");
    assert_eq!(taken.close, Some((3873, "bye".to_owned())));
    assert!(taken.frames.is_empty() && session.is_over());
    // The function gets the client's answer.
    let answered = session.last_event(Some(Some(3873)), false);
    assert_eq!(answered, Some(ClientEnd::Closed(Some(3873))));
    assert_eq!(session.last_event(None, false), Some(ClientEnd::Lost));
    let (session, taken) = opened(&[], "DISCONNECT\r\n");
    assert_eq!(
        taken.expect("an answer").close.map(|(code, _)| code),
        Some(1011)
    );
    assert!(session.is_over());
    assert_eq!(session.last_event(None, false), None);
}

#[test]
fn the_last_event_is_how_the_session_ended() {
    let (session, _) = opened(&[], "");
    let of = |closed, by_client| session.last_event(closed, by_client);
    assert_eq!(of(Some(None), true), Some(ClientEnd::Closed(None)));
    assert_eq!(of(Some(Some(1001)), false), Some(ClientEnd::Lost));
    assert_eq!(of(None, false), Some(ClientEnd::Lost));
}

#[test]
fn a_detached_function_is_not_asked_any_more() {
    let interval = ("keep-alive-interval", "60");
    let detach = event(r#"c:{"type":"detach"}"#);
    let (mut session, taken) = opened(&[GRIP, interval], &format!("{detach}{}", event("m:bye")));
    assert_eq!(taken.expect("an answer").frames, [text("bye")]);
    assert!(session.is_over());
    assert_eq!(session.waits(), Waits::default());
    assert!(session.take_detached() && !session.take_detached());
    assert_eq!(session.last_event(Some(None), true), None);
}

#[test]
fn the_interval_holds_until_the_next_answer() {
    for (given, seconds) in [("5", 20), ("20", 20), ("60", 60), ("9999999999", 86_400)] {
        let (mut session, _) = opened(&[("keep-alive-interval", given)], "");
        assert_eq!(session.waits().ask, Some(seconds), "{given}");
        session.answer(&fields(&[]), b"").expect("an answer");
        assert_eq!(session.waits().ask, None);
    }
    for given in ["0", "-1"] {
        let (session, _) = opened(&[("keep-alive-interval", given)], "");
        assert_eq!(session.waits().ask, None, "{given}");
    }
    assert_eq!(
        opened(&[("keep-alive-interval", "soon")], "").1,
        Err(Malformed)
    );
}

#[test]
fn frames_for_later_are_kept() {
    let keep = event(r#"c:{"type":"keep-alive","content":"k","timeout":30}"#);
    let delay = event(r#"c:{"type":"send-delayed","content":"d","timeout":5}"#);
    let (mut session, _) = opened(&[GRIP], &format!("{keep}{delay}"));
    let waits = Waits {
        ask: None,
        keep_alive: Some((1, 30)),
        delayed: Some((2, 5)),
    };
    assert_eq!(session.waits(), waits);
    assert_eq!(session.keep_alive(), Some(text("k")));
    let flush = event(r#"c:{"type":"flush-delayed"}"#);
    let taken = session
        .answer(&fields(&[]), flush.as_bytes())
        .expect("an answer");
    assert_eq!(taken.frames, [text("d")]);
    assert_eq!(
        (session.waits().delayed, session.take_delayed()),
        (None, None)
    );
    let end = event(r#"c:{"type":"keep-alive"}"#);
    session
        .answer(&fields(&[]), end.as_bytes())
        .expect("an answer");
    assert_eq!(session.waits(), Waits::default());
    let long = format!(
        r#"c:{{"type":"keep-alive","content":"{}"}}"#,
        "x".repeat(TIMED_MAX + 1)
    );
    assert_eq!(opened(&[GRIP], &event(&long)).1, Err(Malformed));
}

#[test]
fn metadata_comes_back_until_it_is_removed() {
    let (mut session, _) = opened(&[("set-meta-user", "ann"), ("set-meta-n", "1")], "");
    let all = |session: &GripSession| {
        let pairs = session.meta().iter();
        pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(all(&session), ["n=1", "user=ann"]);
    let answer = fields(&[("set-meta-user", ""), ("set-meta-n", "2")]);
    session.answer(&answer, b"").expect("an answer");
    assert_eq!(all(&session), ["n=2"]);
}

#[test]
fn i8_metadata_is_bounded() {
    let many: HeaderMap = (0..=META_MAX)
        .map(|number| {
            let name = HeaderName::try_from(format!("set-meta-{number}")).expect("a name");
            (name, HeaderValue::from_static("x"))
        })
        .collect();
    let mut session = GripSession::new("/", Vec::new());
    assert_eq!(session.open(&many, b"OPEN\r\n"), Err(Malformed));
    let long = "x".repeat(META_BYTES_MAX);
    assert_eq!(opened(&[("set-meta-a", &long)], "").1, Err(Malformed));
}

#[test]
fn a_part_that_is_accepted_is_followed_by_the_rest() {
    let (mut session, _) = opened(&[], "");
    session.push(true, b"hello".to_vec());
    assert_eq!(session.body(), b"TEXT 5\r\nhello\r\n");
    let some = fields(&[("content-bytes-accepted", "2")]);
    session.answer(&some, b"").expect("an answer");
    assert!(session.has_more());
    assert_eq!(
        (session.body(), session.replayed()),
        (b"TEXT 3\r\nllo\r\n".to_vec(), 3)
    );
    session.answer(&fields(&[]), b"").expect("an answer");
    assert!(!session.has_more() && session.body().is_empty());
}

/// Another process reads it.
#[test]
fn i1_a_session_is_the_same_in_the_next_process() {
    let keep = event(r#"c:{"type":"keep-alive","content":"k"}"#);
    let (mut session, _) = opened(&[GRIP, ("set-meta-a", "b")], &keep);
    session.push(false, vec![0, 255]);
    let json = serde_json::to_string(&session).expect("JSON");
    assert_eq!(
        serde_json::from_str::<GripSession>(&json).expect("the same"),
        session
    );
}

#[test]
fn the_last_event_comes_behind_what_was_not_accepted() {
    let (mut session, _) = opened(&[], "");
    session.push(true, b"hello".to_vec());
    let none = fields(&[("content-bytes-accepted", "0")]);
    session.answer(&none, b"").expect("an answer");
    let body = session.last_body(ClientEnd::Lost);
    assert_eq!(body, b"TEXT 5\r\nhello\r\nDISCONNECT\r\n");
    let strange = fields(&[("content-bytes-accepted", "-1")]);
    assert_eq!(session.answer(&strange, b""), Err(Malformed));
}

#[test]
fn i11_fields_of_the_handshake_are_not_printed() {
    let cookie = ("cookie".to_owned(), "secret".to_owned());
    let session = GripSession::new("/?token=secret", vec![cookie]);
    assert!(!format!("{session:?}").contains("secret"));
}
