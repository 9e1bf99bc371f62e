//! A connection that goes to another process.

use std::collections::HashSet;

use super::*;
use crate::core::tls::header::HANDSHAKE;

#[test]
fn what_is_stored_goes_along() {
    for (version, suite) in ALL {
        let (mut client, mut server) = pair(version, suite);
        let first = sealed(&mut client, &[3; 1000]);
        let second = sealed(&mut client, &[4; 1000]);
        // Data that the reader had no room for, half a record, and records that are not sent.
        let mut buffer = vec![0; BUFFER_BYTES];
        let bytes = [&first[..], &second[..700]].concat();
        buffer[..bytes.len()].copy_from_slice(&bytes);
        let mut into = [0; 10];
        let mut turn = server.turn().expect("not frozen");
        assert_eq!(turn.receive(&mut buffer[..bytes.len()], &mut into), 10);
        let answer = sealed(&mut server, b"answer");
        server.keep_unsent(&answer);
        let mut server = moved(&mut server);
        let mut rest = vec![0; 2000];
        assert_eq!(server.take_data(&mut rest), 990);
        assert_eq!(received(&mut server, &second[700..]), [4; 1000]);
        assert_eq!(server.unsent(), answer);
        server.sent(answer.len());
        assert_eq!(received(&mut client, &answer), b"answer");
    }
}

fn moved(connection: &mut Connection) -> Connection {
    let packed = connection.pack().expect("open");
    Connection::unpack(&packed).expect("packed just now")
}

#[test]
fn an_idle_state_is_small() {
    for (version, suite) in ALL {
        let packed = pair(version, suite).1.pack().expect("open");
        assert!(packed.len() <= 260, "{} bytes", packed.len());
        assert!(
            packed.capacity() >= packed.len() + 100,
            "it was never grown"
        );
    }
}

#[test]
fn a_connection_that_another_process_may_own_seals_nothing() {
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let packed = server.pack().expect("open");
    assert!(server.turn().is_none() && server.is_frozen());
    assert_eq!(server.pack().expect("the same"), packed);
    // The other process did not take it.
    server.thaw();
    let bytes = sealed(&mut server, b"data");
    assert_eq!(received(&mut client, &bytes), b"data");
    // One that broke does not move.
    end_after(&mut server, b"GET / HTTP/1.1");
    assert!(server.pack().is_none());
}

#[test]
fn a_state_that_is_cut_or_changed_is_refused_or_is_another() {
    for (version, suite) in ALL {
        let (mut client, mut server) = pair(version, suite);
        let half = record(
            &mut client,
            HANDSHAKE,
            &[if version == Version::V1_3 { 24 } else { 1 }],
        );
        received(&mut server, &half);
        let packed = server.pack().expect("open");
        for length in 0..packed.len() {
            assert!(
                Connection::unpack(&packed[..length]).is_err(),
                "{length} bytes"
            );
        }
        for at in 0..packed.len() {
            for value in [0, 1, 2, 0x7f, 0xff] {
                let mut changed = packed.to_vec();
                changed[at] = value;
                if let Ok(mut other) = Connection::unpack(&changed) {
                    // It works, with whatever keys it has.
                    let _ = sealed_or_ended(&mut other);
                    end_after(&mut other, &half);
                }
            }
        }
        let longer = [&packed[..], &[0]].concat();
        assert!(Connection::unpack(&longer).is_err());
    }
}

fn sealed_or_ended(connection: &mut Connection) -> Result<usize, SendError> {
    let mut out = Vec::new();
    connection
        .turn()
        .expect("not frozen")
        .send(b"data", &mut out)
}

#[test]
fn a_state_shows_no_secret_in_its_errors() {
    let packed = pair(Version::V1_3, Suite::Aes128Gcm)
        .0
        .pack()
        .expect("open");
    let mut changed = packed.to_vec();
    let at = changed.len() - 20;
    changed[at] ^= 1;
    let error = Connection::unpack(&changed).expect_err("the keys do not fit");
    assert_eq!(
        error.to_string(),
        "the state of its TLS connection is not sound (its keys)"
    );
    let shown = format!("{:?}", pair(Version::V1_3, Suite::Aes128Gcm).0);
    assert!(!shown.contains('7') && !shown.contains('['), "{shown}");
}

/// Who may touch a session during a hand-over; see `io::handover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The old process dies, or the connection between the two breaks, before `Taken` is queued.
    BeforeTaken,
    /// It breaks after that.
    AfterTaken,
    /// It all goes well.
    Never,
}

/// One process after the other, cut at every message: no nonce is used twice with a key.
#[test]
fn no_nonce_is_used_twice_whatever_dies_when() {
    for (version, suite) in ALL {
        for plan in 0..3_usize.pow(5) {
            let mut used = HashSet::new();
            let (mut client, mut owner) = pair(version, suite);
            let mut cuts = plan;
            let mut expected = Vec::new();
            let mut got = Vec::new();
            let mut seal = |owner: &mut Connection, client: &mut Connection, data: &[u8]| {
                let number = (owner.send.generation(), owner.send.sequence());
                let bytes = sealed(owner, data);
                assert!(used.insert(number), "twice in plan {plan}");
                expected.extend_from_slice(data);
                got.extend(received(client, &bytes));
            };
            for round in 0..5_u8 {
                let cut = [Cut::BeforeTaken, Cut::AfterTaken, Cut::Never][cuts % 3];
                cuts /= 3;
                seal(&mut owner, &mut client, &[round]);
                if version == Version::V1_3 && round % 2 == 0 {
                    let update = record(&mut client, HANDSHAKE, &[24, 0, 0, 1, 1]);
                    client.turn().expect("not frozen").update_sending();
                    received(&mut owner, &update);
                    let mut out = Vec::new();
                    let number = (owner.send.generation(), owner.send.sequence());
                    owner
                        .turn()
                        .expect("not frozen")
                        .answer(&mut out)
                        .expect("open");
                    assert_ne!(number.0, owner.send.generation());
                    received(&mut client, &out);
                }
                let packed = owner.pack().expect("open");
                let mut heir = Connection::unpack(&packed).expect("packed just now");
                // The new process seals nothing before `Taken` is queued, and the old one nothing
                // while it may be.
                assert!(owner.turn().is_none());
                match cut {
                    Cut::BeforeTaken => {
                        drop(heir);
                        owner.thaw();
                    }
                    Cut::AfterTaken | Cut::Never => {
                        seal(&mut heir, &mut client, &[round, round]);
                        assert!(owner.turn().is_none(), "still frozen");
                        owner = heir;
                    }
                }
            }
            assert_eq!(got, expected);
        }
    }
}
