use super::*;

/// What changed, as kinds and texts.
#[track_caller]
fn check(before: &State, now: &State, expected: &[(Kind, &str)]) {
    let found = changes(before, now);
    let found: Vec<_> = found
        .iter()
        .map(|(kind, fields)| (*kind, &*fields.text))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(
        changes(now, now).len(),
        0,
        "a state does not differ from itself"
    );
}

fn key() -> (String, String) {
    ("chat".to_owned(), "b1".to_owned())
}

fn with(change: impl FnOnce(&mut State)) -> State {
    let mut state = State::default();
    change(&mut state);
    state
}

#[test]
fn a_drain_begins_and_is_done_or_stopped() {
    let drain = |done, moved| DrainState {
        done,
        by: "operator".to_owned(),
        operator: Some("alice".to_owned()),
        pace: "20/s".to_owned(),
        total: 3,
        moved,
        closed: 1,
    };
    let of = |drain: DrainState| with(|state| drop(state.drains.insert(key(), drain)));
    let (none, running, done) = (State::default(), of(drain(false, 0)), of(drain(true, 2)));
    check(&none, &running, &[(Kind::DrainBegan, "20/s, by alice")]);
    let told = "2 moved, 1 closed, of 3 sessions";
    check(&running, &done, &[(Kind::DrainDone, told)]);
    let told = "0 moved, 1 closed, of 3 sessions";
    check(&running, &none, &[(Kind::DrainStopped, told)]);
    check(&done, &none, &[]);
}

#[test]
fn a_source_is_lost_and_found_once_each() {
    let of = |fault: Option<&str>| {
        let fault = fault.map(str::to_owned);
        with(|state| drop(state.sources.insert("etcd".to_owned(), fault)))
    };
    let lost = (Kind::SourceLost, "etcd is not followed: refused");
    check(&of(None), &of(Some("refused")), &[lost]);
    check(&of(Some("refused")), &of(Some("no route")), &[]);
    let found = (Kind::SourceConnected, "etcd is followed");
    check(&of(Some("refused")), &of(None), &[found]);
}

#[test]
fn a_source_lags_and_catches_up_once_each() {
    let of = |why: Option<&str>| {
        with(|state| {
            state.sources.insert("etcd".to_owned(), None);
            let lagging = why.map(|why| ("etcd".to_owned(), why.to_owned()));
            state.lagging.extend(lagging);
        })
    };
    let lags = (Kind::SourceLagging, "etcd lags: silent for 61s");
    check(&of(None), &of(Some("silent for 61s")), &[lags]);
    check(
        &of(Some("silent for 61s")),
        &of(Some("silent for 62s")),
        &[],
    );
    let again = (Kind::SourceCaughtUp, "etcd is up to date again");
    check(&of(Some("silent for 62s")), &of(None), &[again]);
    let lost = with(|state| {
        let fault = Some("refused".to_owned());
        state.sources.insert("etcd".to_owned(), fault);
    });
    let expected = (Kind::SourceLost, "etcd is not followed: refused");
    check(&of(Some("silent for 62s")), &lost, &[expected]);
}

#[test]
fn a_file_that_is_refused_is_an_event_for_each_fault() {
    let of = |faults: &[&str]| {
        with(|state| {
            let faults = faults.iter();
            let faults = faults.map(|fault| ("edge".to_owned(), (*fault).to_owned()));
            state.files_refused = faults.collect();
        })
    };
    let text = "what is in a file is refused, a.crt: no PEM";
    let failed = (Kind::CertificateFailed, text);
    check(&of(&[]), &of(&["a.crt: no PEM"]), &[failed]);
    check(&of(&["a.crt: no PEM"]), &of(&["a.crt: no PEM"]), &[]);
    check(&of(&["a.crt: no PEM"]), &of(&[]), &[]);
}

#[test]
fn a_certificate_is_spoken_of_at_each_bound_before_its_end() {
    let end = SystemTime::UNIX_EPOCH + DAY * 100;
    let certificate = CertificateState {
        not_after: end,
        ordered: false,
    };
    let at = |days: u32, hours: u32| {
        with(|state| {
            state.at = Some(end - DAY * days - DAY / 24 * hours);
            state.certificates.insert(key(), certificate);
        })
    };
    check(
        &at(30, 1),
        &at(29, 23),
        &[(Kind::CertificateExpiring, "b1: less than 30 days left")],
    );
    check(&at(29, 1), &at(14, 1), &[]);
    check(
        &at(14, 1),
        &at(2, 1),
        &[(Kind::CertificateExpiring, "b1: less than 3 days left")],
    );
    let expired = with(|state| {
        state.at = Some(end + DAY);
        state.certificates.insert(key(), certificate);
    });
    let over = (Kind::CertificateExpiring, "b1 has expired");
    check(&at(0, 1), &expired, &[over]);
    let renewed = with(|state| {
        state.at = at(2, 1).at;
        let not_after = end + DAY * 90;
        let renewed = CertificateState {
            not_after,
            ordered: true,
        };
        state.certificates.insert(key(), renewed);
    });
    check(&at(2, 1), &renewed, &[(Kind::CertificateRenewed, "b1")]);
}

#[test]
fn rebalancings_ejections_and_hand_overs_are_events() {
    let run = |state: &str| {
        let run = RebalanceState {
            over: state == "done",
            state: state.to_owned(),
            operator: None,
            started: Some("now".to_owned()),
            moved: 4,
            closed: 0,
        };
        with(|state| drop(state.rebalances.insert("chat".to_owned(), run)))
    };
    let none = State::default();
    let began = (Kind::RebalanceBegan, "after a change of members");
    check(&none, &run("running"), &[began]);
    let done = (Kind::RebalanceDone, "done: 4 moved, 0 closed");
    check(&run("running"), &run("done"), &[done]);
    let ejected = with(|state| {
        state.ejected.insert(key());
    });
    check(
        &ejected,
        &none,
        &[(Kind::BackendReturned, "takes sessions again")],
    );
    let taken = with(|state| {
        state.other_process = Some(7);
        state.taken_over = Some(TakeOverState {
            sessions: 5,
            staying: 1,
            from_pid: 7,
        });
    });
    let expected = [
        (Kind::HandoverBegan, "with process 7"),
        (
            Kind::HandoverDone,
            "5 sessions came from process 7, 1 stay there",
        ),
    ];
    check(&none, &taken, &expected);
}
