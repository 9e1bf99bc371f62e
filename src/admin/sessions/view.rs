//! A live session as the admin API shows it.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::addr::unmapped;
use crate::base::clock;
use crate::base::text::hex;
use crate::base::traffic::{PublishedCounts, Traffic};
use crate::core::session::details::{Details, Move};
use crate::live::{DirectionView, SessionView, fingerprint};

/// A live session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Sorts by start time.
    pub id: String,
    /// The listener that accepted the client.
    pub listener: String,
    /// The matched route.
    pub route: String,
    /// The upstream of the route.
    pub upstream: String,
    /// The backend that holds the session.
    pub backend: String,
    /// The principal, if the route authenticates.
    pub principal: Option<String>,
    /// The authenticator that identified the principal.
    pub authenticator: Option<String>,
    /// When its right expires; RFC 3339, null for never. It lives a little longer, see
    /// `expiry.leeway`.
    pub expires: Option<String>,
    /// The client's address.
    pub client: String,
    /// The requested host.
    pub host: String,
    /// The request's target, with secrets redacted.
    pub target: String,
    /// The request id, as in backends and other records.
    pub request_id: String,
    /// Negotiated.
    pub subprotocol: Option<String>,
    /// Negotiated, as the client got them.
    #[serde(default)]
    pub extensions: Option<String>,
    /// The affinity key; null if the request had none.
    #[serde(default)]
    pub key: Option<KeyView>,
    /// How the first backend was chosen.
    #[serde(default)]
    pub placement: PlacementView,
    /// The last changes of backend, at most 8.
    #[serde(default)]
    pub moved: Vec<MoveView>,
    /// Whether the session can move to another backend.
    #[serde(default)]
    pub movable: bool,
    /// Time of the request; RFC 3339.
    pub started: String,
    /// From the request to the 101.
    pub handshake_ms: f64,
    /// Since the 101.
    pub age_seconds: f64,
    /// Since the last byte in either direction, to a tenth of a second.
    pub idle_seconds: f64,
    /// Since the last byte of the client, to a tenth of a second.
    #[serde(default)]
    pub idle_client_seconds: f64,
    /// Since the last byte of the backend, to a tenth of a second.
    #[serde(default)]
    pub idle_backend_seconds: f64,
    /// The last round trip of a keepalive ping to the client; null if it was never pinged.
    #[serde(default)]
    pub round_trip_client_ms: Option<f64>,
    /// The last round trip of a keepalive ping to the backend; null if it was never pinged.
    #[serde(default)]
    pub round_trip_backend_ms: Option<f64>,
    /// The worker that runs the session.
    pub worker: usize,
    /// How often the session resumed on another backend; `backend` is the current one.
    #[serde(default)]
    pub resumes: u32,
    /// Messages of the client that were lost with a backend.
    #[serde(default)]
    pub messages_lost: u64,
    /// Bytes that were lost so.
    #[serde(default)]
    pub bytes_lost: u64,
    /// Its groups, which messages are published to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The names at the broker that it is subscribed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
    /// Messages that were published to the client.
    #[serde(default)]
    pub published: PublishedCounts,
    /// Whether the session is closing.
    pub closing: bool,
    /// From the client.
    pub to_backend: TrafficView,
    /// From the backend.
    pub to_client: TrafficView,
    /// Bytes on their way to the client.
    #[serde(default)]
    pub in_flight_to_client: InFlightView,
    /// Bytes on their way to the backend.
    #[serde(default)]
    pub in_flight_to_backend: InFlightView,
    /// How much passes now; only if an `interval` was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
}

/// An affinity key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// As text; `0x…` if it is not text, `#…` (a fingerprint) if it may be a credential.
    pub key: String,
    /// As in the configuration: `claim:sub`, `client_address`, …; null if an older process placed
    /// the session.
    pub source: Option<String>,
    /// Whether `key` is only a fingerprint.
    pub hidden: bool,
}

