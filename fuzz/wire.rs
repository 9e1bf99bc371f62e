//! Targets for what is read from a connection: frames, PROXY headers, handshakes, requests.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use sessile::core::wire::frame::FrameHeader;
use sessile::core::wire::handshake::{self, Answer, Kind};
use sessile::core::wire::in_band::{InBandMatch, InBandMatcher};
use sessile::core::wire::proxy_protocol::{self, Header, Progress};
use sessile::core::wire::request_guard::{RequestGuard, Smuggling};
use sessile::core::wire::tracker::{Extensions, FrameTracker, Rules, Sender, Stop, Until};

use super::http_fields::head;

/// A frame header states its length, and is incomplete until its last byte is there.
pub(super) fn frame_header(data: &[u8]) {
    let Some(header) = FrameHeader::parse(data) else {
        assert!(data.len() < 14, "fourteen bytes are a header");
        return;
    };
    assert!(header.len <= data.len() && header.len >= 2);
    assert_eq!(FrameHeader::parse(&data[..header.len]), Some(header));
    for short in 0..header.len {
        assert_eq!(FrameHeader::parse(&data[..short]), None);
    }
}

/// The outcome and the counts of a stream do not depend on the pieces in which it arrives. The first
/// two bytes of the input select the rules and the pieces.
pub(super) fn frame_stream(data: &[u8]) {
    let Some((&[rules, cut], stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let sender = if rules & 1 == 0 {
        Sender::Client
    } else {
        Sender::Backend
    };
    let extensions = match rules >> 1 & 3 {
        0 => Extensions::None,
        1 => Extensions::Deflate,
        _ => Extensions::Unknown,
    };
    let until = match rules >> 3 & 3 {
        1 => Until::Boundary,
        2 => Until::CloseFrame,
        3 => Until::CloseCode,
        _ => Until::ChunkEnd,
    };
    let rules = Rules {
        frame_bytes: 1 << (rules >> 5),
        message_bytes: 1 << (rules >> 4),
        extensions,
    };
    let fresh = || {
        let mut tracker = FrameTracker::new(sender, rules);
        // The first pong that is stopped at.
        tracker.watch(*b"8 letter");
        tracker
    };
    let mut whole = fresh();
    let at_once = whole.track(stream, until);
    assert!(at_once.forward <= stream.len());
    let mut parts = fresh();
    let (mut forwarded, mut stop) = (0, Stop::ChunkEnd);
    let pieces = stream.chunks(usize::from(cut % 16) + 1);
    for piece in std::iter::once(&[][..]).chain(pieces) {
        let chunk = [parts.carry(), piece].concat();
        let tracked = parts.track(&chunk, until);
        forwarded += tracked.forward;
        stop = tracked.stop;
        if stop != Stop::ChunkEnd {
            break;
        }
    }
    assert_eq!((forwarded, stop), (at_once.forward, at_once.stop));
    assert_eq!(parts.traffic(), whole.traffic());
    assert_eq!(parts.close_code(), whole.close_code());
    assert_eq!(whole.traffic().bytes, at_once.forward as u64);
}

/// A header ends where it states, is never read further than that, and can be written again.
pub(super) fn proxy_protocol(data: &[u8]) {
    let Ok(Progress::Complete { header, len }) = proxy_protocol::parse(data) else {
        return;
    };
    assert!(len <= data.len());
    for short in 0..len {
        match proxy_protocol::parse(&data[..short]) {
            Ok(Progress::Incomplete { at_least }) if short > 0 => {
                assert!(
                    at_least > 0 && short + at_least <= len,
                    "asks for the client's bytes"
                );
            }
            Ok(Progress::Complete { .. }) => panic!("complete twice"),
            _ => assert_eq!(short, 0, "an error is final"),
        }
    }
    for version in [
        sessile::config::snapshot::ProxyVersion::V1,
        sessile::config::snapshot::ProxyVersion::V2,
    ] {
        let written = proxy_protocol::encode(version, &header);
        match proxy_protocol::parse(&written) {
            Ok(Progress::Complete { header: again, len }) => {
                assert_eq!(len, written.len());
                if let Header::Proxied { source, .. } = header
                    && let Header::Proxied { source: again, .. } = again
                {
                    assert_eq!(again.port(), source.port());
                }
            }
            other => panic!("{written:02x?} is read as {other:?}"),
        }
    }
}

/// An accepted upgrade has a key, and only the answer to that key grants it. The request comes first,
/// the answer follows an empty line.
pub(super) fn handshake(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let method = [Method::GET, Method::POST, Method::HEAD][usize::from(first % 3)].clone();
    let version = if first & 64 == 0 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let end = rest.windows(2).position(|two| two == b"\n\n");
    let (asked, answered) = rest.split_at(end.unwrap_or(rest.len()));
    let Kind::WebSocket(offer) = handshake::classify(&method, version, &head(asked)) else {
        return;
    };
    assert!(method == Method::GET && version == Version::HTTP_11);
    assert_eq!(offer.key().len(), 24);
    assert!(offer.subprotocols().count() <= asked.len());
    assert!(offer.extensions().count() <= asked.len());
    let mut answer = head(answered);
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let accept = handshake::accept_key(offer.key());
    let judge = |answer: &HeaderMap| handshake::verify_answer(&offer, version, status, answer);
    if let Ok(Answer::Granted(granted)) = judge(&answer) {
        assert_eq!(answer["sec-websocket-accept"].as_bytes(), accept);
        if let Some(chosen) = granted.subprotocol {
            assert!(offer.subprotocols().any(|offered| offered == chosen));
        }
    }
    answer.insert(
        "sec-websocket-accept",
        HeaderValue::from_bytes(&accept).expect("base64"),
    );
    // Whatever else it holds: no panic.
    let _ = judge(&answer);
}

/// The verdict on a stream of requests does not depend on its pieces, and a refusal is final.
pub(super) fn request_guard(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let verdicts = |guard: &RequestGuard| -> Vec<Result<(), Smuggling>> {
        (0..16).map(|index| guard.verdict(index)).collect()
    };
    let mut whole = RequestGuard::new();
    whole.observe(stream);
    let mut parts = RequestGuard::new();
    let mut good = 0;
    for piece in stream.chunks(usize::from(cut % 32) + 1) {
        parts.observe(piece);
        let now = verdicts(&parts)
            .iter()
            .take_while(|verdict| verdict.is_ok())
            .count();
        assert!(now >= good, "a request that was good is condemned");
        good = now;
    }
    assert_eq!(verdicts(&parts), verdicts(&whole));
}

/// A decision about a client's message stays the same when more of it arrives, and needs a bounded
/// number of bytes. In-band messages begin with the prefix.
pub(super) fn in_band(data: &[u8]) {
    const BYTES_MAX: usize = 64;
    const HEADER_MAX: usize = 14;
    let matcher = InBandMatcher::new("renew ", BYTES_MAX);
    let all = matcher.look(data);
    let mut decided = None;
    for end in 0..=data.len().min(4 * BYTES_MAX) {
        let now = matcher.look(&data[..end]);
        if let Some(before) = decided {
            assert_eq!(now, before, "decided anew at {end}");
        } else if now == InBandMatch::Undecided {
            assert!(end < BYTES_MAX + HEADER_MAX, "still undecided at {end}");
        } else {
            decided = Some(now);
        }
    }
    if data.len() <= 4 * BYTES_MAX {
        assert_eq!(decided.unwrap_or(InBandMatch::Undecided), all);
    }
    if let InBandMatch::Matched(len) = all {
        let header = FrameHeader::parse(data).expect("what is taken is a frame");
        assert!(header.fin && len <= data.len() && len <= BYTES_MAX + HEADER_MAX);
        let content = matcher.content(&data[..len]);
        assert_eq!(header.len + "renew ".len() + content.len(), len);
    }
}
