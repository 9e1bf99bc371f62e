use std::sync::Mutex as StdMutex;

use metrics::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::core::wire::frame::{Opcode, close_frame, data_frame};
use crate::io::broker::Outlet;
use crate::io::ends::{EndServices, LocalEnd, LocalState};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// A call, and what is to become of its message.
type Pending = (ClientMessage, oneshot::Sender<Called>);

/// Functions that answer when a test says so.
#[derive(Debug, Default)]
struct Fake {
    calls: StdMutex<Vec<Pending>>,
    ends: StdMutex<Vec<SessionEnd>>,
}

impl Functions for Fake {
    fn begin(&self, _: &Arc<Caller>) {}

    fn call(&self, _: &Arc<Caller>, message: Option<ClientMessage>) -> JoinHandle<Called> {
        let (answer, answered) = oneshot::channel();
        let message = message.expect("a message");
        self.calls.lock().expect("a lock").push((message, answer));
        tokio::spawn(async { answered.await.expect("an answer") })
    }

    fn disconnect(&self, _: &Arc<Caller>, end: SessionEnd) {
        self.ends.lock().expect("a lock").push(end);
    }
}

impl Fake {
    fn take(&self) -> Option<Pending> {
        self.calls.lock().expect("a lock").pop()
    }

    fn ends(&self) -> Vec<SessionEnd> {
        self.ends.lock().expect("a lock").clone()
    }
}

fn caller() -> Arc<Caller> {
    let connection = Connection {
        id: "01SESSION".into(),
        function: "chat".into(),
        stage: "production".into(),
        domain_name: "chat.example.com".into(),
        connected_at: 1,
        source_ip: "127.0.0.1".into(),
        user_agent: None,
        authorizer: None,
    };
    Arc::new(Caller::new(connection, Kept::default()))
}

fn end() -> (LocalEnd, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let functions: Arc<dyn Functions> = Arc::<Fake>::clone(&fake);
    (
        LocalEnd::calling(caller(), functions, Called::default()),
        fake,
    )
}

fn text(payload: &str) -> Vec<u8> {
    data_frame(Opcode::Text, payload.as_bytes(), MASK)
}

async fn read(end: &mut LocalEnd, frame: &[u8]) {
    let mut bytes = vec![0; frame.len()];
    end.read_exact(&mut bytes).await.expect("a frame");
    assert_eq!(bytes, frame);
}

#[tokio::test]
async fn a_function_gets_one_message_after_the_other_and_the_client_its_replies() {
    let (mut end, fake) = end();
    end.write_all(&text("one")).await.expect("it is taken");
    let (message, answer) = fake.take().expect("a call");
    assert_eq!((message.is_text, &*message.payload), (true, &b"one"[..]));
    // The client waits: nothing of the next message is taken.
    let two = text("two");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let next = tokio::io::AsyncWrite::poll_write(Pin::new(&mut end), &mut cx, &two);
    assert!(next.is_pending() && fake.take().is_none());
    answer
        .send(Called::reply(&Message::Text("hi".into())))
        .expect("it waits");
    read(&mut end, &data_frame(Opcode::Text, b"hi", None)).await;
    end.write_all(&two).await.expect("it is taken");
    let (message, answer) = fake.take().expect("a call");
    assert_eq!(message.payload, b"two");
    answer
        .send(Called::reply(&Message::Binary(vec![0].into())))
        .expect("it waits");
    read(&mut end, &data_frame(Opcode::Binary, &[0], None)).await;
}

/// One that does not read has one reply, and sends no further message.
#[tokio::test]
async fn i8_a_client_that_does_not_read_its_replies_is_held_up() {
    let (mut end, fake) = end();
    end.write_all(&text("one")).await.expect("it is taken");
    let (_, answer) = fake.take().expect("a call");
    let long = "x".repeat(8 << 10);
    let reply = Called::reply(&Message::Text(long.as_str().into()));
    answer.send(reply).expect("it waits");
    tokio::task::yield_now().await;
    let two = text("two");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let next = tokio::io::AsyncWrite::poll_write(Pin::new(&mut end), &mut cx, &two);
    assert!(next.is_pending() && fake.take().is_none());
    read(&mut end, &data_frame(Opcode::Text, long.as_bytes(), None)).await;
    end.write_all(&two).await.expect("it is taken");
    assert!(fake.take().is_some());
}

