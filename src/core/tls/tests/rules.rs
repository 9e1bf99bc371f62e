//! What a peer may not send. Each case names its rule and the alert that follows.

use super::*;
use crate::core::tls::alert::*;
use crate::core::tls::header::{ALERT, APPLICATION_DATA, HANDSHAKE};

const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// The alert that `server` has queued, as `client` sees it.
fn alert_of(client: &mut Connection, server: &Connection) -> Option<Result<(), RecordError>> {
    let unsent = server.unsent().to_vec();
    end_after(client, &unsent)
}

/// Sends records of these types and contents to a server, and looks at how that ends.
fn after(
    version: Version,
    records: &[(u8, &[u8])],
) -> (Option<Result<(), RecordError>>, Option<u8>) {
    let (mut client, mut server) = pair(version, Suite::Aes128Gcm);
    let mut bytes = Vec::new();
    for (kind, content) in records {
        bytes.extend(record(&mut client, *kind, content));
        if version == Version::V1_3 && *kind == HANDSHAKE && content.ends_with(&UPDATE[..4]) {
            unreachable!("changes of keys have a test of their own");
        }
    }
    let end = end_after(&mut server, &bytes);
    let alert = match alert_of(&mut client, &server) {
        Some(Err(RecordError::Alert(alert))) => Some(alert),
        _ => None,
    };
    (end, alert)
}

#[test]
fn each_broken_rule_of_tls_1_3_has_its_alert() {
    let too_long = vec![0; DATA_MAX + 1];
    let cases: [(&str, u8, &[u8], u8); 9] = [
        ("an inner change of ciphers", 20, &[1], UNEXPECTED_MESSAGE),
        ("a type that is none", 99, &[1], UNEXPECTED_MESSAGE),
        (
            "an empty handshake record",
            HANDSHAKE,
            &[],
            UNEXPECTED_MESSAGE,
        ),
        (
            "a ClientHello",
            HANDSHAKE,
            &[1, 0, 0, 0],
            UNEXPECTED_MESSAGE,
        ),
        (
            "a ticket to a server",
            HANDSHAKE,
            &[4, 0, 0, 1, 0],
            UNEXPECTED_MESSAGE,
        ),
        (
            "a long KeyUpdate",
            HANDSHAKE,
            &[24, 0, 0, 2, 0, 0],
            DECODE_ERROR,
        ),
        (
            "a KeyUpdate with another value",
            HANDSHAKE,
            &[24, 0, 0, 1, 2],
            ILLEGAL_PARAMETER,
        ),
        ("an alert of one byte", ALERT, &[2], DECODE_ERROR),
        ("too long", APPLICATION_DATA, &too_long, RECORD_OVERFLOW),
    ];
    for (rule, kind, content, alert) in cases {
        let (end, sent) = after(Version::V1_3, &[(kind, content)]);
        assert!(matches!(end, Some(Err(_))), "{rule}: {end:?}");
        assert_eq!(sent, Some(alert), "{rule}: {end:?}");
    }
}

#[test]
fn a_record_with_nothing_but_padding_is_fatal() {
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let bytes = record(&mut client, 0, &[0; 20]);
    assert_eq!(
        end_after(&mut server, &bytes),
        Some(Err(RecordError::Empty))
    );
    // Padding behind a type is what it is for.
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let mut padded = b"data".to_vec();
    padded.push(APPLICATION_DATA);
    padded.extend([0; 40]);
    let bytes = record(&mut client, 0, &padded);
    assert_eq!(received(&mut server, &bytes), b"data");
}

#[test]
fn parts_of_a_message_follow_one_another() {
    for (kind, content) in [(APPLICATION_DATA, &b"x"[..]), (ALERT, &[1, 90])] {
        let (end, alert) = after(Version::V1_3, &[(HANDSHAKE, &[24, 0]), (kind, content)]);
        assert!(
            matches!(end, Some(Err(RecordError::Interleaved(_)))),
            "{end:?}"
        );
        assert_eq!(alert, Some(UNEXPECTED_MESSAGE));
    }
    // Over two records it is the same KeyUpdate.
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let mut bytes = record(&mut client, HANDSHAKE, &UPDATE_REQUESTED[..3]);
    bytes.extend(record(&mut client, HANDSHAKE, &UPDATE_REQUESTED[3..]));
    client.turn().expect("not frozen").update_sending();
    bytes.extend(sealed(&mut client, b"with the next key"));
    assert_eq!(received(&mut server, &bytes), b"with the next key");
    assert!(server.owes());
}

#[test]
fn a_change_of_keys_ends_its_record() {
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let bytes = record(&mut client, HANDSHAKE, &[UPDATE, UPDATE].concat());
    let end = end_after(&mut server, &bytes);
    assert!(
        matches!(end, Some(Err(RecordError::Interleaved(_)))),
        "{end:?}"
    );
}

