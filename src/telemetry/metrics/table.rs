//! The table of all metrics. It is the source of the descriptions for Prometheus, of
//! `docs/metrics.md`, and of the names in code.
//!
//! Labels are names that an operator wrote or members of a small closed set; never a client, a
//! principal, a session or a path. So the number of series is bounded by the configuration. Ids of
//! sessions appear in exemplars only, one for each bucket, which make no series.

use std::fmt::Write as _;

/// One row: a family of series that differ in their labels only.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As Prometheus has it: base unit in the name, counters end in `_total`.
    pub name: &'static str,
    /// What its values do over time.
    pub kind: Kind,
    /// What its values count.
    pub unit: Unit,
    /// Names of its labels, in the order in which code gives their values.
    pub labels: &'static [&'static str],
    /// One sentence for people, which ends in a full stop.
    pub help: &'static str,
}

/// What the values of a metric count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Time.
    Seconds,
}

/// What a metric's values do over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, and starts at zero with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many observations lay under each of these bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Its name in `# TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Bounds of times that a client waits for, in seconds: half a millisecond to ten seconds.
const WAITS: Kind = Kind::Histogram(&[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]);

/// Bounds of lives of sessions, in seconds: one second to a week.
const LIVES: Kind = Kind::Histogram(&[
    1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0,
]);

/// Bounds of handshakes by backend, in seconds. Few, since there may be many backends.
const COARSE_WAITS: Kind = Kind::Histogram(&[0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0]);

/// Bounds of the time that a command holds a worker, in seconds. Far below the first where all is
/// well; beyond 1 ms, clients notice.
const TURNS: Kind = Kind::Histogram(&[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1]);

/// Backends that have series of [`BACKEND_HANDSHAKE_SECONDS`] of their own; further ones share one
/// with an empty `backend`.
pub(super) const BACKENDS_TIMED_MAX: usize = 1_000;