/// A client that does not wait for replies goes to the next process, too.
#[tokio::test]
async fn i1_a_session_that_is_paused_takes_no_further_message() {
    let (mut end, fake) = end();
    end.write_all(&text("one")).await.expect("it is taken");
    let (_, answer) = fake.take().expect("a call");
    end.set_paused(true);
    answer.send(Called::default()).expect("it waits");
    tokio::task::yield_now().await;
    let two = text("two");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let next = tokio::io::AsyncWrite::poll_write(Pin::new(&mut end), &mut cx, &two);
    assert!(next.is_pending() && fake.take().is_none());
    assert!(!end.is_calling(), "it can go");
    end.set_paused(false);
    end.write_all(&two).await.expect("it is taken");
    assert!(fake.take().is_some());
}

#[tokio::test]
async fn a_function_that_is_busy_ends_the_session() {
    let (mut end, fake) = end();
    end.write_all(&text("one")).await.expect("it is taken");
    let (_, answer) = fake.take().expect("a call");
    answer.send(Called::close(1013, "busy")).expect("it waits");
    let mut answers = Vec::new();
    end.read_to_end(&mut answers)
        .await
        .expect("frames, and an end");
    assert_eq!(answers, close_frame(1013, "busy", None));
}

#[tokio::test]
async fn text_that_is_not_utf_8_reaches_no_function() {
    let (mut end, fake) = end();
    end.write_all(&data_frame(Opcode::Text, &[0xFF], MASK))
        .await
        .expect("it is taken");
    assert!(fake.take().is_none());
    let mut answers = Vec::new();
    end.read_to_end(&mut answers)
        .await
        .expect("frames, and an end");
    assert_eq!(answers.get(2..4), Some(&1007_u16.to_be_bytes()[..]));
}

#[tokio::test]
async fn the_end_of_a_session_is_an_event_once() {
    let (mut end, fake) = end();
    let closed = SessionEnd {
        code: 1000,
        by_frame: true,
        by_client: true,
        reason: "close_frame",
    };
    end.set_end(closed);
    drop(end);
    assert_eq!(fake.ends(), [closed]);
}

/// A session has one owner, and only that one ends it.
#[tokio::test]
async fn i1_a_session_that_goes_to_another_process_has_not_ended() {
    let (mut old, fake) = end();
    let state = serde_json::to_vec(&old.state()).expect("plain data");
    old.set_packed(true);
    let next = Arc::new(Fake::default());
    let functions: Arc<dyn Functions> = Arc::<Fake>::clone(&next);
    let unpack = || {
        let state: LocalState = serde_json::from_slice(&state).expect("its own format");
        let outlet = Arc::new(Outlet::new([Counter::noop(), Counter::noop()]));
        let services = EndServices {
            outlet: &outlet,
            functions: &functions,
        };
        LocalEnd::from_state(state, &services)
    };
    // The hand-over broke off.
    drop(unpack());
    assert!(next.ends().is_empty(), "the old process has the session");
    let mut new = unpack();
    new.set_packed(false);
    drop(old);
    assert!(fake.ends().is_empty(), "the new process has the session");
    assert!(!new.is_calling());
    new.write_all(&text("one")).await.expect("it is taken");
    assert!(new.is_calling(), "its answer comes to this process");
    drop(new);
    assert_eq!(next.ends().len(), 1);
}

/// An end whose function has answered the first event of GRIP like this.
fn grip_end(control: &str) -> (LocalEnd, Arc<Fake>) {
    let mut session = GripSession::new("/", Vec::new());
    let extension = [("sec-websocket-extensions", "grip")];
    let extension = extension.map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, http::HeaderValue::from_static(value))
    });
    let body = format!("OPEN\r\nTEXT {:x}\r\n{control}\r\n", control.len());
    let fields = http::HeaderMap::from_iter(extension);
    session.open(&fields, body.as_bytes()).expect("an answer");
    let caller = caller();
    caller.kept().grip = Some(Box::new(session));
    let fake = Arc::new(Fake::default());
    let functions: Arc<dyn Functions> = Arc::<Fake>::clone(&fake);
    (
        LocalEnd::calling(caller, functions, Called::default()),
        fake,
    )
}

#[tokio::test]
async fn a_function_that_has_detached_itself_gets_no_message() {
    let (mut end, fake) = grip_end(r#"c:{"type":"detach"}"#);
    end.write_all(&text("one")).await.expect("it is dropped");
    assert!(fake.take().is_none());
}

/// Nothing else wakes the task.
#[tokio::test]
async fn a_client_is_kept_alive_by_the_clock() {
    let (mut end, _fake) =
        grip_end(r#"c:{"type":"keep-alive","content":"still here","timeout":1}"#);
    let frame = data_frame(Opcode::Text, b"still here", None);
    read(&mut end, &frame).await;
    read(&mut end, &frame).await;
}
