//! The workloads. Each gets a fresh contestant and a fresh load generator, and gives what one unit
//! of its work cost the contestant.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustls::ClientConfig;
use sessile::base::clock::now;

use crate::contestant::{Contestant, Identity, Running};
use crate::engine::{Engine, Event, Kind};
use crate::stream::Tls;

const KIB: usize = 1024;
/// Handshakes under way at once while sessions are opened.
const OPENING_MAX: usize = 64;
/// How long an expected event may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One line of the tables.
pub(crate) struct Row {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// As in the tables.
    pub(crate) title: &'static str,
    /// What the numbers count.
    pub(crate) unit: Unit,
    /// Whether clients speak TLS.
    pub(crate) tls: bool,
    /// Whether they resume earlier TLS sessions.
    resumes: bool,
    /// Whether the certificate has an RSA key.
    pub(crate) rsa: bool,
    size: usize,
    work: fn(&mut Trial) -> Result<Sample>,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// CPU time of the contestant for one piece of work.
    Micros,
    /// Its user memory for one session.
    Bytes,
}

/// What one trial found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// In the row's unit.
    pub(crate) cost: f64,
    /// Pieces of work per second, or sessions held.
    pub(crate) work: f64,
}

/// How long, how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// The measured time of a CPU row.
    pub(crate) window: Duration,
    /// Sessions of a memory row.
    pub(crate) idle: usize,
    /// Sessions of a memory row with TLS.
    pub(crate) idle_tls: usize,
    /// How long memory must not fall before it counts.
    pub(crate) settle: Duration,
}

/// All rows, in the order of the tables.
pub(crate) const ROWS: [Row; 15] = [
    row(
        "echo",
        "echo of 64 B on 64 sessions, per round trip",
        64,
        |t| t.echo(64, 1),
    ),
    row("paced", "the same at a fixed 5,000 per second", 64, |t| {
        t.paced(64, 5_000)
    }),
    row(
        "flight",
        "16 messages in flight on each, per round trip",
        64,
        |t| t.echo(64, 16),
    ),
    row(
        "push",
        "push of 256 B to 1,000 sessions, per frame",
        256,
        |t| t.push(1_000),
    ),
    row(
        "large",
        "echo of 1 MiB on 8 sessions, per message",
        KIB * KIB,
        |t| t.echo(8, 1),
    ),
    row("setup", "connect, upgrade, one echo, close", 64, |t| {
        t.setup(32, Kind::Echo)
    }),
    row("http", "plain GET on 64 kept connections", 64, |t| {
        t.plain(64)
    }),
    Row {
        unit: Unit::Bytes,
        ..row("idle", "an idle session", 64, Trial::idle)
    },
    tls(row("tls-echo", "echo over TLS", 64, |t| t.echo(64, 1))),
    tls(row(
        "tls-setup",
        "connect, TLS handshake, upgrade, echo, close",
        64,
        |t| t.setup(32, Kind::Echo),
    )),
    tls(Row {
        resumes: true,
        ..row(
            "tls-resume",
            "connect, resumed TLS handshake, upgrade, echo, close",
            64,
            |t| t.setup(32, Kind::Echo),
        )
    }),
    tls(HANDSHAKE),
    tls(Row {
        name: "tls-hand-resume",
        title: "connect, resumed TLS handshake, close",
        resumes: true,
        ..HANDSHAKE
    }),
    tls(Row {
        name: "tls-hand-rsa",
        title: "connect, TLS handshake with an RSA-2048 certificate, close",
        rsa: true,
        ..HANDSHAKE
    }),
    tls(Row {
        unit: Unit::Bytes,
        ..row("tls-idle", "an idle TLS session", 64, Trial::idle)
    }),
];

/// Nothing but a handshake: no request, and no backend.
const HANDSHAKE: Row = row("tls-hand", "connect, TLS handshake, close", 64, |t| {
    t.setup(32, Kind::Handshake)
});

const fn row(
    name: &'static str,
    title: &'static str,
    size: usize,
    work: fn(&mut Trial) -> Result<Sample>,
) -> Row {
    Row {
        name,
        title,
        unit: Unit::Micros,
        tls: false,
        resumes: false,
        rsa: false,
        size,
        work,
    }
}

