//! The record layer against the vectors of the RFC, against itself, and against what a hostile peer
//! may send.

use super::keys::Keys;
use super::*;

mod contexts;
mod exchange;
mod packing;
mod rules;
mod vectors;

/// Every version with every cipher.
const ALL: [(Version, Suite); 6] = [
    (Version::V1_3, Suite::Aes128Gcm),
    (Version::V1_3, Suite::Aes256Gcm),
    (Version::V1_3, Suite::Chacha20Poly1305),
    (Version::V1_2, Suite::Aes128Gcm),
    (Version::V1_2, Suite::Aes256Gcm),
    (Version::V1_2, Suite::Chacha20Poly1305),
];

/// Keys of one half, made of one byte.
struct Made {
    key: Vec<u8>,
    iv: Vec<u8>,
    secret: Vec<u8>,
}

impl Made {
    fn of(version: Version, suite: Suite, seed: u8) -> Self {
        let secret = vec![seed; suite.secret_bytes()];
        let (key, iv) = match version {
            Version::V1_3 => Keys::of_secret(suite, &secret),
            Version::V1_2 => (vec![seed; suite.key_bytes()], vec![seed; 12]),
        };
        Self { key, iv, secret }
    }

    fn half(&self) -> HalfKeys<'_> {
        HalfKeys {
            key: &self.key,
            iv: &self.iv,
            sequence: 0,
            secret: Some(&self.secret),
        }
    }
}

/// The two ends of a connection: client, server.
fn pair(version: Version, suite: Suite) -> (Connection, Connection) {
    let up = Made::of(version, suite, 7);
    let down = Made::of(version, suite, 9);
    let end = |role, receive: &Made, send: &Made| {
        let established = Established {
            role,
            version,
            suite,
            receive: receive.half(),
            send: send.half(),
        };
        Connection::new(established, Vec::new()).expect("keys that fit")
    };
    (end(Role::Client, &down, &up), end(Role::Server, &up, &down))
}

/// The record of `data`.
fn sealed(connection: &mut Connection, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut turn = connection.turn().expect("not frozen");
    let mut rest = data;
    loop {
        rest = &rest[turn.send(rest, &mut out).expect("open")..];
        if rest.is_empty() {
            return out;
        }
    }
}

/// A record of any type, as a peer may send it.
fn record(connection: &mut Connection, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut turn = connection.turn().expect("not frozen");
    turn.seal(kind, content, &mut out);
    out
}

/// Everything that a reader with enough room gets of these bytes.
fn received(connection: &mut Connection, bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut into = vec![0; BUFFER_BYTES];
    for chunk in bytes.chunks(60_000) {
        let loaded = connection.load(&mut buffer);
        buffer[loaded..loaded + chunk.len()].copy_from_slice(chunk);
        let mut turn = connection.turn().expect("not frozen");
        let data = turn.receive(&mut buffer[..loaded + chunk.len()], &mut into);
        all.extend(&into[..data]);
        let rest = connection.take_data(&mut into);
        all.extend(&into[..rest]);
    }
    all
}

/// How the peer's half ended after these bytes.
fn end_after(connection: &mut Connection, bytes: &[u8]) -> Option<Result<(), RecordError>> {
    received(connection, bytes);
    connection.ended()
}
