//! `[upstreams.<name>]`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::model::failover::Failover;
use crate::config::model::operations::{Drain, Rebalance};
use crate::config::model::scaling::Scaling;
use crate::config::model::value::{LongForm, Size, TextOr, Time, TimeOrOff, schema};
pub use crate::config::snapshot::{AdminState, Policy};

/// A group of backends.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// How a backend is picked. `consistent_hash`: a weighted ring, membership changes move the
    /// fewest keys. `rendezvous`: highest random weight, for perfect balance among few members.
    /// `maglev`: a lookup table. `least_sessions`: the fewest live sessions for the weight.
    /// `round_robin`: in turn. `random_two`: the better of two drawn at random. The first three
    /// give the same key the same backend.
    pub policy: Policy,
    /// A member with more than this multiple of the mean load for its weight is passed over; at
    /// least 1. Default: load is ignored.
    pub bounded_load: Option<f64>,
    /// Members: addresses, or tables with more about them.
    pub backends: Vec<TextOr<Backend>>,
    /// Names in DNS under which further members are found: `"chat.example.com:9000"` for the
    /// addresses of a name, `"_ws._tcp.chat.example.com"` for services (SRV) with their ports,
    /// weights and priorities. They are looked up again and again, by their time to live.
    pub dns: Vec<String>,
    /// A service of Consul (`[sources.consul]`) whose instances are further members: `"chat"`, or
    /// `"chat?tag=v2&dc=east"` for its instances with a tag in a datacenter.
    pub consul: Option<String>,
    /// A port of a Service of Kubernetes (`[sources.kubernetes]`) whose pods are further members:
    /// `"shop/chat:ws"` for `namespace/service:port`, with the port's name or number.
    pub kubernetes: Option<String>,
    /// Active health probe. Default: none, health follows from traffic only.
    pub probe: Option<Probe>,
    /// Passive health, from ordinary traffic.
    pub passive: Passive,
    /// With fewer than this share of members healthy, health is ignored; 0 is never. Of an upstream
    /// with zones or priorities (see `failover`), every level must have fewer.
    pub panic_threshold: f64,
    /// TLS to the backends; `{}` is TLS with the system's roots.
    pub tls: Option<UpstreamTls>,
    /// A PROXY protocol header of this version starts every connection to a backend.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Whether backends get a `Forwarded` field (RFC 7239) beside `X-Forwarded-*`.
    pub forwarded_header: bool,
    /// Time for one dial, TLS included.
    pub connect_timeout: Time,
    /// Backends tried for one request.
    pub attempts: u32,
    /// Idle keep-alive connections for ordinary HTTP, for each worker and backend.
    pub idle_connections: usize,
    /// Bounds on the heads of the backends' responses; a response beyond them is answered 502.
    pub response_limits: ResponseLimits,
    /// Which backends sessions go to when those of the first choice are not well.
    pub failover: Failover,
    /// How sessions leave a backend that is draining.
    pub drain: Drain,
    /// How sessions move home after a change of members.
    pub rebalance: Rebalance,
    /// How many backends the upstream should have, for autoscalers.
    pub scaling: Scaling,
    /// How long the share of a backend that appears, recovers or is taken in again grows, such as
    /// `"30s"`. `"off"`: it has its whole share at once.
    pub slow_start: TimeOrOff,
    /// Live sessions of this gateway that one backend may have; 0 is no limit. A full one is passed
    /// over; with all of them full a session is answered 503. Two workers that pick at the same
    /// moment may pass it by one each.
    pub sessions_per_backend: u64,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            policy: Policy::ConsistentHash,
            bounded_load: None,
            backends: Vec::new(),
            dns: Vec::new(),
            consul: None,
            kubernetes: None,
            probe: None,
            passive: Passive::default(),
            panic_threshold: 0.5,
            tls: None,
            proxy_protocol: None,
            forwarded_header: false,
            connect_timeout: Time::seconds(2),
            attempts: 3,
            idle_connections: 32,
            response_limits: ResponseLimits::default(),
            failover: Failover::default(),
            drain: Drain::default(),
            rebalance: Rebalance::default(),
            scaling: Scaling::default(),
            slow_start: TimeOrOff(None),
            sessions_per_backend: 0,
        }
    }
}

/// Bounds on the head of a response.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseLimits {
    /// Bytes of a response's head.
    pub header_bytes: Size,
    /// Header fields of a response.
    pub headers_max: usize,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self {
            header_bytes: Size(32 << 10),
            headers_max: 100,
        }
    }
}

