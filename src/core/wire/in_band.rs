//! Messages of a client that are for the gateway itself: texts that begin with the prefix that the
//! route declares. The first bytes of a message decide, before any of it is forwarded.

use serde::{Deserialize, Serialize};

use crate::base::blob;
use crate::core::wire::frame::{CONTROL_PAYLOAD_MAX, FrameHeader, HEADER_MAX, Opcode};
use crate::core::wire::violation::Violation;

/// Finds such messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InBandMatcher {
    /// Prefix of their payload; not empty.
    #[serde(with = "blob")]
    prefix: Vec<u8>,
    /// Longest payload in bytes.
    bytes_max: usize,
}

/// What a message is, judged by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InBandMatch {
    /// It is for the other side and is forwarded.
    NoMatch,
    /// More bytes are needed; none of these may be forwarded yet.
    Undecided,
    /// It is for the gateway, in one frame of this many bytes.
    Matched(usize),
    /// It is for the gateway, in a form that is not accepted.
    Refused(Violation),
}

impl InBandMatcher {
    /// Finds messages that begin with `prefix`, of `bytes_max` bytes at most.
    pub fn new(prefix: &str, bytes_max: usize) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
            bytes_max,
        }
    }

    /// Judges the message that begins with `bytes`, which begin with the header of a text frame. An
    /// undecided message is never longer than the longest that matches.
    pub fn look(&self, bytes: &[u8]) -> InBandMatch {
        // The result must not depend on how many bytes have arrived.
        let bytes = &bytes[..bytes.len().min(self.bytes_max + HEADER_MAX)];
        let (mut at, mut seen, mut first) = (0, 0, true);
        let found = loop {
            let Some(header) = FrameHeader::parse(&bytes[at..]) else {
                break InBandMatch::Undecided;
            };
            let between = header.opcode.is_some_and(Opcode::is_control);
            let payload = usize::try_from(header.payload).unwrap_or(usize::MAX);
            at += header.len;
            if header.opcode == Some(Opcode::Close) || !header.shortest {
                // The message is never finished: behind a close frame nothing counts, and the
                // tracker refuses a frame whose length is not in its shortest form.
                break InBandMatch::NoMatch;
            }
            if between && payload <= CONTROL_PAYLOAD_MAX && !first {
                if bytes.len() < at + payload {
                    break InBandMatch::Undecided;
                }
                at += payload;
                continue;
            }
            let continues = first || header.opcode == Some(Opcode::Continuation);
            let Some(key) = header.mask.filter(|_| continues && header.reserved == 0) else {
                break InBandMatch::NoMatch;
            };
            let wanted = self.prefix[seen..].iter();
            let plain = bytes[at..].iter().take(payload).zip(key.iter().cycle());
            let plain = plain.map(|(byte, key)| byte ^ key);
            let here = wanted.len().min(bytes.len() - at).min(payload);
            if !plain.zip(wanted).all(|(byte, wanted)| byte == *wanted) {
                break InBandMatch::NoMatch;
            }
            seen += here;
            if seen == self.prefix.len() {
                break match () {
                    () if !first || !header.fin => {
                        InBandMatch::Refused(Violation::InBandFragmented)
                    }
                    () if payload > self.bytes_max => {
                        InBandMatch::Refused(Violation::InBandTooLong)
                    }
                    () if bytes.len() < at + payload => InBandMatch::Undecided,
                    () => InBandMatch::Matched(at + payload),
                };
            }
            if here < payload {
                break InBandMatch::Undecided;
            }
            if header.fin {
                break InBandMatch::NoMatch;
            }
            (at, first) = (at + payload, false);
        };
        // Endless empty fragments would otherwise stay undecided for ever.
        if found == InBandMatch::Undecided && bytes.len() >= self.bytes_max + HEADER_MAX {
            return InBandMatch::Refused(Violation::InBandFragmented);
        }
        found
    }

    /// What messages for the gateway begin with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The payload behind the prefix in a frame that matched.
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

    fn matcher() -> InBandMatcher {
        InBandMatcher::new("renew ", 40)
    }

    #[test]
    fn messages_are_recognised_by_their_prefix() {
        let check = |frames: &[Vec<u8>], expected: InBandMatch| {
            let bytes = frames.concat();
            assert_eq!(matcher().look(&bytes), expected, "{frames:?}");
            // What is decided by some of the bytes is decided so by all of them.
            for at in 0..bytes.len() {
                let found = matcher().look(&bytes[..at]);
                let early = matches!(found, InBandMatch::NoMatch | InBandMatch::Refused(_));
                assert!(
                    found == InBandMatch::Undecided || (early && found == expected),
                    "{frames:?} cut at {at}: {found:?}"
                );
            }
        };
        let long = "renew ".to_owned() + &"t".repeat(34);
        let longer = long.clone() + "t";
        let one = |text: &str| [frame(0x81, text)];
        check(&one("renew abc"), InBandMatch::Matched(15));
        check(&one("renew "), InBandMatch::Matched(12));
        check(&one(&long), InBandMatch::Matched(46));
        check(
            &one(&longer),
            InBandMatch::Refused(Violation::InBandTooLong),
        );
        check(&one(""), InBandMatch::NoMatch);
        check(&one("renew"), InBandMatch::NoMatch);
        check(&one("renewal"), InBandMatch::NoMatch);
        check(&one("hello"), InBandMatch::NoMatch);
        check(&[frame(0xC1, "renew abc")], InBandMatch::NoMatch);
        let fragmented = InBandMatch::Refused(Violation::InBandFragmented);
        check(&[frame(0x01, "renew a"), frame(0x80, "bc")], fragmented);
        check(&[frame(0x01, "ren"), frame(0x80, "ew abc")], fragmented);
        check(&[frame(0x01, ""), frame(0x80, "renew abc")], fragmented);
        let between = [frame(0x01, "re"), frame(0x89, "ping"), frame(0x80, "new ")];
        check(&between, fragmented);
        check(
            &[frame(0x01, "ren"), frame(0x80, "t abc")],
            InBandMatch::NoMatch,
        );
        check(
            &[frame(0x01, "ren"), frame(0x80, "ew")],
            InBandMatch::NoMatch,
        );
        check(&[frame(0x01, "ren"), frame(0x88, "")], InBandMatch::NoMatch);
        check(
            &[frame(0x01, "ren"), frame(0x81, "ew a")],
            InBandMatch::NoMatch,
        );
        let nothing = vec![frame(0x00, ""); 20];
        let endless = [vec![frame(0x01, "r")], nothing].concat().concat();
        assert_eq!(matcher().look(&endless), fragmented);
        assert_eq!(matcher().look(&endless[..53]), InBandMatch::Undecided);
    }

    #[test]
    fn what_stands_behind_the_prefix_is_unmasked() {
        assert_eq!(matcher().content(&frame(0x81, "renew abc")), b"abc");
        assert_eq!(matcher().content(&frame(0x81, "renew ")), b"");
        let long = "renew ".to_owned() + &"t".repeat(200);
        assert_eq!(matcher().content(&frame(0x81, &long)), [b't'; 200]);
    }
}
