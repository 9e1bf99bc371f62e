//! `/metrics`: the counters, and the gauges that are read at scrape time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};

use crate::admin::gateway::VERSION;
use crate::admin::{Gateway, cache, certificates, scaling, sources};
use crate::base::clock;
use crate::base::revocation::RevocationOrigin;
use crate::base::source_id::SourceId;
use crate::core::health::Health;
use crate::core::limits::Scarce;
use crate::core::routing::{Member, RoutingTable, Upstream};
use crate::live::{Generation, Phase, WorkerCommand};
use crate::telemetry::events::Class;
use crate::telemetry::metrics::{Exposition, Reading, table};

pub(super) async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> ([(HeaderName, &'static str); 1], String) {
    let accept = headers.get_all(ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|one| one.to_str().ok()).collect();
    let form = Exposition::preferred(&accept.join(","));
    // Counts of a worker that does not respond in time appear in a later scrape.
    let gather = |slice, answer| WorkerCommand::Gather { slice, answer };
    gateway.live.workers().walk(gather).await;
    gateway.metrics.sweep(clock::now(), &gateway.live.table());
    let mut text = gateway.metrics.render(form);
    text.push_str(&read(&gateway, form));
    text.push_str(form.end());
    ([(CONTENT_TYPE, form.content_type())], text)
}

fn read(gateway: &Gateway, form: Exposition) -> String {
    let mut reading = Reading::new(form);
    let ready = gateway.live.phase() == Phase::Ready;
    reading.single(&table::READY, f64::from(u8::from(ready)));
    reading.family(&table::BUILD_INFO, [([VERSION], 1.0)]);
    reading.single(&table::RECORDS_DROPPED, gateway.records.dropped() as f64);
    read_configuration(gateway, &mut reading);
    read_events(gateway, &mut reading);
    read_load(gateway, &mut reading);
    cache::read(gateway, &mut reading);
    read_revocations(gateway, &mut reading);
    certificates::read(gateway, &mut reading);
    read_workers(gateway, &mut reading);
    read_backends(&gateway.live.table(), &mut reading);
    read_levels(&gateway.live.table(), &mut reading);
    scaling::read(gateway, &mut reading);
    read_drains(gateway, &mut reading);
    sources::read(gateway, &mut reading);
    read_keys(&gateway.live.generation(), &mut reading);
    let started = clock::unix_millis(gateway.live.started()) as f64 / 1000.0;
    reading.single(&table::PROCESS_START, started);
    reading.process();
    reading.into_text()
}

fn read_configuration(gateway: &Gateway, reading: &mut Reading) {
    let supervisor = &gateway.supervisor;
    let refused = f64::from(u8::from(supervisor.refused().is_some()));
    reading.single(&table::CONFIGURATION_REFUSED, refused);
    let pending = supervisor.restart_pending().len();
    reading.single(&table::RESTART_PENDING, pending as f64);
    let taken_over = gateway.live.taken_over();
    let staying = taken_over.iter().flat_map(|one| one.staying.iter());
    let staying = staying.map(|(reason, sessions)| ([reason.as_str()], sessions as f64));
    reading.family(&table::PREDECESSOR_SESSIONS, staying);
}

fn read_events(gateway: &Gateway, reading: &mut Reading) {
    let events = gateway.live.events();
    let by_class =
        |value: &dyn Fn(Class) -> f64| Class::ALL.map(|class| ([class.as_str()], value(class)));
    let bytes = by_class(&|class| events.fill(class).bytes as f64);
    reading.family(&table::EVENTS_BYTES, bytes);
    let dropped = by_class(&|class| events.dropped(class) as f64);
    reading.family(&table::EVENTS_DROPPED, dropped);
    if let Some(files) = events.files() {
        reading.single(&table::EVENT_FILES_BYTES, files.bytes as f64);
        let unwritten = by_class(&|class| files.unwritten[class as usize] as f64);
        reading.family(&table::EVENTS_UNWRITTEN, unwritten);
    }
    reading.single(&table::EVENT_SUBSCRIBERS, events.subscribers() as f64);
}

fn read_keys(generation: &Generation, reading: &mut Reading) {
    let now = clock::unix_millis(clock::wall());
    let fetched = generation.table.authenticators().filter_map(|one| {
        let read_at = one.keys(&generation.keys)?.read_at;
        let age = now.saturating_sub(read_at) as f64 / 1000.0;
        Some(([one.config.name.as_str()], age))
    });
    reading.family(&table::KEYS_AGE, fetched);
}

fn read_revocations(gateway: &Gateway, reading: &mut Reading) {
    let (generation, now) = (gateway.live.generation(), clock::wall());
    let sources = SourceId::ALL.map(RevocationOrigin::Source);
    let origins = [RevocationOrigin::Node].into_iter().chain(sources);
    let counts = origins.map(|origin| {
        let valid = generation.revocations.valid(now);
        let count = valid.filter(|one| one.origin == origin).count();
        let name = match origin {
            RevocationOrigin::Node => "node",
            RevocationOrigin::Source(source) => source.as_str(),
        };
        ([name], count as f64)
    });
    reading.family(&table::REVOCATIONS, counts);
}

fn read_load(gateway: &Gateway, reading: &mut Reading) {
    let (load, quotas) = (&gateway.live.load, &gateway.live.quotas);
    let limits = gateway.live.generation().edge.load;
    let shedding = Scarce::ALL.map(|limit| {
        let now = f64::from(u8::from(load.reached(&limits, limit)));
        ([limit.as_str()], now)
    });
    reading.family(&table::OVERLOADED, shedding);
    reading.single(&table::HANDSHAKES, load.handshakes() as f64);
    reading.single(&table::MEMORY, load.memory() as f64);
    reading.single(&table::MEMORY_MAX, limits.memory_max as f64);
    reading.single(&table::QUOTA_HOLDERS, quotas.counts.holders() as f64);
    reading.single(&table::QUOTAS_FORGOTTEN, quotas.forgotten() as f64);
}

fn read_workers(gateway: &Gateway, reading: &mut Reading) {
    let workers = gateway.live.workers();
    let names: Vec<_> = (0..workers.len()).map(|place| place.to_string()).collect();
    let sessions = workers.loads().zip(&names).map(|(load, name)| {
        let sessions = load.sessions.load(Ordering::Relaxed);
        ([name.as_str()], sessions as f64)
    });
    reading.family(&table::WORKER_SESSIONS, sessions);
}

fn read_backends(routing: &RoutingTable, reading: &mut Reading) {
    let now = clock::now();
    let upstreams: Vec<_> = routing.upstreams().collect();
    let each = |value: fn(&Member, std::time::Instant) -> f64| {
        let samples = upstreams
            .iter()
            .flat_map(move |upstream| samples(upstream, now, value));
        samples.collect::<Vec<_>>()
    };
    let healthy = each(|member, _| {
        if member.state.health() == Health::Unhealthy {
            0.0
        } else {
            1.0
        }
    });
    reading.family(&table::BACKEND_HEALTHY, healthy);
    let ejected = each(|member, now| f64::from(u8::from(member.state.ejected(now))));
    reading.family(&table::BACKEND_EJECTED, ejected);
    let mut sessions = each(|member, _| member.state.sessions() as f64);
    let removed = routing.removed();
    sessions.extend(removed.iter().map(|one| {
        let names = [one.upstream.as_str(), one.id.as_str()];
        (names, one.occupancy.sessions() as f64)
    }));
    reading.family(&table::BACKEND_SESSIONS, sessions);
}

fn read_levels(routing: &RoutingTable, reading: &mut Reading) {
    let now = clock::now();
    let upstreams = routing.upstreams().filter(|one| one.has_levels());
    let upstreams: Vec<_> = upstreams.collect();
    let each = |value: &dyn Fn(&Upstream) -> f64| {
        let samples = upstreams
            .iter()
            .map(|one| ([one.name().as_str()], value(one)));
        samples.collect::<Vec<_>>()
    };
    reading.family(&table::UPSTREAM_SPILLS, each(&|one| one.spills(now)));
    reading.family(&table::UPSTREAM_SPILLED, each(&|one| one.spilled() as f64));
}

fn read_drains(gateway: &Gateway, reading: &mut Reading) {
    let drains = gateway.supervisor.drainer().views();
    let left = drains.iter().map(|(upstream, backend, drain)| {
        let names = [upstream.as_str(), backend.as_str()];
        (names, drain.left as f64)
    });
    reading.family(&table::DRAIN_LEFT, left);
}

fn samples(
    upstream: &Upstream,
    now: std::time::Instant,
    value: fn(&Member, std::time::Instant) -> f64,
) -> impl Iterator<Item = ([&str; 2], f64)> {
    let names = upstream.members.iter();
    names.map(move |member| {
        (
            [upstream.name().as_str(), member.id.as_str()],
            value(member, now),
        )
    })
}