#[test]
fn changes_of_keys_without_data_are_bounded() {
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let update = |client: &mut Connection| {
        let bytes = record(client, HANDSHAKE, &UPDATE_REQUESTED);
        client.turn().expect("not frozen").update_sending();
        bytes
    };
    for round in 0..3 {
        for _ in 0..32 {
            let bytes = update(&mut client);
            assert_eq!(end_after(&mut server, &bytes), None, "round {round}");
        }
        let bytes = sealed(&mut client, b"data");
        assert_eq!(received(&mut server, &bytes), b"data");
    }
    // However often it was asked, one answer is owed.
    let mut out = Vec::new();
    server
        .turn()
        .expect("not frozen")
        .answer(&mut out)
        .expect("open");
    assert_eq!(received(&mut client, &out), b"");
    let answer = sealed(&mut server, b"with the next key");
    assert_eq!(received(&mut client, &answer), b"with the next key");
    for _ in 0..32 {
        let bytes = update(&mut client);
        assert_eq!(end_after(&mut server, &bytes), None);
    }
    let bytes = update(&mut client);
    let end = end_after(&mut server, &bytes);
    assert!(matches!(end, Some(Err(RecordError::TooMany(_)))), "{end:?}");
}

#[test]
fn records_without_data_are_bounded() {
    for version in [Version::V1_2, Version::V1_3] {
        let empty: [(u8, &[u8]); 33] = [(APPLICATION_DATA, &[]); 33];
        assert_eq!(after(version, &empty[..32]).0, None);
        let (end, alert) = after(version, &empty);
        assert!(matches!(end, Some(Err(RecordError::TooMany(_)))), "{end:?}");
        assert_eq!(alert, Some(UNEXPECTED_MESSAGE));
    }
}

#[test]
fn alerts_of_the_peer_are_not_answered() {
    let cases: [(Version, &[u8], RecordError); 3] = [
        (Version::V1_3, &[1, 40], RecordError::Alert(40)),
        (Version::V1_2, &[2, 20], RecordError::Alert(20)),
        (Version::V1_3, &[2, 100], RecordError::Alert(100)),
    ];
    for (version, alert, error) in cases {
        let (end, sent) = after(version, &[(ALERT, alert)]);
        assert_eq!((end, sent), (Some(Err(error)), None));
    }
    // Warnings, up to a bound.
    for (version, warning) in [(Version::V1_3, &[1, 90][..]), (Version::V1_2, &[1, 41][..])] {
        assert_eq!(after(version, &[(ALERT, warning); 4]).0, None);
        let (end, _) = after(version, &[(ALERT, warning); 5]);
        assert!(matches!(end, Some(Err(RecordError::TooMany(_)))), "{end:?}");
    }
}

#[test]
fn another_handshake_is_declined_once() {
    let hello: (u8, &[u8]) = (HANDSHAKE, &[1, 0, 0, 2, 3, 3]);
    assert_eq!(after(Version::V1_2, &[hello]).0, None);
    let (end, alert) = after(Version::V1_2, &[hello, hello]);
    assert_eq!(end, Some(Err(RecordError::Renegotiation)));
    assert_eq!(alert, Some(NO_RENEGOTIATION));
    // A long one is skipped, whatever is in it, over as many records as it takes.
    let (mut client, mut server) = pair(Version::V1_2, Suite::Aes128Gcm);
    let mut long = vec![1, 0, 0x80, 0];
    long.resize(4 + 0x8000, 24);
    let mut bytes = Vec::new();
    for part in long.chunks(DATA_MAX) {
        bytes.extend(record(&mut client, HANDSHAKE, part));
    }
    bytes.extend(sealed(&mut client, b"data"));
    assert_eq!(received(&mut server, &bytes), b"data");
    // The answer is a warning, and data goes on behind it.
    let answer = sealed(&mut server, b"more");
    assert_eq!(received(&mut client, &answer), b"more");
    assert_eq!(client.counts.warnings, 1);
}

#[test]
fn a_header_is_judged_before_its_body_comes() {
    let cases: [(Version, [u8; 5], u8); 6] = [
        (Version::V1_3, [22, 3, 3, 0, 9], UNEXPECTED_MESSAGE),
        (Version::V1_3, [20, 3, 3, 0, 1], UNEXPECTED_MESSAGE),
        (Version::V1_2, [20, 3, 3, 0, 1], UNEXPECTED_MESSAGE),
        (Version::V1_3, [23, 3, 3, 0x41, 1], RECORD_OVERFLOW),
        (Version::V1_2, [23, 3, 3, 0x48, 1], RECORD_OVERFLOW),
        (Version::V1_2, *b"GET /", PROTOCOL_VERSION),
    ];
    for (version, header, alert) in cases {
        let (mut client, mut server) = pair(version, Suite::Aes128Gcm);
        let end = end_after(&mut server, &header);
        assert!(matches!(end, Some(Err(_))), "{header:?}");
        let sent = alert_of(&mut client, &server);
        let expected = Some(Err(RecordError::Alert(alert)));
        assert_eq!(sent, expected, "{header:?}");
    }
}

