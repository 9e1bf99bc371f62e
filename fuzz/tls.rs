//! The record layer of TLS: what a peer sends that has the keys, and what another process packed.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305};
use aws_lc_rs::aead::{LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;

use sessile::core::tls::{
    BUFFER_BYTES, Connection, Established, HalfKeys, RecordError, Role, Suite, Version,
};

/// Versions and suites.
const KINDS: [(Version, Suite); 6] = [
    (Version::V1_3, Suite::Aes128Gcm),
    (Version::V1_3, Suite::Aes256Gcm),
    (Version::V1_3, Suite::Chacha20Poly1305),
    (Version::V1_2, Suite::Aes128Gcm),
    (Version::V1_2, Suite::Aes256Gcm),
    (Version::V1_2, Suite::Chacha20Poly1305),
];

/// What a connection stores at most: an incomplete record, data of one record, what is not sent.
const PACKED_MAX: usize = 256 * 1024;

/// The type of a record with data.
const DATA: u8 = 23;

const fn hash(suite: Suite) -> (hkdf::Algorithm, usize) {
    match suite {
        Suite::Aes256Gcm => (hkdf::HKDF_SHA384, 48),
        Suite::Aes128Gcm | Suite::Chacha20Poly1305 => (hkdf::HKDF_SHA256, 32),
    }
}

const fn cipher(suite: Suite) -> &'static Algorithm {
    match suite {
        Suite::Aes128Gcm => &AES_128_GCM,
        Suite::Aes256Gcm => &AES_256_GCM,
        Suite::Chacha20Poly1305 => &CHACHA20_POLY1305,
    }
}

/// One direction, as the peer has it: a second implementation of what seals records.
struct Half {
    version: Version,
    suite: Suite,
    secret: Vec<u8>,
    key: Vec<u8>,
    iv: [u8; 12],
    number: u64,
    /// The data in everything that was sealed.
    data: Vec<u8>,
}

impl Half {
    fn new(version: Version, suite: Suite, seed: u8) -> Self {
        let mut half = Self {
            version,
            suite,
            secret: vec![seed; hash(suite).1],
            key: vec![seed; cipher(suite).key_len()],
            iv: [seed; 12],
            number: 0,
            data: Vec::new(),
        };
        if version == Version::V1_3 {
            half.derive();
        }
        half
    }

    fn derive(&mut self) {
        self.key = self.expand("key", self.key.len());
        let iv = self.expand("iv", 12);
        self.iv = iv.try_into().expect("twelve bytes");
        self.number = 0;
    }

    fn update(&mut self) {
        self.secret = self.expand("traffic upd", self.secret.len());
        self.derive();
    }

    /// `HKDF-Expand-Label` without a context.
    fn expand(&self, label: &str, length: usize) -> Vec<u8> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let label = format!("tls13 {label}");
        let bytes = u8::try_from(length).expect("a key");
        let label_length = u8::try_from(label.len()).expect("a label");
        let head = [0, bytes, label_length];
        let info = [&head[..], label.as_bytes(), &[0]];
        let secret = hkdf::Prk::new_less_safe(hash(self.suite).0, &self.secret);
        let mut out = vec![0; length];
        let expanded = secret.expand(&info, Length(length)).expect("a short key");
        expanded.fill(&mut out).expect("its length");
        out
    }

    fn keys(&self) -> HalfKeys<'_> {
        HalfKeys {
            key: &self.key,
            iv: &self.iv,
            sequence: self.number,
            secret: (self.version == Version::V1_3).then_some(&self.secret),
        }
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let number = self.number.to_be_bytes();
        self.number += 1;
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number) {
            *byte ^= number;
        }
        let (mut body, additional) = match self.version {
            Version::V1_3 => {
                let body = [content, &[kind]].concat();
                // The type is the last byte that is not padding.
                let end = body.iter().rposition(|byte| *byte != 0);
                if let Some(end) = end.filter(|end| body[*end] == DATA) {
                    self.data.extend(&body[..end]);
                }
                let [high, low] = length(body.len() + 16);
                (body, vec![23, 3, 3, high, low])
            }
            Version::V1_2 => {
                if kind == DATA {
                    self.data.extend(content);
                }
                let [high, low] = length(content.len());
                let additional = [&number[..], &[kind, 3, 3, high, low]].concat();
                (content.to_vec(), additional)
            }
        };
        let key = UnboundKey::new(cipher(self.suite), &self.key).expect("its length");
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        LessSafeKey::new(key)
            .seal_in_place_append_tag(nonce_used, Aad::from(additional), &mut body)
            .expect("a short record");
        if self.version == Version::V1_2 && self.suite != Suite::Chacha20Poly1305 {
            body = [&nonce[4..], &body].concat();
        }
        let outer = if self.version == Version::V1_3 {
            23
        } else {
            kind
        };
        [&[outer, 3, 3], &length(body.len())[..], &body].concat()
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a record").to_be_bytes()
}

