//! A hundred thousand sessions on one worker: whatever is asked or ordered of all of them, no turn
//! of the worker looks at more sessions than a slice has. The tests count sessions; `cargo test
//! --release --lib proxy::worker::tests -- --nocapture` also prints how long the turns took.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::config::snapshot::Tempo;
use crate::core::relay::Side;
use crate::core::session::drain::Profile;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::Cause;
use crate::core::session::resume::ResumeReason;
use crate::io::handover::STATE_DETAILS;
use crate::live::{
    LookCommand, MoreFilters, OperatorCommand, Renewal, SLICE_MAX, SessionQuery, SessionSample,
    Slice, Sliced, SortKey, WorkerCommand,
};
use crate::proxy::session::registry::Sessions;
use crate::proxy::tests::session::{self, Ends, ROUTES};
use crate::proxy::tests::{Fixture, run};
use crate::proxy::worker::commands::carry_out;
use crate::proxy::worker::shutdown::Closing;

/// Sessions on the worker.
const CROWD: usize = 100_000;
/// Sessions with sockets; the others are the same ones under other ids, since the system has no
/// descriptors for all.
const WITH_SOCKETS: usize = 250;

/// A worker with many sessions, and the longest turn of each kind.
struct Crowd {
    sessions: Rc<Sessions>,
    longest: BTreeMap<&'static str, Duration>,
    _ends: Vec<Ends>,
}

impl Crowd {
    async fn new(fixture: &Fixture) -> Self {
        let sessions = fixture.sessions();
        let mut ends = Vec::new();
        for _ in 0..WITH_SOCKETS {
            let (mut granted, backend) = session::granted(&sessions, 0);
            granted.key = Some(b"lobby".as_slice().into());
            ends.push(session::begin(&sessions, (granted, backend)).await);
        }
        for number in 0..CROWD - WITH_SOCKETS {
            let one = &ends[number % WITH_SOCKETS].session;
            sessions.insert_as(SessionId::new(number as u64, 1), Rc::clone(one));
        }
        assert_eq!(sessions.len(), CROWD);
        Self {
            sessions,
            longest: BTreeMap::new(),
            _ends: ends,
        }
    }

    /// One turn of the worker.
    #[track_caller]
    fn turn<A>(&mut self, kind: &'static str, turn: impl FnOnce(&Rc<Sessions>) -> A) -> A {
        self.sessions.take_looked();
        let began = clock::now();
        let answer = turn(&self.sessions);
        let took = clock::now().duration_since(began);
        let looked = self.sessions.take_looked();
        assert!(looked <= SLICE_MAX, "{kind}: {looked} sessions in one turn");
        let longest = self.longest.entry(kind).or_default();
        *longest = took.max(*longest);
        answer
    }

    /// The turn in which the worker carries out a command.
    #[track_caller]
    fn carry_out<A>(
        &mut self,
        kind: &'static str,
        command: impl FnOnce(oneshot::Sender<A>) -> WorkerCommand,
    ) -> A {
        let (sender, mut answer) = oneshot::channel();
        self.turn(kind, |sessions| carry_out(sessions, command(sender)));
        answer.try_recv().expect("it is answered in its turn")
    }

    /// A walk over all sessions, as the control plane makes it.
    #[track_caller]
    fn walk<A>(
        &mut self,
        kind: &'static str,
        command: impl Fn(Slice, oneshot::Sender<Sliced<A>>) -> WorkerCommand,
    ) -> Vec<A> {
        let (mut answers, mut slice) = (Vec::new(), Slice::first(None));
        loop {
            let sliced = self.carry_out(kind, |answer| command(slice, answer));
            answers.push(sliced.answer);
            slice.after = sliced.next;
            if slice.after.is_none() {
                return answers;
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "a measurement, for who asks for it")]
    fn print(&self) {
        for (kind, longest) in &self.longest {
            println!("{kind:<24} {:>8.3} ms", longest.as_secs_f64() * 1000.0);
        }
    }
}

fn found<T>(answers: &[Vec<T>]) -> usize {
    answers.iter().map(Vec::len).sum()
}

#[test]
fn no_turn_looks_at_more_than_a_slice_of_a_hundred_thousand_sessions() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let mut crowd = Crowd::new(&fixture).await;
        let everything = SessionQuery::default();
        let list = |query: &SessionQuery, limit| {
            let query = query.clone();
            move |slice, answer| WorkerCommand::Sessions {
                query: query.clone(),
                limit,
                slice,
                answer,
            }
        };
        let listed = crowd.walk("list", list(&everything, 1_000));
        assert_eq!(found(&listed), CROWD);
        let nobody = SessionQuery {
            principal: Some("nobody".to_owned()),
            more: Some(Box::new(MoreFilters {
                bytes_min: Some(1),
                lost: true,
                ..MoreFilters::default()
            })),
            ..SessionQuery::default()
        };
        assert_eq!(found(&crowd.walk("search", list(&nobody, 1_000))), 0);
        for sort in [SortKey::Bytes, SortKey::InFlight, SortKey::Expires] {
            let query = Arc::new(everything.clone());
            let samples: Vec<Vec<SessionSample>> = crowd.walk("sort", |slice, answer| {
                WorkerCommand::Look(LookCommand::Samples {
                    query: Arc::clone(&query),
                    sort,
                    slice,
                    answer,
                })
            });
            assert_eq!(found(&samples), CROWD);
        }
        let ids: Arc<[_]> = (0..1_000).map(|number| SessionId::new(number, 1)).collect();
        let views = crowd.carry_out("show", |answer| {
            WorkerCommand::Look(LookCommand::Views { ids, answer })
        });
        assert_eq!(views.len(), SLICE_MAX);
        let gathered = crowd.walk("scrape of metrics", |slice, answer| WorkerCommand::Gather {
            slice,
            answer,
        });
        assert_eq!(gathered.len(), CROWD.div_ceil(SLICE_MAX));
        let briefs = crowd.walk("top, rebalance, preview", |slice, answer| {
            WorkerCommand::Briefs {
                query: everything.clone(),
                slice,
                answer,
            }
        });
        assert_eq!(found(&briefs), CROWD);
        crowd.print();
    });
}

