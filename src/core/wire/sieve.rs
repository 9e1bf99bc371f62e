//! Messages of a client that are for the gateway itself: texts that begin as the route declares.
//! Each is decided by its first bytes alone, before any of it goes on; nothing else is looked at.

use serde::{Deserialize, Serialize};

use crate::base::blob;
use crate::core::wire::frame::{CONTROL_PAYLOAD_MAX, FrameHeader, HEADER_MAX, Opcode};
use crate::core::wire::tracker::Violation;

/// Knows such messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sieve {
    /// What they begin with; not empty.
    #[serde(with = "blob")]
    prefix: Vec<u8>,
    /// Bytes of payload at most.
    bytes_max: usize,
}

/// What the message is that begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sifted {
    /// Somebody else's: it goes on.
    Passes,
    /// That takes more bytes; none of these may go on.
    Undecided,
    /// The gateway's, in one frame of this many bytes.
    Taken(usize),
    /// The gateway's, in a form that it does not take.
    Refused(Violation),
}

impl Sieve {
    /// Knows messages that begin with `prefix` and have `bytes_max` at most.
    pub fn new(prefix: &str, bytes_max: usize) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
            bytes_max,
        }
    }

    /// Looks at the message that begins with `bytes`, with the header of a text frame. A message
    /// that is undecided is in no more bytes than the longest that is taken.
    pub fn look(&self, bytes: &[u8]) -> Sifted {
        // What is decided does not depend on how much has come in by then.
        let bytes = &bytes[..bytes.len().min(self.bytes_max + HEADER_MAX)];
        let (mut at, mut seen, mut first) = (0, 0, true);
        let sifted = loop {
            let Some(header) = FrameHeader::parse(&bytes[at..]) else {
                break Sifted::Undecided;
            };
            let between = header.opcode.is_some_and(Opcode::is_control);
            let payload = usize::try_from(header.payload).unwrap_or(usize::MAX);
            at += header.len;
            if header.opcode == Some(Opcode::Close) || !header.shortest {
                // The message is never finished: behind a close frame nothing counts, and the
                // tracker refuses a frame whose length is not in its shortest form.
                break Sifted::Passes;
            }
            if between && payload <= CONTROL_PAYLOAD_MAX && !first {
                if bytes.len() < at + payload {
                    break Sifted::Undecided;
                }
                at += payload;
                continue;
            }
            let continues = first || header.opcode == Some(Opcode::Continuation);
            let Some(key) = header.mask.filter(|_| continues && header.reserved == 0) else {
                break Sifted::Passes;
            };
            let wanted = self.prefix[seen..].iter();
            let plain = bytes[at..].iter().take(payload).zip(key.iter().cycle());
            let plain = plain.map(|(byte, key)| byte ^ key);
            let here = wanted.len().min(bytes.len() - at).min(payload);
            if !plain.zip(wanted).all(|(byte, wanted)| byte == *wanted) {
                break Sifted::Passes;
            }
            seen += here;
            if seen == self.prefix.len() {
                break match () {
                    () if !first || !header.fin => Sifted::Refused(Violation::OwnFragmented),
                    () if payload > self.bytes_max => Sifted::Refused(Violation::OwnTooLong),
                    () if bytes.len() < at + payload => Sifted::Undecided,
                    () => Sifted::Taken(at + payload),
                };
            }
            if here < payload {
                break Sifted::Undecided;
            }
            if header.fin {
                break Sifted::Passes;
            }
            (at, first) = (at + payload, false);
        };
        // Somebody who goes on and on with fragments that say nothing.
        if sifted == Sifted::Undecided && bytes.len() >= self.bytes_max + HEADER_MAX {
            return Sifted::Refused(Violation::OwnFragmented);
        }
        sifted
    }

    /// What stands behind the prefix in a frame that was taken.
    pub fn content(&self, frame: &[u8]) -> Vec<u8> {
        let header = FrameHeader::parse(frame);
        let (len, key) = header.map_or((0, None), |header| (header.len, header.mask));
        let key = key.unwrap_or_default();
        let plain = frame.iter().skip(len).zip(key.iter().cycle());
        let plain = plain.map(|(byte, key)| byte ^ key);
        plain.skip(self.prefix.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [7, 1, 9, 3];

    fn frame(first: u8, payload: &str) -> Vec<u8> {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(short @ ..126) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                let length = u16::try_from(payload.len()).expect("short");
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend(KEY);
        let masked = payload.bytes().zip(KEY.iter().cycle());
        frame.extend(masked.map(|(byte, key)| byte ^ key));
        frame
    }

    fn sieve() -> Sieve {
        Sieve::new("renew ", 40)
    }

    #[test]
    fn messages_are_known_by_what_they_begin_with() {
        let check = |frames: &[Vec<u8>], expected: Sifted| {
            let bytes = frames.concat();
            assert_eq!(sieve().look(&bytes), expected, "{frames:?}");
            // What is decided by some of the bytes is decided so by all of them.
            for at in 0..bytes.len() {
                let sifted = sieve().look(&bytes[..at]);
                let early = matches!(sifted, Sifted::Passes | Sifted::Refused(_));
                assert!(
                    sifted == Sifted::Undecided || (early && sifted == expected),
                    "{frames:?} cut at {at}: {sifted:?}"
                );
            }
        };
        let long = "renew ".to_owned() + &"t".repeat(34);
        let longer = long.clone() + "t";
        let one = |text: &str| [frame(0x81, text)];
        check(&one("renew abc"), Sifted::Taken(15));
        check(&one("renew "), Sifted::Taken(12));
        check(&one(&long), Sifted::Taken(46));
        check(&one(&longer), Sifted::Refused(Violation::OwnTooLong));
        check(&one(""), Sifted::Passes);
        check(&one("renew"), Sifted::Passes);
        check(&one("renewal"), Sifted::Passes);
        check(&one("hello"), Sifted::Passes);
        check(&[frame(0xC1, "renew abc")], Sifted::Passes);
        let fragmented = Sifted::Refused(Violation::OwnFragmented);
        check(&[frame(0x01, "renew a"), frame(0x80, "bc")], fragmented);
        check(&[frame(0x01, "ren"), frame(0x80, "ew abc")], fragmented);
        check(&[frame(0x01, ""), frame(0x80, "renew abc")], fragmented);
        let between = [frame(0x01, "re"), frame(0x89, "ping"), frame(0x80, "new ")];
        check(&between, fragmented);
        check(&[frame(0x01, "ren"), frame(0x80, "t abc")], Sifted::Passes);
        check(&[frame(0x01, "ren"), frame(0x80, "ew")], Sifted::Passes);
        check(&[frame(0x01, "ren"), frame(0x88, "")], Sifted::Passes);
        check(&[frame(0x01, "ren"), frame(0x81, "ew a")], Sifted::Passes);
        let nothing = vec![frame(0x00, ""); 20];
        let endless = [vec![frame(0x01, "r")], nothing].concat().concat();
        assert_eq!(sieve().look(&endless), fragmented);
        assert_eq!(sieve().look(&endless[..53]), Sifted::Undecided);
    }

    #[test]
    fn what_stands_behind_the_prefix_is_unmasked() {
        assert_eq!(sieve().content(&frame(0x81, "renew abc")), b"abc");
        assert_eq!(sieve().content(&frame(0x81, "renew ")), b"");
        let long = "renew ".to_owned() + &"t".repeat(200);
        assert_eq!(sieve().content(&frame(0x81, &long)), [b't'; 200]);
    }
}