/// The connection of the gateway, whose peer seals with `from_peer`.
fn connection(role: Role, from_peer: &Half, to_peer: &Half) -> Connection {
    let established = Established {
        role,
        version: from_peer.version,
        suite: from_peer.suite,
        receive: from_peer.keys(),
        send: to_peer.keys(),
    };
    Connection::new(established, Vec::new()).expect("keys that fit")
}

/// What the gateway read, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    ended: Option<Result<(), RecordError>>,
    /// The alert, if there was one.
    unsent: Vec<u8>,
    owes: bool,
}

/// Reads a stream in pieces, with room for so much data at a time; with `moves`, another process
/// goes on after each piece.
fn read(
    mut connection: Connection,
    stream: &[u8],
    piece: usize,
    room: usize,
    moves: bool,
) -> Outcome {
    let (mut buffer, mut into) = (vec![0; BUFFER_BYTES], vec![0; room]);
    let mut data = Vec::new();
    // At last once more without anything new, for what is stored.
    for some in stream.chunks(piece).chain([&[][..]]) {
        let mut new = some;
        loop {
            let stored = connection.take_data(&mut into);
            data.extend(&into[..stored]);
            if stored > 0 {
                continue;
            }
            if new.is_empty() && !connection.has_record() {
                break;
            }
            let loaded = connection.load(&mut buffer);
            buffer[loaded..loaded + new.len()].copy_from_slice(new);
            let input = &mut buffer[..loaded + new.len()];
            new = &[];
            let mut turn = connection.turn().expect("not frozen");
            let filled = turn.receive(input, &mut into);
            data.extend(&into[..filled]);
            if filled == 0 && !connection.has_record() {
                let stored = connection.take_data(&mut into);
                data.extend(&into[..stored]);
                if stored == 0 {
                    break;
                }
            }
        }
        if moves && let Some(packed) = connection.pack() {
            assert!(packed.len() < PACKED_MAX, "{} bytes", packed.len());
            connection = Connection::unpack(&packed).expect("packed just now");
        }
    }
    Outcome {
        data,
        unsent: connection.unsent().to_vec(),
        owes: connection.owes(),
        ended: connection.ended(),
    }
}

/// What the peer does next.
fn act(order: u8, content: &[u8], half: &mut Half, stream: &mut Vec<u8>) {
    match order % 8 {
        // Data, alerts, handshake messages, and what is none of them.
        0 => stream.extend(half.seal(23, content)),
        1 => stream.extend(half.seal(21, content)),
        2 => stream.extend(half.seal(22, content)),
        3 => stream.extend(half.seal(order / 8, content)),
        // Data and padding.
        4 if half.version == Version::V1_3 => {
            let padded = [content, &[23], &vec![0; usize::from(order)][..]].concat();
            stream.extend(half.seal(0, &padded));
        }
        // New keys, whether the gateway got a KeyUpdate or not.
        5 if half.version == Version::V1_3 => {
            stream.extend(half.seal(22, &[24, 0, 0, 1, order / 8 % 2]));
            half.update();
        }
        // A record that was damaged.
        6 => {
            let mut record = half.seal(23, content);
            let at = usize::from(order) % record.len();
            record[at] ^= 1 << (order % 7);
            stream.extend(record);
        }
        // No record at all.
        _ => stream.extend(content),
    }
}

