use super::*;

fn state(probe: Option<&Probe>, passive: &Passive, now: Instant) -> BackendState {
    let occupancy = Occupancy::new("b1".into());
    BackendState::with(Arc::new(occupancy), probe, passive, now)
}

const PASSIVE: Passive = Passive {
    failures: 2,
    clients: 2,
    ejection: Duration::from_secs(10),
    ejection_max: Duration::from_secs(60),
    ejected_share_max: 0.5,
    early_close: Duration::from_secs(1),
};

const PROBE: Probe = Probe {
    kind: ProbeKind::Tcp,
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(2),
    rise: 2,
    fall: 2,
};

#[test]
fn probes_leave_health_reason_and_latency() {
    let now = crate::base::clock::now();
    let backend = state(Some(&PROBE), &PASSIVE, now);
    assert_eq!(
        (backend.health(), backend.probed()),
        (Health::Unknown, None)
    );

    let changed = backend.observe_probe(Err("connection refused"), now);
    assert_eq!(changed, Some(Health::Unhealthy));
    assert_eq!(backend.health(), Health::Unhealthy);
    assert_eq!(backend.reason().as_deref(), Some("connection refused"));

    let quick = Duration::from_millis(3);
    assert_eq!(backend.observe_probe(Ok(quick), now), None);
    assert_eq!(
        backend.reason().as_deref(),
        Some("connection refused"),
        "not yet healthy"
    );
    assert_eq!(backend.observe_probe(Ok(quick), now), Some(Health::Healthy));
    assert_eq!(backend.health(), Health::Healthy);
    assert_eq!((backend.reason(), backend.latency()), (None, Some(quick)));

    backend.observe_probe(Err("no answer"), now);
    assert_eq!(backend.health(), Health::Healthy, "one of two");
    backend.clear_probe();
    assert_eq!(
        (backend.health(), backend.reason()),
        (Health::Unknown, None)
    );
    assert_eq!((backend.latency(), backend.probed()), (None, None));
}

#[test]
fn an_ejection_is_seen_without_the_lock_and_ends_by_itself() {
    let now = crate::base::clock::now();
    let backend = state(None, &PASSIVE, now);
    let later = now + Duration::from_secs(1);
    assert_eq!(
        backend.report(Outcome::ConnectFailed, Witness::default(), later, true),
        None
    );
    let until = backend.report(Outcome::ConnectFailed, Witness::default(), later, true);
    assert_eq!(until, Some(later + Duration::from_secs(10)));
    let millis = Duration::from_millis;
    for (after, ejected) in [(0, true), (9_999, true), (10_000, false)] {
        let time = later + millis(after);
        assert_eq!(backend.ejected(time), ejected, "{after} ms");
        assert_eq!(backend.ejection(time).is_some(), ejected, "{after} ms");
    }
    assert!(!state(None, &PASSIVE, now).ejected(now));
    assert_eq!(backend.failures(), 2);
}

#[test]
fn a_passing_probe_ends_an_ejection_and_the_backend_wakes_up_from_then() {
    let now = crate::base::clock::now();
    let at = |seconds: u64| now + Duration::from_secs(seconds);
    let backend = state(Some(&PROBE), &PASSIVE, now);
    for _ in 0..2 {
        backend.report(Outcome::ConnectFailed, Witness::default(), at(5), true);
    }
    assert!(backend.ejected(at(6)));
    backend.observe_probe(Err("refused"), at(6));
    assert!(backend.ejected(at(6)));
    backend.observe_probe(Ok(Duration::from_millis(1)), at(7));
    assert!(!backend.ejected(at(7)));
    assert_eq!(backend.ejection(at(7)), None);
    assert_eq!(backend.awake(Duration::from_secs(10), at(12)), 0.5);
}

#[test]
fn a_new_table_changes_thresholds_and_keeps_what_is_known() {
    let now = crate::base::clock::now();
    let backend = state(Some(&PROBE), &PASSIVE, now);
    backend.observe_probe(Ok(Duration::ZERO), now);
    backend.report(Outcome::ConnectFailed, Witness::default(), now, true);
    let strict = Passive {
        failures: 1,
        clients: 2,
        ..PASSIVE
    };
    backend.configure(Some(&Probe { fall: 1, ..PROBE }), &strict);
    assert_eq!(backend.health(), Health::Healthy);
    assert!(
        backend
            .report(Outcome::ConnectFailed, Witness::default(), now, true)
            .is_some()
    );
    let lost = backend.observe_probe(Err("reset"), now);
    assert_eq!(lost, Some(Health::Unhealthy));
    backend.configure(None, &strict);
    assert_eq!(backend.health(), Health::Unknown);
    assert!(backend.ejected(now));
    let off = Passive {
        failures: 0,
        clients: 2,
        ..PASSIVE
    };
    backend.configure(None, &off);
    assert!(!backend.ejected(now) && backend.ejection(now).is_none());
}

#[test]
fn a_recovered_backend_wakes_up_slowly() {
    let start = crate::base::clock::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let backend = state(Some(&PROBE), &PASSIVE, start);
    let awake =
        |backend: &BackendState, seconds| backend.awake(Duration::from_secs(10), at(seconds));
    assert_eq!(awake(&backend, 0), 1.0, "awake from the start");
    backend.observe_probe(Ok(Duration::ZERO), at(1));
    assert_eq!(awake(&backend, 1), 1.0, "known to be well, as was supposed");
    backend.observe_probe(Err("gone"), at(2));
    backend.observe_probe(Err("gone"), at(3));
    backend.observe_probe(Ok(Duration::ZERO), at(10));
    backend.observe_probe(Ok(Duration::ZERO), at(20));
    assert_eq!(awake(&backend, 20), 0.0);
    assert_eq!(awake(&backend, 25), 0.5);
    assert_eq!(awake(&backend, 40), 1.0);
    backend.report(Outcome::ConnectFailed, Witness::default(), at(50), true);
    backend.report(Outcome::ConnectFailed, Witness::default(), at(50), true);
    assert_eq!(awake(&backend, 55), 0.0);
    assert_eq!(awake(&backend, 65), 0.5, "the ejection ended after 60");
    let newcomer = state(None, &PASSIVE, start);
    newcomer.wake(start);
    assert_eq!(awake(&newcomer, 1), 0.1);
}

#[test]
fn sessions_come_and_go_and_totals_stay() {
    let backend = state(None, &PASSIVE, crate::base::clock::now());
    backend.connect_began();
    backend.session_began();
    backend.session_began();
    backend.session_established();
    backend.session_ended();
    assert_eq!(
        (
            backend.sessions(),
            backend.sessions_total(),
            backend.connects()
        ),
        (1, 1, 1)
    );
}
