//! What changed between two looks, as events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::app::change_watch::broker::{self, BrokerState, Change};
use crate::base::clock;
use crate::telemetry::events::{Fields, Kind};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Days before its end at which a certificate is spoken of.
const EXPIRING_DAYS: [u32; 6] = [30, 14, 7, 3, 1, 0];

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) at: Option<SystemTime>,
    /// Backends that get no new sessions since traffic failed on them.
    pub(super) ejected: BTreeSet<(String, String)>,
    pub(super) drains: BTreeMap<(String, String), DrainState>,
    pub(super) rebalances: BTreeMap<String, RebalanceState>,
    /// By listener and names.
    pub(super) certificates: BTreeMap<(String, String), CertificateState>,
    /// Files that hold what does not replace a certificate, by listener, and why.
    pub(super) files_refused: BTreeSet<(String, String)>,
    /// Names whose last order failed, and why.
    pub(super) orders_failed: BTreeMap<String, String>,
    /// Why each source is not followed; `None` for one that is.
    pub(super) sources: BTreeMap<String, Option<String>>,
    /// Sources that lag, and why.
    pub(super) lagging: BTreeMap<String, String>,
    /// `None` without a broker.
    pub(super) broker: Option<BrokerState>,
    pub(super) taken_over: Option<TakeOverState>,
    /// The peer of a hand-over.
    pub(super) other_process: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DrainState {
    pub(super) done: bool,
    pub(super) by: String,
    pub(super) operator: Option<String>,
    pub(super) pace: String,
    pub(super) total: usize,
    pub(super) moved: usize,
    pub(super) closed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RebalanceState {
    pub(super) over: bool,
    pub(super) state: String,
    pub(super) operator: Option<String>,
    pub(super) started: Option<String>,
    pub(super) moved: usize,
    pub(super) closed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CertificateState {
    pub(super) not_after: SystemTime,
    /// By ACME.
    pub(super) ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakeOverState {
    pub(super) sessions: usize,
    pub(super) staying: usize,
    pub(super) from_pid: u32,
}

/// What changed.
pub(super) fn changes(before: &State, now: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    returned(before, now, &mut changes);
    drains(before, now, &mut changes);
    rebalances(before, now, &mut changes);
    certificates(before, now, &mut changes);
    sources(before, now, &mut changes);
    changes.extend(broker::change(before.broker.as_ref(), now.broker.as_ref()));
    handover(before, now, &mut changes);
    changes
}

fn returned(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (upstream, backend) in before.ejected.difference(&now.ejected) {
        let fields = Fields::new("takes sessions again").of_backend(upstream, backend);
        changes.push((Kind::BackendReturned, fields));
    }
}

fn drains(before: &State, now: &State, changes: &mut Vec<Change>) {
    let told = |drain: &DrainState| {
        let DrainState {
            moved,
            closed,
            total,
            ..
        } = drain;
        format!("{moved} moved, {closed} closed, of {total} sessions")
    };
    for (key @ (upstream, backend), drain) in &now.drains {
        let known = before.drains.get(key);
        let fields = |text: String| Fields {
            sessions: Some(drain.total as u64),
            reason: Some(drain.by.as_str().into()),
            operator: drain.operator.as_deref().map(Into::into),
            ..Fields::new(text).of_backend(upstream, backend)
        };
        if known.is_none() {
            let by = drain.operator.as_ref().unwrap_or(&drain.by);
            let text = format!("{}, by {by}", drain.pace);
            changes.push((Kind::DrainBegan, fields(text)));
        }
        if drain.done && !known.is_some_and(|known| known.done) {
            changes.push((Kind::DrainDone, fields(told(drain))));
        }
    }
    for (key @ (upstream, backend), drain) in &before.drains {
        if !drain.done && !now.drains.contains_key(key) {
            // Who stopped it is in the event of that order.
            let fields = Fields::new(told(drain)).of_backend(upstream, backend);
            changes.push((Kind::DrainStopped, fields));
        }
    }
}

fn rebalances(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (upstream, run) in &now.rebalances {
        let fields = |text: String| Fields {
            upstream: Some(upstream.as_str().into()),
            operator: run.operator.as_deref().map(Into::into),
            ..Fields::new(text)
        };
        let known = before.rebalances.get(upstream);
        let same = known.filter(|known| known.started == run.started);
        if same.is_none() && run.started.is_some() {
            let why = match &run.operator {
                None => "after a change of members".to_owned(),
                Some(operator) => format!("by {operator}"),
            };
            changes.push((Kind::RebalanceBegan, fields(why)));
        }
        if run.over && run.started.is_some() && !same.is_some_and(|same| same.over) {
            let RebalanceState {
                state,
                moved,
                closed,
                ..
            } = run;
            let text = format!("{state}: {moved} moved, {closed} closed");
            changes.push((Kind::RebalanceDone, fields(text)));
        }
    }
}

fn certificates(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (key @ (listener, names), certificate) in &now.certificates {
        let known = before.certificates.get(key);
        let fields = |text: String| Fields {
            listener: Some(listener.as_str().into()),
            expires: Some(clock::rfc3339(certificate.not_after).into()),
            ..Fields::new(text)
        };
        if known.is_none_or(|known| known.not_after != certificate.not_after) {
            let kind = match certificate.ordered {
                true => Kind::CertificateRenewed,
                false => Kind::CertificateLoaded,
            };
            changes.push((kind, fields(names.clone())));
        }
        let left = |at: Option<SystemTime>| bound(certificate.not_after, at?);
        let bound = left(now.at);
        if let Some(days) = bound.filter(|_| bound != left(before.at)) {
            let text = match days {
                0 => format!("{names} has expired"),
                days => format!("{names}: less than {days} days left"),
            };
            changes.push((Kind::CertificateExpiring, fields(text)));
        }
    }
    for (listener, fault) in now.files_refused.difference(&before.files_refused) {
        let fields = Fields {
            listener: Some(listener.as_str().into()),
            detail: Some(fault.as_str().into()),
            ..Fields::new(format!("what is in a file is refused, {fault}"))
        };
        changes.push((Kind::CertificateFailed, fields));
    }
    for (names, fault) in &now.orders_failed {
        if before.orders_failed.get(names) != Some(fault) {
            let fields = Fields {
                detail: Some(fault.as_str().into()),
                ..Fields::new(format!("{names} could not be ordered: {fault}"))
            };
            changes.push((Kind::CertificateFailed, fields));
        }
    }
}

/// The smallest bound that the time left is below, in days.
fn bound(not_after: SystemTime, at: SystemTime) -> Option<u32> {
    let left = not_after.duration_since(at).unwrap_or(Duration::ZERO);
    let is_over = left.is_zero();
    let below = EXPIRING_DAYS
        .into_iter()
        .filter(|days| left < DAY * *days || is_over);
    below.min()
}

fn sources(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (source, lost) in &now.sources {
        let fields = |text: String| Fields {
            source: Some(source.as_str().into()),
            ..Fields::new(text)
        };
        let known = before.sources.get(source);
        match (known.map(Option::is_some), lost) {
            (None | Some(true), None) => {
                changes.push((
                    Kind::SourceConnected,
                    fields(format!("{source} is followed")),
                ));
            }
            (None | Some(false), Some(fault)) => {
                let text = format!("{source} is not followed: {fault}");
                changes.push((Kind::SourceLost, fields(text)));
            }
            _ => {}
        }
    }
    let fields = |source: &str, text: String| Fields {
        source: Some(source.into()),
        ..Fields::new(text)
    };
    for (source, why) in &now.lagging {
        if !before.lagging.contains_key(source) {
            let text = format!("{source} lags: {why}");
            changes.push((Kind::SourceLagging, fields(source, text)));
        }
    }
    for source in before.lagging.keys() {
        // One that was lost meanwhile has not caught up.
        let followed = now.sources.get(source).is_some_and(Option::is_none);
        if followed && !now.lagging.contains_key(source) {
            let text = format!("{source} is up to date again");
            changes.push((Kind::SourceCaughtUp, fields(source, text)));
        }
    }
}

fn handover(before: &State, now: &State, changes: &mut Vec<Change>) {
    if let Some(pid) = now.other_process
        && now.other_process != before.other_process
    {
        let text = format!("with process {pid}");
        changes.push((Kind::HandoverBegan, Fields::new(text)));
    }
    if let Some(taken) = now.taken_over
        && now.taken_over != before.taken_over
    {
        let TakeOverState {
            sessions,
            staying,
            from_pid,
        } = taken;
        let text =
            format!("{sessions} sessions came from process {from_pid}, {staying} stay there");
        let fields = Fields {
            sessions: Some(sessions as u64),
            ..Fields::new(text)
        };
        changes.push((Kind::HandoverDone, fields));
    }
}

#[cfg(test)]
mod tests {
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
}
