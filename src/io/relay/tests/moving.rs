//! Changes of backend one by one; `random` mixes them.

use super::*;
use crate::core::session::orders::LeaveOrder;

/// A rig whose session may move.
fn rig(width: usize) -> Rig {
    let mut rig = Rig::new(width);
    rig.relay.allow_moves(300);
    rig
}

fn drained() -> LeaveOrder {
    LeaveOrder {
        code: 1012,
        reason: "drained".into(),
        cause: Cause::Drained,
        resume: ResumeReason::Draining,
    }
}

impl Rig {
    /// Lets the relay do what it can; answers whether it wants a backend.
    async fn bereft(&mut self) -> bool {
        self.turn().await;
        self.relay.is_bereft()
    }

    /// Another backend.
    async fn attach(&mut self) {
        let (backend, inner) = duplex(1024);
        self.relay.attach(inner, Vec::new(), self.now);
        self.backend = backend;
        self.turn().await;
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.expect("room");
        self.turn().await;
    }

    async fn answer(&mut self, bytes: &[u8]) {
        self.backend.write_all(bytes).await.expect("room");
        self.turn().await;
    }
}

/// What the old backend is told, unmasked.
fn farewell(frame: &[u8]) -> (u8, u16) {
    let key = [frame[2], frame[3]];
    (
        frame[0],
        u16::from_be_bytes([frame[6] ^ key[0], frame[7] ^ key[1]]),
    )
}

#[tokio::test]
async fn a_planned_move_waits_for_the_end_of_the_clients_message() {
    let mut rig = rig(1024);
    let message = from_client(0x82, b"in two parts");
    rig.say(&message[..9]).await;
    assert!(rig.relay.leave(&drained(), 0));
    assert!(!rig.relay.leave(&drained(), 0), "it is leaving already");
    rig.turn().await;
    assert_eq!(read_now(&mut rig.backend).await, &message[..9]);
    let next = from_client(0x81, b"next");
    rig.say(&[&message[9..], &next].concat()).await;
    let rest = read_now(&mut rig.backend).await;
    assert_eq!(
        rest[..9],
        message[9..],
        "the message is finished where it began"
    );
    assert_eq!(farewell(&rest[9..]), (0x88, 1012));
    // What the old one still says arrives; its answer to the close does not.
    let late = from_backend(0x81, b"late");
    rig.answer(&[late.clone(), close_frame(1012, "", None)].concat())
        .await;
    assert_eq!(read_now(&mut rig.client).await, late);
    assert!(rig.bereft().await);
    rig.attach().await;
    assert_eq!(read_now(&mut rig.backend).await, next);
    assert_eq!(
        (rig.relay.moves().resumes, rig.relay.moves().messages_lost),
        (1, 0)
    );
}