#[test]
fn a_damaged_byte_anywhere_is_noticed() {
    for (version, suite) in ALL {
        let whole = sealed(&mut pair(version, suite).0, b"some data");
        for at in 5..whole.len() {
            let (_, mut server) = pair(version, suite);
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let end = end_after(&mut server, &bytes);
            assert_eq!(end, Some(Err(RecordError::NotAuthentic)), "byte {at}");
        }
        // So is a record that comes twice, or not at all.
        let (mut client, mut server) = pair(version, suite);
        let first = sealed(&mut client, b"one");
        let second = sealed(&mut client, b"two");
        assert_eq!(received(&mut server, &first), b"one");
        let end = end_after(&mut server, &first);
        assert_eq!(end, Some(Err(RecordError::NotAuthentic)));
        let (_, mut server) = pair(version, suite);
        let end = end_after(&mut server, &second);
        assert_eq!(end, Some(Err(RecordError::NotAuthentic)));
    }
}

#[test]
fn nothing_follows_an_end() {
    for (version, suite) in ALL {
        let (mut client, mut server) = pair(version, suite);
        let mut bytes = sealed(&mut client, b"last");
        client.turn().expect("not frozen").close(&mut bytes);
        let length = bytes.len();
        client.turn().expect("not frozen").close(&mut bytes);
        assert_eq!(bytes.len(), length, "close_notify is sent once");
        let mut turn = client.turn().expect("not frozen");
        assert_eq!(turn.send(b"more", &mut bytes), Err(SendError::Ended));
        bytes.extend(b"garbage behind close_notify");
        assert_eq!(received(&mut server, &bytes), b"last");
        assert_eq!(server.ended(), Some(Ok(())));
        assert!(server.unsent().is_empty() && server.ciphertext.is_empty());
        // The other half lives on.
        let answer = sealed(&mut server, b"answer");
        assert_eq!(received(&mut client, &answer), b"answer");
        // After an error neither does, and it is reported once.
        let end = end_after(&mut client, b"GET / HTTP/1.1");
        assert!(matches!(end, Some(Err(_))));
        assert_eq!(client.ended(), Some(Ok(())));
        let mut turn = client.turn().expect("not frozen");
        assert_eq!(turn.send(b"more", &mut bytes), Err(SendError::Ended));
    }
}

#[test]
fn a_key_that_has_done_its_work_is_changed_or_ends_the_connection() {
    let set = |connection: &mut Connection, sequence| {
        for _ in connection.send.sequence()..sequence {
            connection.send.advance();
        }
    };
    let worn = (1 << 24) - 1;
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    set(&mut client, worn);
    for _ in 0..worn {
        server.receive.advance();
    }
    let bytes = sealed(&mut client, b"data");
    assert_eq!(client.send.sequence(), 1, "the next key");
    assert_eq!(received(&mut server, &bytes), b"data");
    assert!(!server.owes(), "the other half has keys of its own");

    let (mut client, _) = pair(Version::V1_2, Suite::Aes128Gcm);
    set(&mut client, worn);
    let mut out = Vec::new();
    let mut turn = client.turn().expect("not frozen");
    assert_eq!(turn.send(b"data", &mut out), Err(SendError::Exhausted));
    assert!(!out.is_empty(), "an alert");
    assert_eq!(
        client.turn().expect("not frozen").send(b"", &mut out),
        Err(SendError::Ended)
    );
}

#[test]
fn a_client_stores_the_tickets_that_it_wants() {
    let ticket = |bytes: usize| {
        let mut message = vec![4, 0, (bytes >> 8) as u8, bytes as u8];
        message.resize(4 + bytes, 7);
        message
    };
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes256Gcm);
    let two = [ticket(100), ticket(300)].concat();
    let mut bytes = record(&mut server, HANDSHAKE, &two[..200]);
    bytes.extend(record(&mut server, HANDSHAKE, &two[200..]));
    assert_eq!(received(&mut client, &bytes), b"");
    assert_eq!(client.take_tickets(), [vec![7; 100], vec![7; 300]]);
    // A ticket that is too long is skipped. So are all tickets after `ignore_tickets`.
    let long = ticket(0xffff);
    for part in long.chunks(DATA_MAX) {
        let bytes = record(&mut server, HANDSHAKE, part);
        assert_eq!(end_after(&mut client, &bytes), None);
    }
    assert!(client.take_tickets().is_empty());
    let bytes = record(&mut server, HANDSHAKE, &two[..200]);
    assert_eq!(end_after(&mut client, &bytes), None);
    client.ignore_tickets();
    let bytes = record(&mut server, HANDSHAKE, &two[200..]);
    assert_eq!(end_after(&mut client, &bytes), None);
    assert!(client.take_tickets().is_empty());
}