/// How a backend was chosen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlacementView {
    /// `first_choice`, `walk` (others were passed over), `stick` (the backend of a live session
    /// with the same key), `fleet` (the backend that the fleet keeps for the key), or `unknown`
    /// (an older process placed it).
    pub choice: String,
    /// The backends that were passed over, in order; the first 8.
    pub passed: Vec<PassedView>,
    /// How many more were passed over.
    pub passed_more: u32,
    /// The gateway made the key and set a cookie with it.
    pub cookie_issued: bool,
    /// The zone of its first backend; null if it has none, or if the upstream had one level.
    #[serde(default)]
    pub zone: Option<String>,
    /// The priority of its first backend; null if the upstream had one level.
    #[serde(default)]
    pub priority: Option<u8>,
    /// Where it went since backends of the first level were short: `zone` (another zone than the
    /// node's) or `priority` (a higher priority number); null if it is at the first level.
    #[serde(default)]
    pub spilled: Option<String>,
}

/// A backend that was passed over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PassedView {
    /// Its id.
    pub backend: String,
    /// `unhealthy`, `ejected`, `draining`, `disabled`, `full`, `slow_start`, `over_bound`,
    /// `refused`, `timed_out`, `no_answer`, `broke_off`, …
    pub reason: String,
}

/// A change of backend.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MoveView {
    /// The backend that was left.
    pub from: String,
    /// The next one.
    pub to: String,
    /// `backend_lost`, `draining`, `rebalanced`, `backend_going_away` or `moved`.
    pub reason: String,
    /// The operator who ordered it; null if none did.
    pub by: Option<String>,
    /// RFC 3339.
    pub at: String,
    /// Messages of the client that were lost with the backend that was left.
    #[serde(default)]
    pub messages_lost: u64,
}

/// Bytes on their way to one side.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct InFlightView {
    /// Stored by the gateway.
    pub held: u64,
    /// In the socket's send queue: the other system has not acknowledged them.
    pub queued: u64,
}

/// How much passes, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RateView {
    /// Messages.
    pub messages_per_second: f64,
    /// On the wire, frame headers included.
    pub bytes_per_second: f64,
}

/// Whole messages and control frames by kind, and bytes of everything.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrafficView {
    /// On the wire, frame headers included.
    pub bytes: u64,
    /// Messages.
    pub text: u64,
    /// Messages.
    pub binary: u64,
    /// Frames.
    pub ping: u64,
    /// Frames.
    pub pong: u64,
    /// Frames.
    pub close: u64,
}

pub(super) fn session(view: &SessionView) -> Session {
    let facts = &view.facts;
    let right = facts.right.as_deref();
    let tenths = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    Session {
        id: facts.id.to_string(),
        listener: facts.listener.to_string(),
        route: facts.route.to_string(),
        upstream: facts.upstream.to_string(),
        backend: facts.backend.to_string(),
        principal: facts.principal.as_deref().map(str::to_owned),
        authenticator: right.map(|right| right.authenticator.to_string()),
        expires: right.and_then(|right| right.expires).map(clock::rfc3339),
        client: facts.request.client().to_owned(),
        host: facts.request.host().to_owned(),
        target: facts.request.target().to_owned(),
        request_id: facts.request_id().into_owned(),
        subprotocol: facts.request.subprotocol().map(str::to_owned),
        extensions: facts.details.extensions.as_deref().map(str::to_owned),
        key: view.key.as_deref().map(|key| key_view(key, &facts.details)),
        placement: placement(&facts.details),
        moved: facts.details.moves.iter().map(moved).collect(),
        movable: view.movable,
        started: clock::rfc3339(facts.request.started()),
        handshake_ms: millis(facts.request.handshake()),
        age_seconds: tenths(view.age),
        idle_seconds: tenths(view.idle),
        idle_client_seconds: tenths(view.from_client.idle),
        idle_backend_seconds: tenths(view.from_backend.idle),
        round_trip_client_ms: view.from_client.round_trip.map(millis),
        round_trip_backend_ms: view.from_backend.round_trip.map(millis),
        worker: view.worker,
        resumes: view.moves.resumes,
        messages_lost: view.moves.messages_lost,
        bytes_lost: view.moves.bytes_lost,
        groups: view.groups.iter().map(ToString::to_string).collect(),
        subscriptions: view.subscriptions.iter().map(ToString::to_string).collect(),
        published: view.published,
        closing: view.closing,
        to_backend: traffic(&view.from_client.traffic),
        to_client: traffic(&view.from_backend.traffic),
        // What a side sends is on its way to the other one.
        in_flight_to_backend: in_flight(&view.from_client),
        in_flight_to_client: in_flight(&view.from_backend),
        rate: None,
    }
}

