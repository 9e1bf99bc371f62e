//! The fuzz targets: everything that reads untrusted bytes. A target is a function that panics if a
//! property does not hold for its input. `tests/fuzz_seeds.rs` runs all of them over the seeds and
//! past crashes in `fuzz/seeds/` with every `cargo test`.

#[path = "auth.rs"]
mod auth;
#[path = "http.rs"]
mod http_fields;
#[path = "registries.rs"]
mod registries;
#[path = "relay.rs"]
mod relay;
#[path = "text.rs"]
mod text;
#[path = "tls.rs"]
mod tls;
#[path = "wire.rs"]
mod wire;

/// A target's name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Target] = &[
    ("frame_header", wire::frame_header),
    ("frame_stream", wire::frame_stream),
    ("proxy_protocol", wire::proxy_protocol),
    ("handshake", wire::handshake),
    ("request_guard", wire::request_guard),
    ("cookie", http_fields::cookie),
    ("query", http_fields::query),
    ("forwarded", http_fields::forwarded),
    ("origin", http_fields::origin),
    ("routing", auth::routing),
    ("jwt", auth::jwt),
    ("credential", auth::credential),
    ("signed_url", auth::signed_url),
    ("in_band", wire::in_band),
    ("relay", relay::relay),
    ("paths", text::paths),
    ("patterns", text::patterns),
    ("expressions", text::expressions),
    ("documents", text::documents),
    ("consul", registries::consul),
    ("kubernetes", registries::kubernetes),
    ("tls_receive", tls::receive),
    ("tls_unpack", tls::unpack),
];
