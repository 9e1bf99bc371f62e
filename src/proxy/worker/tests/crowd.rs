//! A worker with a hundred thousand sessions, and how long its turns take.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::messages::index::GroupBounds;
use crate::live::{MessagesSetup, SLICE_MAX, Slice, Sliced, WorkerCommand};
use crate::proxy::session::registry::Sessions;
use crate::proxy::tests::session::{self, Ends, ROUTES};
use crate::proxy::tests::{Fixture, run};
use crate::proxy::worker::commands::carry_out;
use crate::telemetry::metrics::MessageMetrics;

/// Sessions on the worker.
pub(super) const CROWD: usize = 100_000;
/// Sessions with sockets.
pub(super) const WITH_SOCKETS: usize = 250;
/// How often a test is run where the times count.
const ROUNDS: usize = if cfg!(debug_assertions) { 1 } else { 5 };

/// How long each turn took. Of a turn that comes in each round the shortest time counts, so that
/// what else the machine did is not in it.
#[derive(Default)]
pub(super) struct Times(BTreeMap<&'static str, Kind>);

/// The turns of a kind.
#[derive(Default)]
struct Kind {
    turns: Vec<Duration>,
    /// The turn of this round that comes next.
    place: usize,
    /// The most sessions that one of them looked at.
    sessions: usize,
}

impl Times {
    #[expect(clippy::print_stdout, reason = "the figures are for the terminal")]
    fn print(&self) {
        for (name, kind) in &self.0 {
            let mut turns = kind.turns.clone();
            turns.sort_unstable();
            let millis = |turn: Duration| turn.as_secs_f64() * 1e3;
            let (median, longest) = (turns[turns.len() / 2], turns[turns.len() - 1]);
            println!(
                "| {name} | {} | {} | {:.3} | {:.3} |",
                turns.len(),
                kind.sessions,
                millis(median),
                millis(longest)
            );
        }
    }

    /// One turn of a worker.
    #[track_caller]
    pub(super) fn turn<A>(
        &mut self,
        name: &'static str,
        sessions: &Rc<Sessions>,
        turn: impl FnOnce(&Rc<Sessions>) -> A,
    ) -> A {
        sessions.take_looked();
        let began = clock::now();
        let answer = turn(sessions);
        let took = clock::now().duration_since(began);
        let looked = sessions.take_looked();
        assert!(looked <= SLICE_MAX, "{name}: {looked} sessions in one turn");
        let kind = self.0.entry(name).or_default();
        match kind.turns.get_mut(kind.place) {
            Some(shortest) => *shortest = took.min(*shortest),
            None => kind.turns.push(took),
        }
        kind.place += 1;
        kind.sessions = kind.sessions.max(looked);
        answer
    }
}

/// Runs a test, with published messages, as often as its times need it.
pub(super) fn measured(test: impl AsyncFn(&Fixture, &mut Times)) {
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        times.0.values_mut().for_each(|kind| kind.place = 0);
        let fixture = Fixture::new(ROUTES);
        let metrics = &fixture.worker.shared.metrics;
        fixture.worker.live().set_messages(MessagesSetup {
            prefix: "".into(),
            bounds: GroupBounds {
                per_session: 8,
                per_worker: CROWD,
            },
            interest: None,
            replays: None,
            presence: Arc::default(),
            refused: MessageMetrics::new(metrics).memberships_refused(),
        });
        run(test(&fixture, &mut times));
    }
    times.print();
}

/// A worker with many sessions.
pub(super) struct Crowd<'t> {
    pub(super) sessions: Rc<Sessions>,
    times: &'t mut Times,
    pub(super) ends: Vec<Ends>,
}

impl<'t> Crowd<'t> {
    /// Some have sockets; the others are the same ones under other ids, since the system has no
    /// descriptors for all.
    pub(super) async fn new(fixture: &Fixture, times: &'t mut Times) -> Self {
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
            times,
            ends,
        }
    }

    /// Where the times count each session is one of its own, without sockets: their memory is more
    /// than a processor's caches hold. It takes too long otherwise.
    pub(super) async fn of_its_own(fixture: &Fixture, times: &'t mut Times) -> Self {
        if cfg!(debug_assertions) {
            return Self::new(fixture, times).await;
        }
        let sessions = fixture.sessions();
        for _ in 0..CROWD {
            session::without_sockets(&sessions, |granted| {
                granted.key = Some(b"lobby".as_slice().into());
                granted.setup.times.idle = Some(600);
            });
        }
        session::settle().await;
        Self {
            sessions,
            times,
            ends: Vec::new(),
        }
    }

    /// How many of them are no others under another id.
    pub(super) fn distinct(&self) -> usize {
        match self.ends.is_empty() {
            true => CROWD,
            false => self.ends.len(),
        }
    }

    /// One turn of the worker.
    #[track_caller]
    pub(super) fn turn<A>(
        &mut self,
        name: &'static str,
        turn: impl FnOnce(&Rc<Sessions>) -> A,
    ) -> A {
        self.times.turn(name, &self.sessions, turn)
    }

    /// The turn in which the worker carries out a command.
    #[track_caller]
    pub(super) fn carry_out<A>(
        &mut self,
        name: &'static str,
        command: impl FnOnce(oneshot::Sender<A>) -> WorkerCommand,
    ) -> A {
        let (sender, mut answer) = oneshot::channel();
        self.turn(name, |sessions| carry_out(sessions, command(sender)));
        answer.try_recv().expect("it is answered in its turn")
    }

    /// A walk over all sessions, as the control plane makes it.
    #[track_caller]
    pub(super) fn walk<A>(
        &mut self,
        name: &'static str,
        command: impl Fn(Slice, oneshot::Sender<Sliced<A>>) -> WorkerCommand,
    ) -> Vec<A> {
        let (mut answers, mut slice) = (Vec::new(), Slice::first(None));
        loop {
            let sliced = self.carry_out(name, |answer| command(slice, answer));
            answers.push(sliced.answer);
            slice.after = sliced.next;
            if slice.after.is_none() {
                return answers;
            }
        }
    }
}
