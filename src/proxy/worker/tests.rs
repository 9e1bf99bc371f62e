//! A hundred thousand sessions on one worker: whatever is asked or ordered of all of them, no turn
//! of the worker looks at more sessions than a slice has. The tests count sessions. With
//! `cargo test --release --lib proxy::worker::tests -- --nocapture --test-threads 1` they print for
//! each kind of turn how many there were, the most sessions that one looked at, the median and the
//! longest in milliseconds.

mod crowd;
mod publishing;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

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
    Slice, SortKey, WorkerCommand,
};
use crate::proxy::tests::session::Ends;
use crate::proxy::worker::shutdown::Closing;
use crate::proxy::worker::tests::crowd::{CROWD, Crowd, WITH_SOCKETS, measured};
use crate::proxy::worker::turn::turn;

const SORTS: [(&str, SortKey); 10] = [
    ("sort by age", SortKey::Age),
    ("sort by idle time", SortKey::Idle),
    ("sort by the client's idle time", SortKey::IdleClient),
    ("sort by the backend's idle time", SortKey::IdleBackend),
    ("sort by bytes", SortKey::Bytes),
    ("sort by messages", SortKey::Messages),
    ("sort by round trip", SortKey::RoundTrip),
    ("sort by bytes in flight", SortKey::InFlight),
    ("sort by expiry", SortKey::Expires),
    ("sort by moves", SortKey::Moves),
];

fn found<T>(answers: &[Vec<T>]) -> usize {
    answers.iter().map(Vec::len).sum()
}

#[test]
fn no_turn_looks_at_more_than_a_slice_of_a_hundred_thousand_sessions() {
    measured(async |fixture, times| {
        let mut crowd = Crowd::of_its_own(fixture, times).await;
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
        for (name, sort) in SORTS {
            let query = Arc::new(everything.clone());
            let samples: Vec<Vec<SessionSample>> = crowd.walk(name, |slice, answer| {
                WorkerCommand::Look(LookCommand::Samples {
                    query: Arc::clone(&query),
                    sort,
                    slice,
                    answer,
                })
            });
            assert_eq!(found(&samples), CROWD);
        }
        let ids: Arc<[_]> = crowd.sessions.ids().into_iter().take(1_000).collect();
        let views = crowd.carry_out("show", |answer| {
            WorkerCommand::Look(LookCommand::Views { ids, answer })
        });
        assert_eq!(views.len(), SLICE_MAX);
    });
}

/// What sockets hold is asked of the system.
#[test]
fn sessions_with_sockets_are_listed_and_sorted_slice_by_slice() {
    measured(async |fixture, times| {
        let mut crowd = Crowd::new(fixture, times).await;
        let listed = crowd.walk("list, with sockets", |slice, answer| {
            WorkerCommand::Sessions {
                query: SessionQuery::default(),
                limit: 1_000,
                slice,
                answer,
            }
        });
        assert_eq!(found(&listed), CROWD);
        let query = Arc::new(SessionQuery::default());
        let samples = crowd.walk("sort by bytes in flight, with sockets", |slice, answer| {
            WorkerCommand::Look(LookCommand::Samples {
                query: Arc::clone(&query),
                sort: SortKey::InFlight,
                slice,
                answer,
            })
        });
        assert_eq!(found(&samples), CROWD);
    });
}

#[test]
fn metrics_plans_and_the_clock_look_at_a_slice_of_a_hundred_thousand_sessions_in_one_turn() {
    measured(async |fixture, times| {
        let mut crowd = Crowd::of_its_own(fixture, times).await;
        let gathered = crowd.walk("scrape of metrics", |slice, answer| WorkerCommand::Gather {
            slice,
            answer,
        });
        assert_eq!(gathered.len(), CROWD.div_ceil(SLICE_MAX));
        let briefs = crowd.walk("top, rebalance, preview", |slice, answer| {
            WorkerCommand::Briefs {
                query: SessionQuery::default(),
                slice,
                answer,
            }
        });
        assert_eq!(found(&briefs), CROWD);
        let until = u64::MAX;
        let rights = crowd.walk("rights that expire", |slice, answer| {
            let rights = LookCommand::Rights {
                until,
                slice,
                answer,
            };
            WorkerCommand::Look(rights)
        });
        assert_eq!(rights.len(), CROWD.div_ceil(SLICE_MAX));
        fixture.pass(600);
        let mut more = crowd.turn("sessions due at once", |sessions| turn(sessions));
        while more {
            let now = fixture.worker.tick();
            more = crowd.turn("sessions due at once", |sessions| sessions.expire(now));
        }
    });
}

#[test]
fn no_order_to_a_hundred_thousand_sessions_reaches_more_than_a_slice_in_one_turn() {
    measured(async |fixture, times| {
        let mut crowd = Crowd::new(fixture, times).await;
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
    });
}

/// Sessions that were held stay with this process, and are walked over again to go on.
#[test]
fn a_hand_over_looks_at_a_slice_in_one_turn_whether_sessions_can_go_or_stay() {
    measured(async |fixture, times| {
        let mut crowd = Crowd::new(fixture, times).await;
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
    });
}

#[test]
fn a_shutdown_surveys_and_closes_a_slice_in_one_turn() {
    measured(async |fixture, times| {
        let mut crowd = Crowd::new(fixture, times).await;
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
            if crowd.ends.iter().all(Ends::closing) {
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
    });
}
