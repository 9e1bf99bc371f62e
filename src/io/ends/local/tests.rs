use std::task::Waker;
use std::time::Duration;

use metrics::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::core::wire::frame::{Opcode, close_frame, control_frame, data_frame};
use crate::io::broker::{DriverEnd, NotCarried, Outgoing, ends};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

fn sender(drops: bool) -> Arc<Sender> {
    Arc::new(Sender {
        name: "in.a".into(),
        session: "S1".to_owned(),
        route: "rooms".to_owned(),
        principal: None,
        groups: Vec::new(),
        envelope: false,
        wait: Duration::from_millis(300),
        drops,
    })
}

/// An end that publishes, and the broker's driver, which is connected or not.
fn end(drops: bool, connected: bool) -> (LocalEnd, DriverEnd) {
    let (broker, _received, driver) = ends();
    let outlet = Arc::new(Outlet::new([Counter::noop(), Counter::noop()]));
    outlet.open(broker);
    set_connected(&driver, connected);
    (LocalEnd::publishing(sender(drops), outlet), driver)
}

/// What another process makes of a state, once the session is its own.
fn from_state(state: LocalState, outlet: &Arc<Outlet>) -> LocalEnd {
    #[derive(Debug)]
    struct None;

    impl Functions for None {
        fn begin(&self, _: &Arc<Caller>) {}

        fn call(
            &self,
            _: &Arc<Caller>,
            _: Option<ClientMessage>,
        ) -> tokio::task::JoinHandle<Called> {
            tokio::spawn(async { Called::default() })
        }

        fn disconnect(&self, _: &Arc<Caller>, _: SessionEnd) {}
    }

    let functions: Arc<dyn Functions> = Arc::new(None);
    let services = EndServices {
        outlet,
        functions: &functions,
    };
    let mut end = LocalEnd::from_state(state, &services);
    end.set_packed(false);
    end
}

fn set_connected(driver: &DriverEnd, connected: bool) {
    let set = |status: &mut crate::io::broker::BrokerStatus| status.connected = connected;
    driver.status.send_modify(set);
}

fn text(payload: &str) -> Vec<u8> {
    data_frame(Opcode::Text, payload.as_bytes(), MASK)
}

async fn taken(driver: &mut DriverEnd, payload: &str) -> Outgoing {
    let outgoing = driver.outgoing.recv().await.expect("a message");
    assert_eq!(outgoing.payload, payload.as_bytes());
    outgoing
}

/// What the client gets when all is over.
async fn answered(mut end: LocalEnd) -> Vec<u8> {
    let mut answers = Vec::new();
    let read = end.read_to_end(&mut answers).await;
    read.expect("frames, and an end");
    answers
}

#[tokio::test]
async fn the_client_waits_for_each_of_its_messages() {
    let (mut end, mut driver) = end(false, true);
    let frames = [text("one"), text("two")].concat();
    let mut cx = Context::from_waker(Waker::noop());
    let first = text("one").len();
    let Poll::Ready(Ok(written)) = Pin::new(&mut end).poll_write(&mut cx, &frames) else {
        panic!("the first message is taken");
    };
    assert_eq!(written, first, "nothing is taken behind it");
    let again = Pin::new(&mut end).poll_write(&mut cx, &frames[first..]);
    assert!(again.is_pending());
    let one = taken(&mut driver, "one").await;
    one.confirm.send(Ok(())).expect("it is awaited");
    end.write_all(&frames[first..]).await.expect("it lives");
    taken(&mut driver, "two").await;
}

