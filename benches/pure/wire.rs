//! Frames followed by their headers, and handshakes read.

use std::hint::black_box;

use http::{HeaderMap, HeaderValue, Method, Version};
use sessile::core::wire::handshake::{accept_key, classify};
use sessile::core::wire::tracker::{Extensions, FrameTracker, Rules, Sender, Until};

use crate::{Case, Work, work};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "wire: track a chunk with one message of 64 B",
        make: || track(64, 1),
    },
    Case {
        name: "wire: track a chunk with 16 messages of 64 B",
        make: || track(64, 16),
    },
    Case {
        name: "wire: track 64 KiB inside a message",
        make: || track(65_536, 1),
    },
    Case {
        name: "wire: classify a browser's upgrade",
        make: classify_upgrade,
    },
    Case {
        name: "wire: classify a plain GET",
        make: classify_plain,
    },
    Case {
        name: "wire: accept key",
        make: || work(|| accept_key(black_box(KEY))),
    },
];

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn track(size: usize, count: usize) -> Work {
    let rules = Rules {
        frame_bytes: 16 << 20,
        message_bytes: 16 << 20,
        extensions: Extensions::None,
    };
    let mut tracker = FrameTracker::new(Sender::Client, rules);
    let chunk = chunk(size, count);
    work(move || {
        let tracked = tracker.track(black_box(&chunk), Until::ChunkEnd);
        assert_eq!(tracked.forward, chunk.len());
    })
}

/// Messages of a client in one chunk.
pub(crate) fn chunk(size: usize, count: usize) -> Vec<u8> {
    let mut chunk = Vec::new();
    for _ in 0..count {
        chunk.push(0x82);
        if size < 126 {
            chunk.push(0x80 | size as u8);
        } else {
            chunk.push(0x80 | 127);
            chunk.extend((size as u64).to_be_bytes());
        }
        chunk.resize(chunk.len() + 4 + size, 0x55);
    }
    chunk
}

/// What a browser sends with every request of a page.
fn browser() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "chat.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("accept", "*/*"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("origin", "https://chat.example.com"),
        ("cookie", "sid=8f14e45fceea167a5a36dedd4bea2543; theme=dark"),
        ("pragma", "no-cache"),
        ("cache-control", "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

fn classify_upgrade() -> Work {
    let mut headers = browser();
    for (name, value) in [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-protocol", "chat.v2, chat.v1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    work(move || classify(&Method::GET, Version::HTTP_11, black_box(&headers)))
}

fn classify_plain() -> Work {
    let headers = browser();
    work(move || classify(&Method::GET, Version::HTTP_11, black_box(&headers)))
}