const fn tls(row: Row) -> Row {
    Row { tls: true, ..row }
}

impl Row {
    /// Starts the contestant, lets it work, stops it.
    pub(crate) fn run(
        &self,
        contestant: Contestant,
        identity: &Identity,
        tls: &Tls,
        scale: Scale,
    ) -> Result<Sample> {
        let engine = Engine::new(self.size)?;
        let running = contestant.start(engine.backends()?, identity)?;
        let config = if self.resumes {
            &tls.resumed
        } else {
            &tls.full
        };
        let mut trial = Trial {
            to: if self.tls { running.tls } else { running.plain },
            tls: self.tls.then(|| Arc::clone(config)),
            resumes: self.resumes,
            engine,
            running,
            scale,
        };
        trial.open(1, Kind::Echo)?;
        (self.work)(&mut trial)
    }
}

/// A contestant, the load generator, and the way between them.
struct Trial {
    engine: Engine,
    running: Running,
    to: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    resumes: bool,
    scale: Scale,
}

impl Trial {
    fn connect(&mut self, kind: Kind) -> Result<usize> {
        self.engine.connect(self.to, self.tls.as_ref(), kind)
    }

    /// Opens sessions; every one has echoed a message, or is ready for a push.
    fn open(&mut self, count: usize, kind: Kind) -> Result<Vec<usize>> {
        let mut ready = Vec::with_capacity(count);
        let mut started = 0;
        let deadline = now() + PATIENCE;
        while ready.len() < count {
            while started < count && started - ready.len() < OPENING_MAX {
                self.connect(kind)?;
                started += 1;
            }
            for event in self.engine.poll(Duration::from_millis(100))? {
                match event {
                    Event::Open(place) if kind == Kind::Echo => self.engine.send(place, 1)?,
                    Event::Open(place) | Event::Answer(place) => ready.push(place),
                    Event::Closed(_) => bail!("a session closed while others opened"),
                }
            }
            ensure!(
                now() < deadline,
                "{} of {count} sessions opened",
                ready.len()
            );
        }
        Ok(ready)
    }

    /// Calls `step` for every event, first to warm up, then for the measured time; it returns
    /// how much work was done.
    fn measure(&mut self, mut step: impl FnMut(&mut Self, Event) -> Result<u64>) -> Result<Sample> {
        let idle = |_: &mut Self, _: Instant| Ok(Duration::from_millis(100));
        self.measure_timed(idle, &mut step)
    }

    /// The same with `tick` before every wait, which returns how long to wait at most.
    fn measure_timed(
        &mut self,
        mut tick: impl FnMut(&mut Self, Instant) -> Result<Duration>,
        mut step: impl FnMut(&mut Self, Event) -> Result<u64>,
    ) -> Result<Sample> {
        let mut phase = |trial: &mut Self, length: Duration| {
            let (cpu, start, mut work) = (trial.running.process.cpu()?, now(), 0);
            let mut moved = start;
            loop {
                let time = now();
                if time >= start + length {
                    break;
                }
                let wait = tick(trial, time)?;
                for event in trial.engine.poll(wait)? {
                    work += step(trial, event)?;
                    moved = time;
                }
                ensure!(time < moved + PATIENCE, "nothing happens any more");
            }
            let (seconds, cpu) = (
                start.elapsed().as_secs_f64(),
                trial.running.process.cpu()? - cpu,
            );
            Ok(Sample {
                cost: cpu.as_secs_f64() * 1e6 / work as f64,
                work: work as f64 / seconds,
            })
        };
        phase(self, self.scale.window / 3)?;
        let sample = phase(self, self.scale.window)?;
        ensure!(sample.work > 0.0, "no work was done");
        Ok(sample)
    }

    fn echo(&mut self, sessions: usize, depth: u32) -> Result<Sample> {
        for place in self.open(sessions, Kind::Echo)? {
            self.engine.send(place, depth)?;
        }
        self.measure(|trial, event| {
            let Event::Answer(place) = event else {
                bail!("unexpected {event:?}");
            };
            if trial.engine.is_answered(place) {
                trial.engine.send(place, depth)?;
            }
            Ok(1)
        })
    }