macro_rules! table {
    ($($constant:ident = $kind:expr, $unit:ident, $name:literal,
        [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name, kind: $kind, unit: Unit::$unit, labels: &[$($label),*], help: $help,
            };
        )*

        /// Every metric, in the order of `docs/metrics.md`.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

use Kind::{Counter, Gauge};

table! {
    HANDSHAKE_SECONDS = WAITS, Seconds, "sessile_handshake_seconds", ["route", "upstream"],
        "Time from a client's upgrade request to the 101 that answers it.";
    BACKEND_HANDSHAKE_SECONDS = COARSE_WAITS, Seconds, "sessile_backend_handshake_seconds",
        ["upstream", "backend"],
        "The same by the backend that granted the session. Backends beyond the first 1,000 share \
         series with an empty `backend`.";
    SESSION_SECONDS = LIVES, Seconds, "sessile_session_seconds", ["route", "upstream"],
        "Life of the sessions that ended, from the 101 to the end.";
    SESSIONS = Gauge, Count, "sessile_sessions", ["route", "upstream"],
        "Live sessions.";
    SESSIONS_TOTAL = Counter, Count, "sessile_sessions_total", ["route", "upstream"],
        "Sessions that began.";
    SESSIONS_SPILLED = Counter, Count, "sessile_sessions_spilled_total",
        ["route", "upstream", "to"],
        "Sessions that began outside the first level of their upstream, by where: in another zone \
         than the node's (zone), or at backends of a higher priority number (priority).";
    SESSIONS_ENDED = Counter, Count, "sessile_sessions_ended_total",
        ["route", "upstream", "by", "cause"],
        "Sessions that ended, by who ended them (client, backend, gateway) and why.";
    CLOSE_CODES = Counter, Count, "sessile_close_codes_total", ["route", "upstream", "by", "code"],
        "Close codes of the sessions that ended, by who ended them; `none` if there was no code.";
    MESSAGES = Counter, Count, "sessile_messages_total", ["route", "upstream", "direction", "kind"],
        "Whole messages and control frames that were relayed, by direction (to_backend, \
         to_client) and kind (text, binary, ping, pong, close).";
    MESSAGE_BYTES = Counter, Bytes, "sessile_session_bytes_total",
        ["route", "upstream", "direction"],
        "Bytes of sessions that were relayed, frame headers included.";
    DELIVERIES = Counter, Count, "sessile_deliveries_total",
        ["route", "upstream", "outcome"],
        "Published messages by what became of them in each session: delivered to its socket, \
         queued behind a slow client, dropped; of those that were queued: evicted by newer ones, \
         expired.";
    PUBLISH_REQUESTS = Counter, Count, "sessile_publish_messages_total", ["outcome"],
        "Messages that publishers gave to this node: published, or a duplicate of one with the \
         same id.";
    BROKER_MESSAGES = Counter, Count, "sessile_broker_messages_total", ["direction", "outcome"],
        "Messages between this node and the broker: sent (carried, not_carried), sent_by_clients \
         on routes without a backend (carried, not_carried), presence (joins and leaves that are \
         published: carried, not_carried, refused, dropped), received \
         (delivered, signal, own, duplicate, malformed, dropped, or compressed records of Kafka, \
         which cannot be read). Signals are what gateways send \
         one another beside messages; those that are sent are not counted. What other services \
         publish counts as delivered.";
    BROKER_CONNECTED = Gauge, Count, "sessile_broker_connected", [],
        "1 while the broker carries messages. Absent without a broker.";
    BROKER_NODES = Gauge, Count, "sessile_broker_nodes", [],
        "Gateways that live, by their heartbeats at the broker, this one among them.";
    FUNCTION_CALLS = Counter, Count, "sessile_function_calls_total",
        ["function", "event", "outcome"],
        "Events of sessions for functions (connect, message, disconnect, and keep_alive where the \
         function wants to be asked) by outcome: answered, \
         failed, timed_out, busy (`in_flight_max`), no_route.";
    FUNCTION_SECONDS = WAITS, Seconds, "sessile_function_seconds", ["function"],
        "From an event of a session to its outcome, the wait for a turn included.";
    FUNCTION_IN_FLIGHT = Gauge, Count, "sessile_function_in_flight", ["function"],
        "Events that functions have not answered yet.";
    STATE_DECISIONS = Counter, Count, "sessile_state_decisions_total", ["decision", "outcome"],
        "Decisions (sessions, handshakes, stick) by whether they hold over the fleet: shared, or \
         made by this node alone because the store was late or unavailable. Absent without \
         `[state]`.";
    STATE_SECONDS = WAITS, Seconds, "sessile_state_round_trip_seconds", [],
        "From a request to the store of the fleet's state to its answer.";
    STATE_CONNECTED = Gauge, Count, "sessile_state_connected", [],
        "1 while the store of the fleet's state answers in time. Absent without `[state]`.";
    MEMBERSHIPS_REFUSED = Counter, Count, "sessile_memberships_refused_total", [],
        "Memberships in groups that were refused because of `groups_per_session` or \
         `memberships_max`.";
    SUBSCRIPTIONS_REFUSED = Counter, Count, "sessile_subscriptions_refused_total",
        ["route", "upstream", "reason"],
        "Names of `subscribe` that sessions were not subscribed to, by reason: missing (a value \
         is absent), value (it would change the meaning of the name), name (the whole is no \
         name), own (it belongs to the gateways), bounds (`memberships_max`, or 65,536 \
         names of one worker).";
    RESUMES = Counter, Count, "sessile_resumes_total", ["route", "upstream"],
        "Times that a live session went on with another backend.";
    RESUME_FAILURES = Counter, Count, "sessile_resume_failures_total", ["route", "upstream"],
        "Sessions that ended because no other backend could go on with them.";
    MESSAGES_LOST = Counter, Count, "sessile_messages_lost_total", ["route", "upstream"],
        "Messages of clients that the gateway dropped with a backend, of the sessions that ended.";
    REFUSALS = Counter, Count, "sessile_refusals_total", ["route", "upstream", "reason"],
        "Requests that the gateway answered itself, and exchanges that were cut off, by reason; no \
         `route` if none matched.";
    HTTP_REQUESTS = Counter, Count, "sessile_http_requests_total", ["route", "upstream", "status"],
        "Ordinary HTTP requests that were answered, by class of status (2xx, 3xx and so on).";
    HTTP_RESPONSE_SECONDS = WAITS, Seconds, "sessile_http_response_seconds", ["route", "upstream"],
        "Time from the head of an ordinary HTTP request to the head of its response.";
    CACHE_REQUESTS = Counter, Count, "sessile_cache_requests_total",
        ["route", "upstream", "result"],
        "Ordinary requests on routes with a cache, by result: hit, stale (the backend fails), \
         revalidated (the backend said that the response is still the same), miss, bypass.";
    CACHE_ENTRIES = Gauge, Count, "sessile_cache_entries", [],
        "URIs whose responses are in memory.";
    CACHE_BYTES = Gauge, Bytes, "sessile_cache_bytes", [],
        "Memory that responses take.";
    CACHE_BYTES_MAX = Gauge, Bytes, "sessile_cache_max_bytes", [],
        "Memory that responses may take.";
    CACHE_WAITING = Gauge, Count, "sessile_cache_waiting", [],
        "Requests that wait for the response to another one.";
    CONNECT_FAILURES = Counter, Count, "sessile_connect_failures_total",
        ["route", "upstream", "reason"],
        "Attempts to reach a backend that failed, by reason; another backend may have taken the \
         request.";
    BACKEND_TLS_HANDSHAKES = Counter, Count, "sessile_backend_tls_handshakes_total",
        ["route", "upstream", "kind"],
        "TLS handshakes with backends that succeeded, by kind (full, resumed).";

    HANDOVERS = Counter, Count, "sessile_handovers_total", ["direction"],
        "Hand-overs that came to their end, by direction: `in` from the process before this one, \
         `out` to the one after it.";
    HANDOVER_FAILURES = Counter, Count, "sessile_handover_failures_total", [],
        "Hand-overs that broke off; each process goes on with the sessions that it has then.";
    HANDOVER_SESSIONS = Counter, Count, "sessile_handover_sessions_total", ["direction"],
        "Sessions that came (`in`) or went (`out`) by hand-over.";
    HANDOVER_SECONDS = Gauge, Seconds, "sessile_handover_seconds", ["direction"],
        "How long the last hand-over took.";
    PREDECESSOR_SESSIONS = Gauge, Count, "sessile_predecessor_sessions", ["reason"],
        "Sessions that stayed in the process before this one when it handed over, by reason: \
         `ending`, `tls_of_rustls`, `tls_not_understood` by this process, `sockets`, `refused`.";
    AUTHENTICATIONS = Counter, Count, "sessile_authentications_total",
        ["authenticator", "outcome"],
        "Credentials that were verified, by outcome: ok, anonymous, or why they do not count; \
         `missing` stands with a route's last authenticator.";
    KEY_READINGS = Counter, Count, "sessile_key_readings_total", ["authenticator", "outcome"],
        "Readings of an issuer's keys, by outcome (ok, failed).";
    KEYS_AGE = Gauge, Seconds, "sessile_keys_age_seconds", ["authenticator"],
        "Time since an issuer's keys were read last; none before the first time.";
    REVOCATIONS = Gauge, Count, "sessile_revocations", ["origin"],
        "Revocations in force, by where they stand: `node` (this gateway alone), `file` or `etcd`.";

    ACCEPTED = Counter, Count, "sessile_accepted_connections_total", ["listener"],
        "Connections of clients that were accepted.";
    CONNECTIONS = Gauge, Count, "sessile_connections", ["listener"],
        "Open connections of clients, those of sessions among them.";
    ACCEPT_ERRORS = Counter, Count, "sessile_accept_errors_total", ["listener", "kind"],
        "Failures to accept a connection, such as too many open files.";
    TLS_HANDSHAKES = Counter, Count, "sessile_tls_handshakes_total", ["listener", "kind"],
        "TLS handshakes with clients that succeeded, by kind (full, resumed).";
    TLS_FAILURES = Counter, Count, "sessile_tls_handshake_failures_total", ["listener"],
        "TLS handshakes with clients that failed or took too long.";
    CERTIFICATE_EXPIRY = Gauge, Seconds, "sessile_certificate_expiry_timestamp_seconds",
        ["listener", "certificate"],
        "When a certificate that a listener shows expires, in seconds since 1970; `certificate` is \
         its first name.";
    CERTIFICATE_ORDERS = Counter, Count, "sessile_certificate_orders_total", ["outcome"],
        "Orders of certificates from an authority (ACME), by outcome (ok, failed).";
    CERTIFICATE_ORDER_FAILURES = Gauge, Count, "sessile_certificate_order_failures",
        ["certificate"],
        "Orders of a certificate (ACME) that failed since the last success; `certificate` is its \
         first name.";
    PROXY_HEADER_FAILURES = Counter, Count, "sessile_proxy_header_failures_total", ["listener"],
        "Connections whose PROXY protocol header was missing, malformed, late, or from a stranger.";

    BACKEND_HEALTHY = Gauge, Count, "sessile_backend_healthy", ["upstream", "backend"],
        "0 if the backend fails its probe, else 1; 1 too if it is not known yet or has no probe.";
    BACKEND_EJECTED = Gauge, Count, "sessile_backend_ejected", ["upstream", "backend"],
        "1 while ordinary traffic keeps failing on the backend and it is left out for a time, \
         else 0.";
    BACKEND_SESSIONS = Gauge, Count, "sessile_backend_sessions", ["upstream", "backend"],
        "Live sessions of a backend.";
    UPSTREAM_SPILLS = Gauge, Count, "sessile_upstream_spill_ratio", ["upstream"],
        "Which part of its keys the first level of an upstream (the node's zone, the lowest priority \
         number) passes on to others, since too few of its backends are well; 0 to 1. Only of \
         upstreams with several levels.";
    UPSTREAM_SPILLED = Gauge, Count, "sessile_upstream_spilled_sessions", ["upstream"],
        "Live sessions on backends of other levels than the first. Only of upstreams with several \
         levels.";
    SCALING_SESSIONS = Gauge, Count, "sessile_scaling_sessions", ["upstream"],
        "Live sessions of an upstream on this gateway, those on backends that drain or have left among \
         them.";
    SCALING_PEAK = Gauge, Count, "sessile_scaling_sessions_peak", ["upstream"],
        "The most sessions of the last `scaling.scale_in_after`.";
    SCALING_TARGET = Gauge, Count, "sessile_scaling_sessions_target", ["upstream"],
        "Sessions of all gateways that a backend should have (`scaling.sessions_target`).";
    SCALING_UTILIZATION = Gauge, Count, "sessile_scaling_utilization", ["upstream"],
        "Part of the sessions that the backends that are well may have (`sessions_per_backend`).";
    SCALING_DESIRED = Gauge, Count, "sessile_scaling_backends_desired", ["upstream"],
        "Backends that the upstream should have for the sessions of this gateway alone.";
    SCALING_BACKENDS = Gauge, Count, "sessile_scaling_backends", ["upstream", "state"],
        "Backends by what they are to a scaler: well, unwell (unhealthy, ejected, disabled), draining \
         (or gone) and not empty yet.";
    EJECTIONS = Counter, Count, "sessile_ejections_total", ["upstream"],
        "Backends that were left out for a time because ordinary traffic failed on them.";
    DRAINED = Counter, Count, "sessile_drained_sessions_total", ["upstream", "how"],
        "Sessions that were ordered to leave a draining backend, by how (moved, closed).";
    DRAIN_LEFT = Gauge, Count, "sessile_drain_sessions_left", ["upstream", "backend"],
        "Sessions that a draining backend still has to be left by.";
    REBALANCED = Counter, Count, "sessile_rebalanced_sessions_total", ["upstream", "how"],
        "Sessions that were ordered to go to the backend that their key belongs to, by how (moved, \
         closed).";

    TABLE_GENERATION = Gauge, Count, "sessile_table_generation", [],
        "Generation of the routing table in force; grows with each swap.";
    TABLE_SWAPS = Counter, Count, "sessile_table_swaps_total", [],
        "Routing tables that took effect after the first.";
    RELOAD_FAILURES = Counter, Count, "sessile_reload_failures_total", [],
        "Configurations that were refused while the last good one stayed.";
    CONFIGURATION_REFUSED = Gauge, Count, "sessile_configuration_refused", [],
        "1 while the configuration that was read last is refused, else 0.";
    RESTART_PENDING = Gauge, Count, "sessile_restart_pending", [],
        "Settings that were read and take effect at the next start.";
    OVERLOADED = Gauge, Count, "sessile_overloaded", ["limit"],
        "1 while the node is at this limit (sessions_max, handshakes_max, memory_max) and sheds \
         clients, else 0.";
    HANDSHAKES = Gauge, Count, "sessile_handshakes", [],
        "TLS handshakes with clients and upgrades waiting for their answer that are under way.";
    MEMORY = Gauge, Bytes, "sessile_memory_bytes", [],
        "Memory in use as `node.memory_max` counts it.";
    MEMORY_MAX = Gauge, Bytes, "sessile_memory_max_bytes", [],
        "Memory from which on no client is let in; 0 if there is no limit.";
    QUOTA_HOLDERS = Gauge, Count, "sessile_quota_holders", [],
        "Routes, client networks and principals whose live sessions or connections are counted.";
    QUOTAS_FORGOTTEN = Counter, Count, "sessile_quotas_forgotten_total", [],
        "Rates of clients that were forgotten too early since too many other clients came; each \
         let its client begin anew.";
    READY = Gauge, Count, "sessile_ready", [],
        "1 while clients are taken, else 0.";
    WORKER_SESSIONS = Gauge, Count, "sessile_worker_sessions", ["worker"],
        "Live sessions of a worker.";
    WORKER_COMMAND_SECONDS = TURNS, Seconds, "sessile_worker_command_seconds", [],
        "How long commands of operators and of the control plane held a worker, which serves its \
         sessions between two of them.";
    RECORDS_DROPPED = Counter, Count, "sessile_records_dropped_total", [],
        "Session and request records that were lost because an output was too slow or failed.";
    TRACES_DROPPED = Counter, Count, "sessile_traces_dropped_total", [],
        "Traces of handshakes that were lost because their collector was too slow or failed.";
    EVENTS_BYTES = Gauge, Bytes, "sessile_events_bytes", ["class"],
        "Memory that the events of a class take.";
    EVENTS_DROPPED = Counter, Count, "sessile_events_dropped_total", ["class"],
        "Events that came faster than they could be kept and are lost.";
    EVENT_FILES_BYTES = Gauge, Bytes, "sessile_event_files_bytes", [],
        "Size of the files of events, with `events.persist`.";
    EVENTS_UNWRITTEN = Counter, Count, "sessile_events_unwritten_total", ["class"],
        "Events that could not be written to a file and are in memory only, with `events.persist`.";
    EVENT_SUBSCRIBERS = Gauge, Count, "sessile_event_subscribers", [],
        "Clients that follow the stream of events.";
    BUILD_INFO = Gauge, Count, "sessile_build_info", ["version"],
        "Always 1; its label says which version runs.";

    DNS_NAMES = Gauge, Count, "sessile_dns_names", [],
        "Names in DNS that upstreams have.";
    DNS_NAMES_FAILING = Gauge, Count, "sessile_dns_names_failing", [],
        "Names in DNS whose last lookup had no answer; their last backends stay.";
    DNS_LOOKUPS = Counter, Count, "sessile_dns_lookups_total", ["outcome"],
        "Lookups of names in DNS, by outcome: answered, failed.";
    DNS_STALE = Gauge, Count, "sessile_dns_stale_members", [],
        "Backends that left an answer of DNS together with others, and stay for a time.";
    SOURCE_SERVICES = Gauge, Count, "sessile_source_services", ["source"],
        "Services that upstreams name, by registry: consul, kubernetes.";
    SOURCE_FAILING = Gauge, Count, "sessile_source_failing", ["source"],
        "Services without an answer that has a backend, and keys that are not read; the last answers stay.";
    SOURCE_ANSWERS = Counter, Count, "sessile_source_answers_total", ["source", "outcome"],
        "Questions to a registry, by outcome: answered, failed.";
    SOURCE_STALE = Gauge, Count, "sessile_source_stale_members", ["source"],
        "Backends that left an answer of a registry together with others, and stay for a time.";
    SOURCE_REFUSED = Gauge, Count, "sessile_source_documents_refused", ["source"],
        "Documents of a registry that are refused; their last good versions stay.";
    SOURCE_DOUBTED = Gauge, Count, "sessile_source_documents_doubted", ["source"],
        "Documents that a registry lacks, which is not believed.";
    SOURCE_RESETS = Counter, Count, "sessile_source_resets_total", ["source"],
        "Answers of a registry that were older than those before.";
    ETCD_CONNECTED = Gauge, Count, "sessile_etcd_connected", [],
        "1 while a watch on etcd runs.";
    ETCD_REVISION = Gauge, Count, "sessile_etcd_applied_revision", [],
        "Everything that etcd wrote up to this revision has been taken.";
    ETCD_PROGRESS_AGE = Gauge, Seconds, "sessile_etcd_progress_age_seconds", [],
        "Time since etcd's last sign of life on a watch.";
    NODE_DUPLICATE = Gauge, Count, "sessile_node_duplicate", [],
        "1 while another gateway of the same etcd has the name of this one, else 0.";
    ETCD_REFUSED = Gauge, Count, "sessile_etcd_documents_refused", [],
        "Documents that are refused; the last good version of each stays in force.";
    ETCD_WAITING = Gauge, Count, "sessile_etcd_documents_waiting", [],
        "Documents that name something that is missing.";
    ETCD_STALE = Gauge, Count, "sessile_etcd_stale_members", [],
        "Backends that lost their leases together with others, and stay for a time.";
    ETCD_DOUBTED = Gauge, Count, "sessile_etcd_documents_doubted", [],
        "Documents that a read lacked which is not believed; they stay in force.";
    ETCD_LAST_KNOWN_GOOD = Gauge, Count, "sessile_etcd_last_known_good", [],
        "1 while what is in force was remembered, and etcd has not been heard since the start.";
    ETCD_REREADS = Counter, Count, "sessile_etcd_rereads_total", [],
        "Full reads of etcd, apart from the first.";
    ETCD_WATCH_RESTARTS = Counter, Count, "sessile_etcd_watch_restarts_total", [],
        "Watches on etcd that ended and were begun anew.";
    ETCD_RESTORES = Counter, Count, "sessile_etcd_restores_total", [],
        "Times that etcd had been restored or replaced.";
    PROCESS_RESIDENT = Gauge, Bytes, "sessile_process_resident_memory_bytes", [],
        "Memory of the process that is in RAM.";
    PROCESS_FDS = Gauge, Count, "sessile_process_open_fds", [],
        "Open file descriptors of the process.";
    PROCESS_FDS_MAX = Gauge, Count, "sessile_process_max_fds", [],
        "File descriptors that the process may have open.";
    PROCESS_START = Gauge, Seconds, "sessile_process_start_time_seconds", [],
        "When the process started, in seconds since 1970.";
    PROCESS_CPU = Counter, Seconds, "sessile_process_cpu_seconds_total", [],
        "Processor time that the process has used, user and system.";
}

/// The page for operators, `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` of the admin API answers in Prometheus' text format, or in OpenMetrics \
         if the client\nprefers it, with exemplars: each bucket of `sessile_handshake_seconds` and \
         `sessile_session_seconds`\nhas the `session_id` of the last session counted in it. Labels \
         are names from the configuration or one of\na few fixed words, so the number of series \
         does not grow with clients. Dashboards and alerts:\n[monitoring](monitoring.md). This page is generated from `src/telemetry/metrics/table.rs`.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for Metric {
        name,
        kind,
        labels,
        help,
        ..
    } in ALL
    {
        let labels = labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>();
        writeln!(
            page,
            "| `{name}` | {} | {} | {help} |",
            kind.as_str(),
            labels.join(", ")
        )
        .expect("a string takes everything");
    }
    page
}

#[cfg(test)]
mod tests;