fn traffic(traffic: &Traffic) -> TrafficView {
    let Traffic {
        bytes,
        text,
        binary,
        ping,
        pong,
        close,
    } = *traffic;
    TrafficView {
        bytes,
        text,
        binary,
        ping: ping.into(),
        pong: pong.into(),
        close: close.into(),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn in_flight(direction: &DirectionView) -> InFlightView {
    InFlightView {
        held: direction.held as u64,
        queued: direction.queued as u64,
    }
}

/// The key as people read it. Control characters and other bytes that are no text are not shown as
/// such, and what may be a credential is not shown at all (I11).
pub(in crate::admin) fn key_view(key: &[u8], details: &Details) -> KeyView {
    let placement = &details.placement;
    let source = placement.key_source.as_deref();
    let text = std::str::from_utf8(key).ok();
    let text = text.filter(|text| !text.chars().any(char::is_control));
    let address = <[u8; 16]>::try_from(key).ok();
    let address = address.filter(|_| source == Some("client_address"));
    KeyView {
        key: match (address, text) {
            // The source is unknown, so the key may be a credential.
            _ if placement.key_hidden || source.is_none() => format!("#{:08x}", fingerprint(key)),
            (Some(address), _) => unmapped(IpAddr::from(address)).to_string(),
            (None, Some(text)) => text.to_owned(),
            (None, None) => format!("0x{}", hex(key)),
        },
        source: source.map(str::to_owned),
        hidden: placement.key_hidden || source.is_none(),
    }
}

fn placement(details: &Details) -> PlacementView {
    let placement = &details.placement;
    let passed = placement.passed.iter();
    let level = placement.level.as_ref();
    PlacementView {
        choice: placement.choice.as_str().to_owned(),
        passed: passed
            .map(|passed| PassedView {
                backend: passed.backend.to_string(),
                reason: passed.reason.to_string(),
            })
            .collect(),
        passed_more: placement.passed_more,
        cookie_issued: placement.cookie_issued,
        zone: level.and_then(|level| Some(level.zone.as_deref()?.to_owned())),
        priority: level.map(|level| level.priority),
        spilled: level.and_then(|level| Some(level.spilled?.as_str().to_owned())),
    }
}

fn moved(moved: &Move) -> MoveView {
    MoveView {
        from: moved.from.to_string(),
        to: moved.to.to_string(),
        reason: moved.reason.as_str().to_owned(),
        by: moved.by.as_deref().map(str::to_owned),
        at: clock::rfc3339(moved.at),
        messages_lost: moved.messages_lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::session::details::Placement;

    #[test]
    fn i11_keys_are_shown_as_far_as_they_may_be() {
        let check = |key: &[u8], source: Option<&str>, hidden: bool, expected: &str| {
            let details = Details {
                placement: Placement {
                    key_source: source.map(Into::into),
                    key_hidden: hidden,
                    ..Placement::default()
                },
                ..Details::default()
            };
            let view = key_view(key, &details);
            assert_eq!(view.key, expected);
            assert_eq!(view.hidden, expected.starts_with('#'));
        };
        check(b"ann", Some("claim:sub"), false, "ann");
        check("é".as_bytes(), Some("claim:sub"), false, "é");
        check(b"a\x1b[2J", Some("claim:sub"), false, "0x611b5b324a");
        check(b"\xff\x00", Some("header:x-user"), false, "0xff00");
        let four = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07";
        check(four, Some("client_address"), false, "192.0.2.7");
        let shown = format!("#{:08x}", fingerprint(b"secret"));
        check(b"secret", Some("cookie:sid"), true, &shown);
        check(b"secret", None, false, &shown);
    }
}