    fn paced(&mut self, sessions: usize, per_second: u32) -> Result<Sample> {
        let places = self.open(sessions, Kind::Echo)?;
        let mut places = places.iter().cycle();
        let gap = Duration::from_secs(1) / per_second;
        let mut due = now();
        let tick = |trial: &mut Self, time| {
            while due <= time {
                trial
                    .engine
                    .send(*places.next().expect("some sessions"), 1)?;
                due += gap;
            }
            Ok(due - time)
        };
        let sample = self.measure_timed(tick, |_, _| Ok(1))?;
        let rate = sample.work / f64::from(per_second);
        ensure!(
            (0.9..1.1).contains(&rate),
            "the pace was not kept: {rate:.2} of it"
        );
        Ok(sample)
    }

    fn push(&mut self, sessions: usize) -> Result<Sample> {
        // The session that was there first echoes, and is left alone.
        let other = self.engine.backend_sessions();
        self.open(sessions, Kind::Push)?;
        let mut pushers = self.engine.backend_sessions();
        pushers.retain(|place| !other.contains(place));
        let push = |trial: &mut Self| {
            pushers
                .iter()
                .try_for_each(|place| trial.engine.send(*place, 1))
        };
        push(self)?;
        let mut missing = sessions;
        self.measure(|trial, _| {
            missing -= 1;
            if missing == 0 {
                push(trial)?;
                missing = sessions;
            }
            Ok(1)
        })
    }

    fn setup(&mut self, at_once: usize, kind: Kind) -> Result<Sample> {
        for _ in 0..at_once {
            self.connect(kind)?;
        }
        let (mut opened, mut resumed) = (0, 0);
        let sample = self.measure(|trial, event| {
            match event {
                Event::Open(place) => {
                    opened += 1;
                    resumed += usize::from(trial.engine.is_resumed(place));
                    if kind == Kind::Echo {
                        trial.engine.send(place, 1)?;
                    }
                }
                Event::Answer(place) => trial.engine.close(place)?,
                Event::Closed(_) => drop(trial.connect(kind)?),
            }
            Ok(u64::from(matches!(event, Event::Closed(_))))
        })?;
        // The first ones have no ticket yet.
        let as_wanted = match self.resumes {
            true => resumed + 2 * at_once >= opened,
            false => resumed == 0,
        };
        ensure!(as_wanted, "{resumed} of {opened} handshakes resumed");
        Ok(sample)
    }

    fn plain(&mut self, connections: usize) -> Result<Sample> {
        for _ in 0..connections {
            self.connect(Kind::Plain)?;
        }
        self.measure(|trial, event| {
            let Event::Answer(place) = event else {
                bail!("unexpected {event:?}");
            };
            trial.engine.send(place, 1)?;
            Ok(1)
        })
    }

    fn idle(&mut self) -> Result<Sample> {
        let sessions = if self.tls.is_some() {
            self.scale.idle_tls
        } else {
            self.scale.idle
        };
        // What only the first sessions cost is not the price of one more.
        self.open(OPENING_MAX, Kind::Echo)?;
        let before = self.settled_memory()?;
        let places = self.open(sessions, Kind::Echo)?;
        let after = self.settled_memory()?;
        self.all_answer(&places)?;
        Ok(Sample {
            cost: after.saturating_sub(before) as f64 / sessions as f64,
            work: sessions as f64,
        })
    }

    /// The contestant's memory once it has stopped falling: allocators give back late.
    fn settled_memory(&mut self) -> Result<u64> {
        let mut lowest = self.running.process.memory()?;
        let mut since = now();
        while since.elapsed() < self.scale.settle {
            sleep(Duration::from_millis(50));
            self.engine.poll(Duration::ZERO)?;
            let memory = self.running.process.memory()?;
            if memory < lowest - lowest / 200 {
                since = now();
            }
            lowest = lowest.min(memory);
        }
        Ok(lowest)
    }

    /// Every session is alive: each echoes once more.
    fn all_answer(&mut self, places: &[usize]) -> Result<()> {
        for some in places.chunks(OPENING_MAX) {
            for place in some {
                self.engine.send(*place, 1)?;
            }
            let mut missing = some.len();
            let deadline = now() + PATIENCE;
            while missing > 0 {
                missing -= self.engine.poll(Duration::from_millis(100))?.len();
                ensure!(now() < deadline, "{missing} sessions do not answer");
            }
        }
        Ok(())
    }
}
