//! A configuration without faults, in the types that the gateway runs on. Only `validate` makes
//! one; what is in it needs no further checking: names resolve, numbers are in bounds, patterns
//! parse.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::base::names::{BackendId, FunctionName, RouteName, UpstreamName};
use crate::base::path::PathRules;
use crate::base::secret::GuardedUrl;
use crate::config::consul_service::ConsulService;
use crate::config::dns_name::DnsName;
use crate::config::kubernetes_service::KubernetesService;
use crate::config::limits::{AddressRules, NodeLimits, Priority, Quotas};
use crate::config::origin::OriginRule;
use crate::config::pattern::{HostPattern, PathPattern};

mod acme;
mod admin;
mod auth;
mod broker;
mod cache;
mod discovery;
mod events;
mod failover;
mod function;
mod kubernetes;
mod listener;
mod log;
mod operations;
mod publish;
mod request;
mod scaling;
mod service;
mod sources;
mod state;
mod static_files;
mod upstream_tls;

pub use acme::{Acme, AcmeChallenge};
pub use admin::{Admin, AdminFleet, Token};
pub use auth::{
    ApiKeys, Authenticator, Authenticators, Basic, CertificateName, CredentialSource,
    ExpiryWarning, Forward, JwksUrl, Jwt, JwtKeys, KeyHolder, Method as AuthMethod, Mint,
    RejectWith, Renewal, Revocations, RouteAuth, SignedUrl,
};
pub use broker::{Broker, BrokerKind, BrokerServer, PresenceTo, SaslMechanism, SignIn};
pub use cache::CacheRules;
pub use discovery::Discovery;
pub use events::{EventFiles, Events};
pub use failover::{Failover, ZonePreference};
pub use function::{CONNECT, DEFAULT, DISCONNECT, Dialect, Function, FunctionRoute, Sign};
pub use kubernetes::{GatewayApi, Kubernetes, KubernetesToken, Pem, PemTls};
pub use listener::{
    CertificateFiles, HeadLimits, Listener, ListenerLimits, ListenerTimeouts, ListenerTls,
    TicketKeySource, TlsRecords, TlsVersion,
};
pub use log::{Access, AccessFile, Log, LogFormat, Rotation, Syslog, SyslogAddress, Tracing};
pub use operations::{AdminState, Admission, Drain, Rebalance, RebalanceMode, Shutdown, Tempo};
pub use publish::{
    GroupSource, History, MembershipLimits, MessageQueue, MessageType, MetadataSource,
    NameOfSession, Publish, PublishTo, PublishToken, RouteMessages, Sse, Subscribe, WhenFull,
};
pub use request::{AffinitySource, HeaderEdits, MatchText, Redirect, Rewrite, Scheme, TextMatch};
pub use scaling::Scaling;
pub use service::ServiceTls;
pub use sources::{Consul, Dns, DocumentRights, Etcd, Sources};
pub use state::{State, StateKind};
pub use static_files::StaticFiles;
pub use upstream_tls::UpstreamTls;

/// Everything that an operator decides.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Who this gateway is.
    pub node: Node,
    /// The zone that the node is in; takes effect at once, unlike the rest of `[node]`.
    pub zone: Option<Arc<str>>,
    /// What the node takes at most; takes effect at once, unlike the rest of `[node]`.
    pub limits: NodeLimits,
    /// The admin API.
    pub admin: Admin,
    /// Where services publish messages to sessions; none by default.
    pub publish: Option<Publish>,
    /// Bounds on what sessions are members of.
    pub memberships: MembershipLimits,
    /// What is written where.
    pub log: Log,
    /// What is kept of the past.
    pub events: Events,
    /// Traces of handshakes; none by default.
    pub tracing: Option<Tracing>,
    /// The shutdown.
    pub shutdown: Shutdown,
    /// How a gateway that just started takes new sessions. Default: without a limit.
    pub admission: Option<Admission>,
    /// Sources of configuration and membership.
    pub sources: Sources,
    /// What carries messages between gateways and from other services, if anything does.
    pub broker: Option<Broker>,
    /// Where the gateways of a fleet count together; none by default.
    pub state: Option<State>,
    /// Gateways that clients find by themselves.
    pub discovery: Discovery,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// Authenticators by name.
    pub authenticators: Authenticators,
    /// Rights that are taken away. What a change leaves as it was is the very same.
    pub revocations: Arc<Revocations>,
    /// What takes the place of backends, by name.
    pub functions: BTreeMap<FunctionName, Arc<Function>>,
    /// Groups of backends, by name. What a change leaves as it was is the very same.
    pub upstreams: BTreeMap<UpstreamName, Arc<Upstream>>,
    /// Rules, in the order written; the order does not decide, see `core::routing`.
    pub routes: Vec<Arc<Route>>,
}

