//! Messages of a client that are for the gateway, and messages of the gateway itself.

use super::*;
use crate::core::relay::pump::Pumped;
use crate::core::wire::frame::{FrameHeader, Opcode, data_frame};
use crate::core::wire::in_band::InBandMatcher;

fn rig(in_band: bool, expires_at: Option<Tick>) -> Rig {
    let mut setup = setup();
    setup.in_band = in_band.then(|| InBandMatcher::new("renew ", 64));
    setup.times.expires_at = expires_at;
    setup.warning = Some(Box::new(Warning {
        before: 300,
        message: r#"{"in":{seconds}}"#.into(),
        tick: 100,
        sent: false,
    }));
    Rig::with(64 * 1024, setup)
}

/// Lets the relay do what it can, and answers all messages for the gateway.
fn turn(rig: &mut Rig, heard: &mut Vec<String>) {
    loop {
        match rig.pump() {
            Pumped::Turn(Turn::Renewal) => {
                let sent = rig.relay.renewal().expect("there is one").to_vec();
                heard.push(String::from_utf8(sent).expect("text"));
                rig.relay.renewal_over(true);
            }
            Pumped::Again => {}
            Pumped::Turn(other) => panic!("{other:?}"),
            Pumped::Idle => return,
        }
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = from_client(first, payload);
    let key = [9, 200, 3, 77];
    frame[2..6].copy_from_slice(&key);
    let masked = frame[6..].iter_mut().zip(key.iter().cycle());
    masked.for_each(|(byte, key)| *byte ^= key);
    frame
}

#[test]
fn i10_messages_for_the_gateway_are_taken_out_wherever_the_stream_is_split() {
    let messages = [
        (masked(0x81, b"hello"), None),
        (masked(0x81, b"renew abc"), Some("abc")),
        (masked(0x82, b"renew is no text"), None),
        (masked(0x01, b"ren"), None),
        (masked(0x89, b"ping"), None),
        (masked(0x80, b"ewal of my vows"), None),
        (masked(0x81, b""), None),
        (masked(0x81, b"renew "), Some("")),
        (masked(0x81, b"renew"), None),
        (masked(0x81, b"renew def"), Some("def")),
        (masked(0x81, b"bye"), None),
    ];
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|(bytes, _)| bytes.clone())
        .collect();
    let forwarded = messages.iter().filter(|(_, own)| own.is_none());
    let forwarded: Vec<u8> = forwarded.flat_map(|(bytes, _)| bytes.clone()).collect();
    let all: Vec<_> = messages.iter().filter_map(|(_, own)| *own).collect();
    for size in 1..stream.len() {
        let (mut rig, mut heard, mut came) = (rig(true, None), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            rig.client.send(piece);
            turn(&mut rig, &mut heard);
            came.extend(rig.backend.take());
        }
        assert_eq!(came, forwarded, "in pieces of {size}");
        // Of several in one chunk the newest counts.
        let mut rest = all.iter();
        assert!(
            heard.iter().all(|one| rest.any(|sent| sent == one)),
            "{heard:?}"
        );
        assert_eq!(heard.last().map(String::as_str), Some("def"));
        if size < 9 {
            assert_eq!(heard, all, "in pieces of {size}");
        }
        let traffic = rig.relay.to_backend();
        assert_eq!((traffic.text, traffic.binary, traffic.ping), (5, 1, 1));
        assert_eq!(traffic.bytes, forwarded.len() as u64);
        assert_eq!(rig.relay.held(), 0);
    }
}

#[test]
fn no_form_of_a_message_for_the_gateway_reaches_the_backend() {
    let check = |frames: Vec<Vec<u8>>, code: u16| {
        let mut rig = rig(true, None);
        for byte in frames.concat() {
            rig.client.send(&[byte]);
            rig.turn();
        }
        let came = rig.backend.take();
        let header = FrameHeader::parse(&came).expect("a frame");
        assert_eq!(came[0], 0x88, "a close frame and nothing before it");
        let key = header.mask.expect("masked");
        let sent = [came[6] ^ key[0], came[7] ^ key[1]];
        assert_eq!(u16::from_be_bytes(sent), code);
    };
    check(
        vec![masked(0x81, &[b"renew ".as_slice(), &[b't'; 80]].concat())],
        1009,
    );
    check(vec![masked(0x01, b"renew a"), masked(0x80, b"bc")], 1008);
    check(vec![masked(0x01, b"r"), masked(0x80, b"enew abc")], 1008);
    check(vec![masked(0x01, b""), masked(0x80, b"renew abc")], 1008);
}

#[test]
fn i10_a_warning_stands_between_messages() {
    let (mut rig, mut heard) = (rig(false, Some(1_000)), Vec::new());
    assert_eq!(rig.relay.due(), Some(600), "idle comes first");
    rig.relay.times.idle = None;
    assert_eq!(rig.relay.due(), Some(700));
    let half = from_backend(0x01, b"one half ");
    rig.backend.send(&half);
    turn(&mut rig, &mut heard);
    rig.now = 700;
    rig.expire(700);
    rig.expire(701);
    let ping = from_backend(0x89, b"between");
    rig.backend.send(&ping);
    turn(&mut rig, &mut heard);
    let came = rig.client.take();
    assert_eq!(came, [half, ping].concat(), "inside a message");
    let rest = [
        from_backend(0x80, b"and the other"),
        from_backend(0x81, b"next"),
    ];
    rig.backend.send(&rest.concat());
    turn(&mut rig, &mut heard);
    let came = rig.client.take();
    let warning = data_frame(Opcode::Text, br#"{"in":30}"#, None);
    assert_eq!(
        came,
        [&rest[0], &warning, &rest[1]].map(Vec::as_slice).concat()
    );
    // Another credential has a warning of its own.
    rig.relay.set_expiry(Some(2_000));
    assert_eq!(rig.relay.due(), Some(1_700));
    rig.now = 1_700;
    rig.expire(1_700);
    turn(&mut rig, &mut heard);
    assert_eq!(rig.client.take(), warning);
    rig.now = 2_000;
    rig.expire(2_000);
    turn(&mut rig, &mut heard);
    let came = rig.client.take();
    assert_eq!(came, close_frame(3000, "credential expired", None));
}

#[test]
fn a_session_that_ends_forgets_a_renewal_and_reads_its_client() {
    let mut rig = rig(true, None);
    rig.client.send(&masked(0x81, b"renew abc"));
    assert_eq!(rig.pump(), Pumped::Turn(Turn::Renewal));
    assert_eq!(rig.relay.read_allowance(Side::Client, 4096, 0), None);
    rig.relay.close(&order(1008, "kicked", Cause::Kicked), 0);
    assert_eq!(rig.relay.begin(0), None);
    assert_eq!(rig.relay.renewal(), None);
    assert!(rig.relay.read_allowance(Side::Client, 4096, 0).is_some());
}

#[test]
fn a_renewal_right_before_a_close_frame_is_not_reported() {
    let mut rig = rig(true, None);
    let close = client_close(1000);
    rig.client
        .send(&[masked(0x81, b"renew abc"), close.clone()].concat());
    assert_eq!(rig.pump(), Pumped::Idle);
    assert_eq!(rig.backend.take(), close);
}