#[tokio::test]
async fn a_client_that_comes_to_no_boundary_in_time_stays() {
    let mut rig = rig(1024);
    let message = from_client(0x82, b"in two parts");
    rig.say(&message[..9]).await;
    assert!(rig.relay.leave(&drained(), 0));
    let due = rig.relay.due().expect("parting has a limit");
    assert_eq!(due, TIMES.close);
    rig.relay.expire(due);
    assert!(!rig.relay.moves_now() && !rig.relay.closing());
    rig.say(&message[9..]).await;
    assert_eq!(read_now(&mut rig.backend).await, message);
    assert!(rig.relay.leave(&drained(), due), "it may be told again");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_left_without() {
    let mut rig = rig(1024);
    assert!(rig.relay.leave(&drained(), 0));
    assert!(!rig.bereft().await);
    rig.relay.expire(TIMES.close);
    assert!(rig.bereft().await);
    // Unless it is in the middle of a message: the client cannot be given the rest.
    let mut rig = rig_in_the_middle().await;
    rig.relay.expire(TIMES.close);
    rig.turn().await;
    let told = read_now(&mut rig.client).await;
    assert_eq!(told, close_frame(1012, "drained", None));
    assert!(rig.relay.closing());
}

/// One that leaves a backend which has sent half a message.
async fn rig_in_the_middle() -> Rig {
    let mut rig = rig(1024);
    rig.answer(&from_backend(0x01, b"half")).await;
    assert!(rig.relay.leave(&drained(), 0));
    rig.turn().await;
    read_now(&mut rig.client).await;
    rig
}

#[tokio::test]
async fn what_a_backend_says_of_itself_while_it_is_left_is_no_answer() {
    let mut rig = rig(1024);
    assert!(rig.relay.leave(&drained(), 0));
    let over = close_frame(4001, "game over", None);
    rig.answer(&over).await;
    assert_eq!(read_now(&mut rig.client).await, over);
    assert!(!rig.bereft().await);
    drop(std::mem::replace(&mut rig.client, duplex(1).0));
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    let ended = rig.run().await;
    assert_eq!(
        (ended.by, ended.cause, ended.close_code),
        (EndedBy::Backend, Cause::CloseFrame, Some(4001))
    );
}

#[tokio::test]
async fn a_message_that_a_lost_backend_has_a_part_of_is_dropped_and_counted() {
    let mut rig = rig(1024);
    // The backend reads nothing: 24 bytes of room are left.
    let filling = from_client(0x82, &[b'0'; 119]);
    for _ in 0..8 {
        rig.say(&filling).await;
    }
    let (one, two) = (
        from_client(0x82, &[b'1'; 100]),
        from_client(0x82, &[b'2'; 20]),
    );
    rig.say(&[one.clone(), two.clone()].concat()).await;
    assert_eq!(rig.relay.held(), one.len() + two.len() - 24);
    drop(std::mem::replace(&mut rig.backend, duplex(1).0));
    assert!(rig.bereft().await);
    rig.attach().await;
    assert_eq!(
        read_now(&mut rig.backend).await,
        two,
        "whole, and nothing else"
    );
    let moves = rig.relay.moves();
    assert_eq!((moves.messages_lost, moves.bytes_lost), (1, 106 - 24));
}

#[tokio::test]
async fn the_pong_to_the_gateways_ping_is_taken_out_wherever_it_is_split() {
    for split in 0..=14 {
        let mut rig = Rig::new(1024);
        let rules = Keepalive {
            interval: 10,
            timeout: 5,
            to_client: true,
            to_backend: false,
        };
        rig.relay.alive = Some(Box::new(Alive::new(rules, 0)));
        assert_eq!(rig.relay.due(), Some(10));
        rig.relay.expire(10);
        rig.turn().await;
        let ping = read_now(&mut rig.client).await;
        assert_eq!((ping[0], ping[1], ping.len()), (0x89, 8, 10));
        assert_eq!(rig.relay.due(), Some(15), "the answer's time");
        let (before, pong, after) = (
            from_client(0x81, b"before"),
            from_client(0x8A, &ping[2..]),
            from_client(0x8A, b"8 letter"),
        );
        rig.now = 12;
        rig.say(&[&before, &pong[..split]].concat()).await;
        rig.say(&[&pong[split..], &after].concat()).await;
        let came = read_now(&mut rig.backend).await;
        assert_eq!(came, [before, after].concat(), "split at {split}");
        assert_eq!(rig.relay.to_backend().pong, 1);
        assert_eq!(
            rig.relay.due(),
            Some(22),
            "asked again when it is silent again"
        );
    }
}

/// A relay whose silent sides are pinged, with one ping to each on its way.
async fn pinged() -> Rig {
    // The runtime lets a task read so many times before it has to give way.
    tokio::task::yield_now().await;
    let mut rig = Rig::new(1024);
    let rules = Keepalive {
        interval: 10,
        timeout: 5,
        to_client: true,
        to_backend: true,
    };
    rig.relay.alive = Some(Box::new(Alive::new(rules, 0)));
    rig.relay.expire(10);
    rig.turn().await;
    assert_eq!(read_now(&mut rig.client).await.len(), 10);
    assert_eq!(read_now(&mut rig.backend).await.len(), 14);
    rig
}

#[tokio::test]
async fn a_pong_whose_length_is_not_in_its_shortest_form_is_refused_wherever_it_is_split() {
    let forms = |bit: u8, key: &[u8]| {
        let middle = [&[0x8A, bit | 126, 0, 8][..], key, b"8 letter"].concat();
        let long = [
            &[0x8A, bit | 127, 0, 0, 0, 0, 0, 0, 0, 8][..],
            key,
            b"8 letter",
        ];
        [middle, long.concat()]
    };
    for pong in forms(0x80, &[1, 2, 3, 4]) {
        for split in 0..=pong.len() {
            let mut rig = pinged().await;
            rig.say(&pong[..split]).await;
            rig.say(&pong[split..]).await;
            assert_eq!(farewell(&read_now(&mut rig.backend).await), (0x88, 1002));
            rig.relay.expire(20);
            rig.turn().await;
            let told = read_now(&mut rig.client).await;
            let reason = "frame length not in its shortest form";
            assert_eq!(told, close_frame(1002, reason, None), "split at {split}");
        }
    }
    for pong in forms(0, &[]) {
        for split in 0..=pong.len() {
            let mut rig = pinged().await;
            rig.answer(&pong[..split]).await;
            rig.answer(&pong[split..]).await;
            let told = read_now(&mut rig.client).await;
            let reason = "backend: frame length not in its shortest form";
            assert_eq!(told, close_frame(1011, reason, None), "split at {split}");
            assert_eq!(farewell(&read_now(&mut rig.backend).await), (0x88, 1002));
        }
    }
}

#[tokio::test]
async fn who_takes_bytes_on_the_way_to_a_ping_lives() {
    let mut rig = Rig::new(1024);
    let (client, inner) = duplex(16);
    (rig.client, rig.relay.client) = (client, inner);
    let rules = Keepalive {
        interval: 10,
        timeout: 5,
        to_client: true,
        to_backend: false,
    };
    rig.relay.alive = Some(Box::new(Alive::new(rules, 0)));
    let message = from_backend(0x82, &[7; 120]);
    rig.backend.write_all(&message).await.expect("room");
    rig.turn().await;
    let mut came = Vec::new();
    // The client takes 16 bytes in three ticks, and the ping waits behind them.
    while came.len() < message.len() {
        rig.now += 1;
        rig.relay.expire(rig.now);
        assert!(!rig.relay.closing(), "given up at {}", rig.now);
        if rig.now.is_multiple_of(3) {
            came.extend(read_now(&mut rig.client).await);
        }
        rig.turn().await;
    }
    assert!(rig.now > 20, "it took a while: {}", rig.now);
    rig.relay.expire(rig.now + 5);
    assert!(rig.relay.closing(), "it has the ping, and says nothing");
}