impl Snapshot {
    /// Addresses that are the gateway's own, as written.
    pub fn own_addresses(&self) -> OwnAddresses {
        let listeners = self.listeners.iter().flat_map(|one| &one.listen);
        let publish = self.publish.iter().map(|publish| &publish.listen);
        let all = listeners.chain([&self.admin.listen]).chain(publish);
        OwnAddresses::new(all.cloned().collect())
    }
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Shown in status and records. Default: the host's name.
    pub name: Arc<str>,
    /// Data-plane threads; 0 is one per core.
    pub workers: usize,
    /// Whether each of them stays on one core. Default: no.
    pub pin_workers: bool,
    /// The directory of persistent state.
    pub state_dir: Option<PathBuf>,
    /// What opens and seals TLS records. Default: the gateway.
    pub tls_records: TlsRecords,
}

/// The upstream of routes without a backend, whose clients' messages go to the broker. It has no
/// members.
pub const BROKER_UPSTREAM: &str = "broker";

/// What stands for an upstream where a route serves files. It is in no list of upstreams; one of an
/// operator's may have the same name.
pub const STATIC_UPSTREAM: &str = "static";

/// What the name begins with of what stands for an upstream where a route has a function. No
/// operator's upstream has a colon in its name.
pub const FUNCTION_UPSTREAM: &str = "function:";

/// An `[upstreams.<name>]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its key.
    pub name: UpstreamName,
    /// How a backend is picked. Default `consistent_hash`.
    pub policy: Policy,
    /// A member with more than this multiple of the mean load for its weight is passed over. At
    /// least 1.
    pub bounded_load: Option<f64>,
    /// Members, sorted by id, ids distinct.
    pub backends: Vec<Backend>,
    /// Names in DNS under which further members are found, sorted.
    pub dns: Vec<DnsName>,
    /// A service of Consul whose instances are further members.
    pub consul: Option<ConsulService>,
    /// A port of a Service of Kubernetes whose pods are further members.
    pub kubernetes: Option<KubernetesService>,
    /// Active health probe.
    pub probe: Option<Probe>,
    /// Passive health.
    pub passive: Passive,
    /// With fewer than this share of members healthy, health is ignored. 0 is never; default 0.5.
    pub panic_threshold: f64,
    /// TLS to the backends.
    pub tls: Option<UpstreamTls>,
    /// A PROXY protocol header that starts every connection to a backend.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Whether backends get a `Forwarded` field (RFC 7239) beside `X-Forwarded-*`. Default false.
    pub forwarded_header: bool,
    /// Time for one dial, TLS included. Default 2 s.
    pub connect_timeout: Duration,
    /// Backends tried for one request. Default 3, at least 1.
    pub attempts: u32,
    /// Live sessions of this gateway that one backend may have.
    pub sessions_per_backend: Option<u64>,
    /// Idle keep-alive connections for ordinary HTTP, per worker and backend. Default 32.
    pub idle_connections: usize,
    /// Bounds on the heads of responses.
    pub response_limits: HeadLimits,
    /// Which backends take sessions when those of the first choice are not well.
    pub failover: Failover,
    /// How sessions leave a backend that is draining.
    pub drain: Drain,
    /// How sessions move home after a change of members.
    pub rebalance: Rebalance,
    /// How many backends it should have.
    pub scaling: Scaling,
    /// How long the share of a backend that appears or recovers grows. Default none: at once.
    pub slow_start: Option<Duration>,
}

