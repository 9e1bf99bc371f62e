use super::*;

const PASSIVE: Passive = Passive {
    failures: 3,
    clients: 2,
    ejection: Duration::from_secs(10),
    ejection_max: Duration::from_secs(60),
    ejected_share_max: 0.5,
    early_close: Duration::from_secs(1),
};

/// A clock and a backend.
struct Scene {
    now: Instant,
    outlier: Outlier,
    clients: u8,
    established: u64,
}

impl Scene {
    fn new(passive: &Passive) -> Self {
        Self {
            now: crate::base::clock::now(),
            outlier: Outlier::new(passive),
            clients: 0,
            established: 0,
        }
    }

    /// What another client meets.
    fn report(&mut self, outcome: Outcome) -> Option<Ejection> {
        self.clients += 1;
        self.meets(self.clients, outcome)
    }

    /// What this client meets.
    fn meets(&mut self, client: u8, outcome: Outcome) -> Option<Ejection> {
        let report = Report {
            outcome,
            witness: Witness::new([10, 0, client, 1].into(), None),
            established: self.established,
        };
        self.outlier.report(report, self.now, true)
    }

    /// Fails as often as it takes; returns for how many seconds that ejects.
    fn eject(&mut self) -> u64 {
        for _ in 1..PASSIVE.failures {
            assert_eq!(self.report(Outcome::EarlyClose), None);
        }
        let ejection = self
            .report(Outcome::ConnectFailed)
            .expect("the last failure ejects");
        assert_eq!(ejection.cause, Outcome::ConnectFailed);
        (ejection.until - self.now).as_secs()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn failures_in_a_row_eject_until_the_time_is_over() {
    let mut scene = Scene::new(&PASSIVE);
    for _ in 0..10 {
        assert_eq!(scene.report(Outcome::HandshakeRefused), None);
        assert_eq!(scene.report(Outcome::HandshakeTimedOut), None);
        assert_eq!(scene.report(Outcome::Ok), None);
    }
    assert_eq!(scene.eject(), 10);
    scene.pass(9);
    assert!(scene.outlier.ejection(scene.now).is_some());
    scene.pass(1);
    assert_eq!(scene.outlier.ejection(scene.now), None);
}

#[test]
fn i12_one_client_alone_never_ejects_by_what_it_can_provoke() {
    use Outcome::{EarlyClose, HandshakeRefused, HandshakeTimedOut};
    let mut scene = Scene::new(&PASSIVE);
    for outcome in [HandshakeRefused, HandshakeTimedOut, EarlyClose].repeat(100) {
        assert_eq!(scene.meets(1, outcome), None);
        scene.now += Duration::from_millis(1);
    }
    assert!(scene.meets(2, HandshakeRefused).is_some(), "two clients");
    // The same principal at many addresses is one client, and so are many at one address.
    let mut scene = Scene::new(&PASSIVE);
    let mut other = Scene::new(&PASSIVE);
    for place in 0..100 {
        let subject = place.to_string();
        for (scene, witness) in [
            (
                &mut scene,
                Witness::new([10, 0, place, 1].into(), Some("ann")),
            ),
            (
                &mut other,
                Witness::new([10, 9, 9, place].into(), Some(&subject)),
            ),
        ] {
            let report = Report {
                outcome: HandshakeRefused,
                witness,
                established: 0,
            };
            assert_eq!(scene.outlier.report(report, scene.now, true), None);
        }
    }
    // No client can cause a failed dial.
    let mut scene = Scene::new(&PASSIVE);
    assert_eq!(scene.meets(1, Outcome::ConnectFailed), None);
    assert_eq!(scene.meets(1, Outcome::ConnectFailed), None);
    assert!(scene.meets(1, Outcome::ConnectFailed).is_some());
}

#[test]
fn sessions_that_were_granted_meanwhile_outweigh_failures() {
    let mut scene = Scene::new(&PASSIVE);
    for client in 1..100 {
        scene.established += 2;
        assert_eq!(scene.meets(client, Outcome::HandshakeRefused), None);
    }
    // Those that were lost at once outweigh nothing.
    let mut scene = Scene::new(&PASSIVE);
    for client in 1..3 {
        scene.established += 1;
        assert_eq!(scene.meets(client, Outcome::EarlyClose), None);
    }
    scene.established += 1;
    assert!(scene.meets(3, Outcome::EarlyClose).is_some());
    // Failures that lie far apart make no streak.
    let mut scene = Scene::new(&PASSIVE);
    for client in 1..100 {
        assert_eq!(scene.meets(client, Outcome::HandshakeRefused), None);
        scene.pass(31);
    }
}

#[test]
fn a_probe_that_passes_disproves_what_it_can_see() {
    let check = |cause: Outcome, speaks_http: bool, ends: bool| {
        let mut scene = Scene::new(&PASSIVE);
        while scene.report(cause).is_none() {}
        let before = scene.now - Duration::from_millis(1);
        assert!(!scene.outlier.disprove(before, speaks_http, scene.now));
        scene.pass(1);
        let (tried, now) = (scene.now, scene.now);
        assert_eq!(
            scene.outlier.disprove(tried, speaks_http, now),
            ends,
            "{cause:?}"
        );
        assert_eq!(scene.outlier.ejection(now).is_none(), ends, "{cause:?}");
    };
    for speaks_http in [true, false] {
        check(Outcome::ConnectFailed, speaks_http, true);
        check(Outcome::HandshakeRefused, speaks_http, speaks_http);
        check(Outcome::HandshakeTimedOut, speaks_http, speaks_http);
        check(Outcome::EarlyClose, speaks_http, false);
    }
}

#[test]
fn ejections_grow_to_the_longest() {
    let mut scene = Scene::new(&PASSIVE);
    for expected in [10, 20, 40, 60, 60] {
        assert_eq!(scene.eject(), expected);
        scene.pass(expected);
    }
}

#[test]
fn good_times_take_doublings_back_one_by_one() {
    let mut scene = Scene::new(&PASSIVE);
    for expected in [10, 20, 40] {
        assert_eq!(scene.eject(), expected);
        scene.pass(expected);
    }
    scene.pass(59);
    scene.report(Outcome::Ok);
    scene.pass(1);
    scene.report(Outcome::Ok);
    scene.pass(61);
    assert_eq!(scene.eject(), 20, "two of three doublings are forgiven");
    scene.pass(20 + 1_000_000);
    assert_eq!(scene.eject(), 10);
}

#[test]
fn what_happens_during_an_ejection_counts_for_nothing() {
    let mut scene = Scene::new(&PASSIVE);
    scene.eject();
    scene.pass(5);
    for _ in 0..10 {
        assert_eq!(scene.report(Outcome::ConnectFailed), None);
    }
    scene.pass(5);
    assert_eq!(scene.eject(), 20);
}

#[test]
fn if_no_member_may_be_ejected_the_next_failure_counts() {
    let mut scene = Scene::new(&PASSIVE);
    let now = scene.now;
    let report = Report {
        outcome: Outcome::ConnectFailed,
        witness: Witness::default(),
        established: 0,
    };
    for _ in 0..5 {
        assert_eq!(scene.outlier.report(report, now, false), None);
    }
    assert!(scene.report(Outcome::ConnectFailed).is_some());
}

#[test]
fn zero_failures_turn_it_off() {
    let mut scene = Scene::new(&Passive {
        failures: 0,
        clients: 2,
        ..PASSIVE
    });
    for _ in 0..10 {
        assert_eq!(scene.report(Outcome::ConnectFailed), None);
    }
}

#[test]
fn any_number_of_ejections_and_any_length_is_survived() {
    let mut scene = Scene::new(&Passive {
        failures: 1,
        clients: 2,
        ejection: Duration::from_secs(1),
        ejection_max: Duration::ZERO,
        ..PASSIVE
    });
    for _ in 0..100 {
        assert!(scene.report(Outcome::ConnectFailed).is_some());
    }
    scene.pass(1_000_000_000);
    assert!(scene.report(Outcome::ConnectFailed).is_some());
    scene.outlier.set_thresholds(&Passive {
        failures: 1,
        clients: 2,
        ejection: Duration::MAX,
        ejection_max: Duration::MAX,
        ..PASSIVE
    });
    assert_eq!(scene.report(Outcome::ConnectFailed), None, "no such time");
}