/// One member of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    /// Required. `10.0.0.1:9000`, `name:9000`, `[::1]:9000` or `unix:/path/to.sock`.
    pub address: Option<String>,
    /// The id that the placement of keys depends on. Default: the address as written.
    pub id: Option<String>,
    /// Share relative to the others, 1 to 1000.
    pub weight: u32,
    /// Failure zone, 1 to 63 visible ASCII characters. Gateways whose `node.zone` is the same
    /// prefer it, see `failover` of the upstream.
    pub zone: Option<String>,
    /// Backends of a higher number take sessions when those of lower ones are not well, 0 to 15; 0
    /// is first.
    pub priority: u8,
    /// Free labels, shown only.
    pub labels: BTreeMap<String, String>,
    /// `active`; `draining`: takes no new sessions, its live sessions leave according to the
    /// upstream's `drain`; `disabled`: takes no new sessions, keeps its live ones.
    pub state: AdminState,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            address: None,
            id: None,
            weight: 1,
            zone: None,
            priority: 0,
            labels: BTreeMap::new(),
            state: AdminState::Active,
        }
    }
}

impl LongForm for Backend {
    const EXPECTED: &'static str =
        "an address such as \"10.0.0.1:9000\" or { address = \"…\", weight = 2 }";
}

/// Active health probe of an upstream.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// Required. `tcp` is a connection, `http` a GET, `websocket` an RFC 6455 handshake, a ping
    /// answered by its pong and a clean close.
    #[serde(rename = "type")]
    pub kind: Option<ProbeType>,
    /// `http` and `websocket`: path and query. Default: `/`.
    pub path: Option<String>,
    /// `http` and `websocket`: the `Host` header. Default: the backend's address.
    pub host: Option<String>,
    /// `http`: status codes that count as success, such as `[200, "204-299"]`. Default: 200 to
    /// 299.
    pub status: Option<Vec<Status>>,
    /// `http`: text that the first 64 KiB of the body must contain.
    pub body: Option<String>,
    /// `websocket`: offered, and then required in the answer.
    pub subprotocol: Option<String>,
    /// `websocket`: a text message to send.
    pub send: Option<String>,
    /// `websocket`: text that a message from the backend must contain.
    pub expect: Option<String>,
    /// Between probes of one backend, at least 50 ms; each wait is jittered by up to a tenth.
    pub interval: Time,
    /// For one whole probe.
    pub timeout: Time,
    /// Successes in a row until healthy; the first probe ever decides alone.
    pub rise: u32,
    /// Failures in a row until unhealthy.
    pub fall: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            kind: None,
            path: None,
            host: None,
            status: None,
            body: None,
            subprotocol: None,
            send: None,
            expect: None,
            interval: Time::seconds(5),
            timeout: Time::seconds(2),
            rise: 2,
            fall: 3,
        }
    }
}

/// What a probe tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ProbeType {
    /// A connection.
    Tcp,
    /// A GET.
    Http,
    /// A session.
    Websocket,
}

/// A status code, or an inclusive range of them: `200` or `"200-299"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16, pub u16);

struct StatusVisitor;

impl Visitor<'_> for StatusVisitor {
    type Value = Status;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status code such as 200, or a range such as \"200-299\"")
    }

    fn visit_i64<E: de::Error>(self, code: i64) -> Result<Status, E> {
        self.visit_str(&code.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Status, E> {
        let code = |text: &str| {
            text.trim()
                .parse()
                .ok()
                .filter(|code| (100..=599).contains(code))
        };
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (code(from), code(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Status(from, to)),
            _ => Err(E::custom(format!(
                "`{text}` is not a status code such as 200, nor a range such as \"200-299\""
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusVisitor)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self(from, to) if from == to => serializer.serialize_u16(*from),
            Self(from, to) => serializer.collect_str(&format_args!("{from}-{to}")),
        }
    }
}

schema!(Status, _generator => {
    schemars::json_schema!({ "type": ["integer", "string"], "x-type": "status code or range" })
});

/// Passive health, from ordinary traffic.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Passive {
    /// Failures in a row that eject a backend; 0 turns passive health off.
    pub failures: u32,
    /// How many clients must have met failures other than failed dials before they eject a
    /// backend, 2 to 8: a client can provoke such failures. Clients count as different if both
    /// their networks (/24, /48) and, where they have some, their principals differ.
    pub clients: u32,
    /// First ejection; it doubles with each that follows.
    pub ejection: Time,
    /// Longest ejection.
    pub ejection_max: Time,
    /// Largest share of the members ejected at once, 0 to 1.
    pub ejected_share_max: f64,
    /// A session that its backend ends abnormally within this time of the 101 counts as a failure.
    pub early_close: Time,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            failures: 5,
            clients: 3,
            ejection: Time::seconds(10),
            ejection_max: Time::seconds(5 * 60),
            ejected_share_max: 0.5,
            early_close: Time::seconds(1),
        }
    }
}

/// TLS to backends.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file with roots. Default: the system's.
    pub ca: Option<String>,
    /// Name for SNI and verification. Default: the backend's host.
    pub server_name: Option<String>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}