/// How a backend is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Policy {
    /// A weighted ring; membership changes move the fewest keys.
    ConsistentHash,
    /// Highest random weight: perfect balance, work grows with members.
    Rendezvous,
    /// A lookup table of 65,537 places.
    Maglev,
    /// The member with the fewest live sessions for its weight.
    LeastSessions,
    /// In turn, by weight.
    RoundRobin,
    /// The better of two drawn at random.
    RandomTwo,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Default: the address as written.
    pub id: BackendId,
    /// Where it is.
    pub address: BackendAddr,
    /// Share relative to the others, 1 to 1,000. Default 1.
    pub weight: u32,
    /// Failure zone.
    pub zone: Option<Arc<str>>,
    /// Backends with a higher number are for when others are not well; 0 to 15, default 0.
    pub priority: u8,
    /// Free labels, shown only.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes new sessions.
    pub state: AdminState,
}

/// `probe` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is tried.
    pub kind: ProbeKind,
    /// Between probes of one backend; each wait is jittered by up to a tenth. Default 5 s.
    pub interval: Duration,
    /// For one whole probe. Default 2 s.
    pub timeout: Duration,
    /// Successes in a row until healthy. Default 2. The first probe ever decides alone.
    pub rise: u32,
    /// Failures in a row until unhealthy. Default 3.
    pub fall: u32,
}

/// What a probe tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A TCP (and TLS) connection.
    Tcp,
    /// A GET.
    Http {
        /// Path and query.
        path: GuardedUrl,
        /// `Host` header; default the backend's address.
        host: Option<String>,
        /// Inclusive ranges that count as success. Default 200..=299.
        status: Vec<(u16, u16)>,
        /// Text that the first 64 KiB of the body must contain.
        body: Option<String>,
    },
    /// An RFC 6455 handshake, a ping answered by its pong, a clean close.
    WebSocket {
        /// Path and query.
        path: GuardedUrl,
        /// `Host` header; default the backend's address.
        host: Option<String>,
        /// Offered, and then required in the answer.
        subprotocol: Option<String>,
        /// A text message to send.
        send: Option<String>,
        /// Text that a message from the backend must contain.
        expect: Option<String>,
    },
}