#[test]
fn no_order_to_a_hundred_thousand_sessions_reaches_more_than_a_slice_in_one_turn() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let mut crowd = Crowd::new(&fixture).await;
        let everything = SessionQuery::default();
        let sent = crowd.walk("send", |slice, answer| {
            WorkerCommand::Operate(OperatorCommand::Send {
                query: everything.clone(),
                message: crate::base::message::Message::Text("maintenance at 5".into()),
                to: Side::Client,
                slice,
                answer,
            })
        });
        let sent: usize = sent.iter().map(|one| one.delivered + one.busy).sum();
        assert_eq!(sent, CROWD);
        let renewed = crowd.walk("renew", |slice, answer| WorkerCommand::Renew {
            query: everything.clone(),
            renewal: Renewal::Until(None),
            slice,
            answer,
        });
        assert_eq!(renewed.iter().sum::<usize>(), CROWD);
        let revoked = crowd.walk("revoke", |slice, answer| WorkerCommand::Revoke {
            slice,
            answer,
        });
        assert_eq!(revoked.iter().sum::<usize>(), 0);
        let ids: Arc<[_]> = (0..SLICE_MAX as u64)
            .map(|n| SessionId::new(n, 1))
            .collect();
        let left = crowd.carry_out("leave", |answer| WorkerCommand::Leave {
            ids,
            order: LeaveOrder {
                code: 1012,
                reason: "drained".into(),
                cause: Cause::Drained,
                resume: ResumeReason::Draining,
                operator: None,
            },
            answer,
        });
        let closed = crowd.walk("close", |slice, answer| WorkerCommand::Close {
            query: everything.clone(),
            order: CloseOrder {
                code: 1008,
                reason: "kicked".into(),
                cause: Cause::Kicked,
            },
            given: None,
            slice,
            answer,
        });
        // They cannot move, so the order before has closed each of them once.
        assert_eq!(left.closing, WITH_SOCKETS);
        assert_eq!(closed.iter().sum::<usize>(), 0);
        crowd.print();
    });
}

/// Sessions that were held stay with this process, and are walked over again to go on.
#[test]
fn a_hand_over_looks_at_a_slice_in_one_turn_whether_sessions_can_go_or_stay() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let mut crowd = Crowd::new(&fixture).await;
        let (mut after, mut packed, mut staying) = (None, 0, 0);
        loop {
            let batch = crowd.carry_out("hand-over", |answer| WorkerCommand::Pack {
                after,
                limit: SLICE_MAX,
                reads: STATE_DETAILS,
                answer,
            });
            packed += batch.transfers.len();
            staying += batch.staying.total();
            after = batch.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((packed, packed + staying), (WITH_SOCKETS, CROWD));
        let taken = Vec::new();
        crowd.carry_out("release", |answer| WorkerCommand::Release { taken, answer });
        let resumed = crowd.walk("go on", |slice, answer| WorkerCommand::Resume {
            slice,
            answer,
        });
        assert_eq!(resumed.len(), CROWD.div_ceil(SLICE_MAX));
        crowd.print();
    });
}

#[test]
fn a_shutdown_surveys_and_closes_a_slice_in_one_turn() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let mut crowd = Crowd::new(&fixture).await;
        let mut closing = Closing::new(Profile {
            tempo: Tempo::Within(Duration::ZERO),
            jitter: 0.0,
            deadline: None,
        });
        // All are due at once.
        let mut passed = Duration::ZERO;
        loop {
            crowd.turn("shutdown", |sessions| closing.step(sessions, passed));
            passed += Duration::from_millis(10);
            while closing.has_slice() {
                crowd.turn("shutdown", |sessions| closing.slice(sessions));
            }
            if let Some(planned) = closing.planned().await {
                closing.set_plan(planned);
                continue;
            }
            if crowd._ends.iter().all(Ends::closing) {
                break;
            }
        }
        let (mut cut, mut slice) = (0, Slice::first(None));
        loop {
            let sliced = crowd.turn("cut", |sessions| sessions.cut(slice));
            cut += sliced.answer;
            slice.after = sliced.next;
            if slice.after.is_none() {
                break;
            }
            yield_now().await;
        }
        assert!(cut >= CROWD - WITH_SOCKETS, "{cut}");
        crowd.print();
    });
}