#[tokio::test]
async fn a_session_is_closed_when_the_broker_stays_away_or_does_not_confirm() {
    let closed = |loss: Loss| {
        let (code, reason) = loss.close();
        close_frame(code, reason, None)
    };
    let (mut away, mut driver) = end(false, false);
    away.write_all(&text("one")).await.expect("it is taken");
    assert_eq!(answered(away).await, closed(Loss::NotConfirmed));
    assert!(driver.outgoing.try_recv().is_err(), "it is not sent later");

    for (outcome, loss) in [
        (NotCarried::Lost, Loss::NotConfirmed),
        (NotCarried::Refused("no".to_owned()), Loss::Refused),
    ] {
        let (mut broken, mut driver) = end(false, true);
        broken.write_all(&text("one")).await.expect("it is taken");
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut broken).poll_write(&mut cx, &text("two"));
        let one = taken(&mut driver, "one").await;
        one.confirm.send(Err(outcome)).expect("it is awaited");
        // What follows does not get to the broker.
        broken.write_all(&text("two")).await.expect("it is dropped");
        assert_eq!(answered(broken).await, closed(loss));
        assert!(driver.outgoing.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_session_goes_on_behind_a_lost_message_where_the_route_says_so() {
    let (mut end, mut driver) = end(true, false);
    end.write_all(&text("one")).await.expect("it is taken");
    // This waits until the first is lost.
    end.write_all(&text("two")).await.expect("it is taken");
    set_connected(&driver, true);
    let mut cx = Context::from_waker(Waker::noop());
    let again = |end: &mut LocalEnd, cx: &mut Context<'_>| {
        let written = Pin::new(end).poll_write(cx, &text("three"));
        assert!(written.is_pending(), "the second is under way");
    };
    again(&mut end, &mut cx);
    let two = taken(&mut driver, "two").await;
    let busy = two.confirm.send(Err(NotCarried::Busy));
    busy.expect("it is awaited");
    end.write_all(&text("three")).await.expect("it is taken");
    again(&mut end, &mut cx);
    taken(&mut driver, "three").await;
    assert!(!end.backend.closed());
}

#[tokio::test]
async fn what_no_broker_takes_closes_the_session_at_once() {
    let (mut end, mut driver) = end(false, true);
    let invalid = data_frame(Opcode::Text, &[0xff], MASK);
    end.write_all(&invalid).await.expect("it is taken");
    let (code, reason) = Loss::NotText.close();
    assert_eq!(answered(end).await, close_frame(code, reason, None));
    assert!(driver.outgoing.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_may_only_listen_is_closed_when_it_sends() {
    let mut end = LocalEnd::listening();
    let state = serde_json::to_vec(&end.state()).expect("plain data");
    let state = serde_json::from_slice(&state).expect("its own format");
    let outlet = Arc::new(Outlet::new([Counter::noop(), Counter::noop()]));
    end = from_state(state, &outlet);
    let frames = [text("one"), text("two")].concat();
    end.write_all(&frames).await.expect("it is taken");
    let (code, reason) = Loss::NotAllowed.close();
    assert_eq!(answered(end).await, close_frame(code, reason, None));
}

/// A message that was not offered goes along; one that the broker may have does not.
#[tokio::test]
async fn i1_only_a_message_that_was_not_offered_goes_to_another_process() {
    let (mut old, mut driver) = end(false, false);
    old.write_all(&text("one")).await.expect("it is taken");
    let packed = serde_json::to_vec(&old.state()).expect("plain data");
    old.set_packed(true);
    drop(old);
    let state = serde_json::from_slice(&packed).expect("its own format");
    let outlet = Outlet::new([Counter::noop(), Counter::noop()]);
    let (broker, _received, mut next_driver) = ends();
    outlet.open(broker);
    set_connected(&next_driver, true);
    set_connected(&driver, true);
    let mut new = from_state(state, &Arc::new(outlet));
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = [0; 64];
    let read = Pin::new(&mut new).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
    assert!(read.is_pending());
    taken(&mut next_driver, "one").await;
    assert!(driver.outgoing.try_recv().is_err(), "it is published once");
    assert_eq!(new.state().waiting, None, "the broker may have it");
}

/// A client that pings and does not read is not read either, and goes on when it reads.
#[tokio::test]
async fn i8_a_client_that_pings_without_reading_is_held_up() {
    let mut end = LocalEnd::listening();
    let ping = control_frame(Opcode::Ping, &[7; 125], MASK);
    let pong = control_frame(Opcode::Pong, &[7; 125], None);
    let mut cx = Context::from_waker(Waker::noop());
    let mut pings = 0;
    while let Poll::Ready(taken) = Pin::new(&mut end).poll_write(&mut cx, &ping) {
        assert_eq!(taken.expect("it lives"), ping.len());
        pings += 1;
        assert!(pings < 1000, "it takes pings without end");
    }
    let state = serde_json::to_vec(&end.state()).expect("plain data");
    assert!(state.len() < 4 * STEP, "it goes to another process");
    let (mut read, mut write) = tokio::io::split(end);
    let writes = tokio::spawn(async move { write.write_all(&ping).await });
    let mut pongs = vec![0; (pings + 1) * pong.len()];
    let woken = tokio::time::timeout(Duration::from_secs(10), read.read_exact(&mut pongs));
    woken.await.expect("in time").expect("pongs");
    assert_eq!(pongs, pong.repeat(pings + 1));
    writes.await.expect("no panic").expect("it lives");
}