/// `passive` of an upstream: passive health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passive {
    /// Failures in a row that eject. Default 5; 0 turns passive health off.
    pub failures: u32,
    /// Clients that must have met failures that a client can provoke. Default 3, at least 2.
    pub clients: u32,
    /// First ejection; doubles with each that follows. Default 10 s.
    pub ejection: Duration,
    /// Longest ejection. Default 5 min.
    pub ejection_max: Duration,
    /// Largest share of the members ejected at once, in 0..=1. Default 0.5.
    pub ejected_share_max: f64,
    /// A session whose backend ends it without a close frame, or with 1006/1011, within this time
    /// of the 101 counts as a failure. Default 1 s.
    pub early_close: Duration,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A `[[routes]]` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Distinct among routes.
    pub name: RouteName,
    /// None: any host.
    pub hosts: Vec<HostPattern>,
    /// Default `/{*rest}`, everything.
    pub path: PathPattern,
    /// Which spellings of a path it passes on. Default: those that have one reading.
    pub paths: PathRules,
    /// None: either.
    pub scheme: Option<Scheme>,
    /// None: any.
    pub methods: Vec<Method>,
    /// All must hold.
    pub headers: Vec<(HeaderName, TextMatch)>,
    /// All must hold, on decoded values.
    pub query: Vec<(String, TextMatch)>,
    /// The client must offer one of these. None: no matter.
    pub subprotocols: Vec<String>,
    /// Greater before smaller, before conditions are compared. Default 0.
    pub precedence: i64,
    /// Its target.
    pub action: Action,
    /// Keeps responses to ordinary requests in memory. Default: none.
    pub cache: Option<CacheRules>,
    /// Changes of the request line.
    pub rewrite: Rewrite,
    /// Changes of the headers that the backend sees.
    pub request_headers: HeaderEdits,
    /// Who may use it.
    pub auth: RouteAuth,
    /// Which pages may open sessions. Default: those of the same origin where a browser could send
    /// the credential by itself, else all.
    pub origins: OriginRule,
    /// Who may use it.
    pub addresses: AddressRules,
    /// How many.
    pub quotas: Quotas,
    /// What is given up first.
    pub priority: Priority,
    /// Sources of the affinity key; the first present one counts. Empty: each request alone.
    pub affinity: Vec<AffinitySource>,
    /// While a key has a live session, its further ones go to the same backend. Default false.
    pub stick: bool,
    /// How long a sticky key keeps its backend after its last session. Default 0.
    pub stick_for: Duration,
    /// `limits` and `stick` hold over the fleet if there is a store of its state. Default true.
    pub fleet: bool,
    /// Groups of its sessions, and published messages to them.
    pub messages: RouteMessages,
    /// Operators may see the payload of messages.
    pub tap_payload: bool,
    /// Bounds on a session.
    pub limits: RouteLimits,
    /// Bounds in time.
    pub timeouts: RouteTimeouts,
    /// Close code for the client when its backend is lost. Default 1011.
    pub backend_lost_code: u16,
    /// Set if a session reconnects to another backend when its own is lost. Default: it is closed.
    pub reconnect: Option<Reconnect>,
    /// Pings of the gateway's own. Default none.
    pub keepalive: Option<Keepalive>,
    /// What happens to live sessions when the route is removed. Default keep.
    pub on_removal: OnRemoval,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// To a backend of this upstream, which exists.
    Forward(UpstreamName),
    /// A static redirect.
    Redirect(Redirect),
    /// Files of a directory, and what records name in the place of an upstream; it has no members.
    Static(Arc<StaticFiles>, Arc<Upstream>),
    /// To this function, and what records name in the place of an upstream; it has no members. The
    /// file may have no such function any more where the route is of another source.
    Function(FunctionName, Arc<Upstream>),
}

/// `limits` of a route. They bound what clients send; backends are trusted with their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// Bytes of one message, all its fragments together, as on the wire (compressed if it is).
    /// Default 64 MiB.
    pub message_bytes: u64,
    /// Bytes of one frame. Default: as `message_bytes`.
    pub frame_bytes: u64,
}

/// `timeouts` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the request to the backend's 101, every attempt included. Default 10 s.
    pub handshake: Duration,
    /// For one backend to answer, if another may be tried after it. Default `None`.
    pub attempt: Option<Duration>,
    /// Without a byte in either direction. Default 10 min; `None` is off.
    pub idle: Option<Duration>,
    /// Longest life of a session. Default `None`.
    pub lifetime: Option<Duration>,
    /// From the gateway's or a peer's close frame to the end of the connections. Default 5 s.
    pub close: Duration,
    /// Ordinary HTTP: from the request's last byte to the response's head. Default 60 s.
    pub response: Duration,
    /// Ordinary HTTP: without a byte while a peer has to read, or the client to send. Default 30 s.
    pub progress: Duration,
}

/// How a session reconnects to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconnect {
    /// From the loss to the next backend's 101. Default 10 s.
    pub timeout: Duration,
    /// Bytes of the client's that are held meanwhile. Default 256 KiB.
    pub buffer_bytes: usize,
    /// Handshakes tried for one loss. Default 20, at least 1.
    pub attempts: u32,
}

/// Pings for sides that are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence until a ping. Default 30 s.
    pub interval: Duration,
    /// Silence after it until the side counts as lost. Default 10 s.
    pub timeout: Duration,
    /// Clients are pinged. Default true.
    pub to_client: bool,
    /// Backends are pinged. Default false.
    pub to_backend: bool,
}

/// What happens to sessions of a removed route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoval {
    /// They live on.
    Keep,
    /// They are closed with 1012.
    Close,
}