/// The first byte chooses version, suite and role, the second the pieces, the rest is what the peer
/// does: an order, the length of its content, the content. However the stream is cut, and whatever
/// process reads its pieces, the same data comes out, and the same end.
pub fn receive(data: &[u8]) {
    let Some((&[kind, cut], mut orders)) = data.split_first_chunk::<2>() else {
        return;
    };
    let (version, suite) = KINDS[usize::from(kind) % KINDS.len()];
    let role = if kind < 128 {
        Role::Server
    } else {
        Role::Client
    };
    let (mut peer, own) = (Half::new(version, suite, 7), Half::new(version, suite, 9));
    let fresh = connection(role, &peer, &own).pack().expect("open");
    let fresh = || Connection::unpack(&fresh).expect("packed just now");
    let (mut stream, mut sound) = (Vec::new(), true);
    // A stream of many pieces takes long.
    let piece = usize::from(cut) * 13 + 1;
    let longest = 60_000.min(500 * piece);
    while let Some((&[order, bytes], rest)) = orders.split_first_chunk::<2>() {
        // Every other length is multiplied, for records as long as they may be and longer.
        let factor = if bytes % 2 == 0 { 1 } else { 70 };
        let content = &rest[..rest.len().min(usize::from(bytes))];
        let long = content.repeat(factor);
        act(order, &long, &mut peer, &mut stream);
        sound &= order % 8 == 0 && (1..=16_384).contains(&long.len());
        orders = &rest[content.len()..];
        if stream.len() > longest {
            break;
        }
    }
    let whole = read(fresh(), &stream, BUFFER_BYTES, BUFFER_BYTES, false);
    assert!(
        peer.data.starts_with(&whole.data),
        "data that the peer did not send"
    );
    if sound {
        assert_eq!((whole.data.len(), whole.ended), (peer.data.len(), None));
    }
    for room in [BUFFER_BYTES, usize::from(cut) + 1] {
        assert_eq!(read(fresh(), &stream, piece, room, false), whole);
    }
    // Each process derives keys, so there are not too many of them.
    let piece = piece.max(stream.len() / 40 + 1);
    assert_eq!(read(fresh(), &stream, piece, 100, true), whole);
}

/// The first byte chooses: what follows is a packed state, or edits of a real one, each an offset
/// and a value. A state that is taken can be used and packed again.
pub fn unpack(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    let packed = if kind == 0xff {
        rest.to_vec()
    } else {
        edited(kind, rest)
    };
    let Ok(mut connection) = Connection::unpack(&packed) else {
        return;
    };
    let again = connection.pack().expect("it has not failed");
    assert_eq!(*again, packed, "one state has two forms");
    connection.thaw();
    let outcome = read(
        Connection::unpack(&packed).expect("as before"),
        rest,
        BUFFER_BYTES,
        100,
        false,
    );
    assert!(outcome.data.len() <= PACKED_MAX);
    let mut out = Vec::new();
    let mut turn = connection.turn().expect("not frozen");
    for _ in 0..3 {
        if turn.send(b"data", &mut out).is_err() {
            break;
        }
    }
    turn.close(&mut out);
    assert!(turn.send(b"behind the end", &mut out).is_err());
}

/// A real state, with something stored everywhere, and these edits.
fn edited(kind: u8, edits: &[u8]) -> Vec<u8> {
    let (version, suite) = KINDS[usize::from(kind) % KINDS.len()];
    let (mut peer, own) = (Half::new(version, suite, 7), Half::new(version, suite, 9));
    let role = if kind < 128 {
        Role::Server
    } else {
        Role::Client
    };
    let mut connection = connection(role, &peer, &own);
    let whole = peer.seal(23, b"data that has no room");
    let stream = [&whole[..], &peer.seal(23, b"half a record")[..20]].concat();
    let mut buffer = vec![0; BUFFER_BYTES];
    buffer[..stream.len()].copy_from_slice(&stream);
    let mut turn = connection.turn().expect("not frozen");
    turn.receive(&mut buffer[..stream.len()], &mut [0; 4]);
    connection.keep_unsent(b"sealed before");
    let mut packed = connection.pack().expect("open").to_vec();
    for edit in edits.chunks_exact(2) {
        let at = usize::from(edit[0]) % packed.len();
        packed[at] = edit[1];
    }
    packed
}
