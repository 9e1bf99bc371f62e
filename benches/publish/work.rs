//! The workloads. Each gets a fresh contestant and a fresh load generator.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sessile::base::clock::now;

use crate::contestant::{Contestant, Running};
use crate::figures::median;
use crate::load::Load;

/// Sessions of a room.
const ROOM: usize = 50;
/// Messages of one second in the row with a fixed rate.
const RATE: usize = 20_000;
/// Batches that clients may be behind with there, before the publisher waits for them.
const BEHIND_MAX: u64 = 4;

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// Sessions that get one message at once, and how often.
    pub(crate) sessions: usize,
    messages: usize,
    rooms: usize,
    /// How often each room gets messages.
    batches: usize,
}

impl Scale {
    /// What is measured.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        sessions: 9_000,
        messages: 20,
        rooms: 40,
        batches: 100,
    };
    /// What shows that the tool works.
    pub(crate) const SMALL: Self = Self {
        rounds: 1,
        sessions: 100,
        messages: 2,
        rooms: 2,
        batches: 2,
    };
}

/// What one trial found.
pub(crate) struct Sample {
    /// CPU time of the contestant for one delivery, in microseconds.
    pub(crate) cost: f64,
    /// In the row's unit.
    pub(crate) pace: f64,
}

/// A workload.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// Of `Sample::pace`.
    pub(crate) unit: &'static str,
    pub(crate) work: fn(Contestant, Scale) -> Result<Sample>,
}

/// All of them.
pub(crate) const ROWS: [Row; 3] = [
    Row {
        title: "one message to all sessions",
        unit: "ms to the last",
        work: to_all,
    },
    Row {
        title: "a message to each room of 50",
        unit: "messages/s",
        work: |contestant, scale| to_rooms(contestant, scale, 1, None),
    },
    Row {
        title: "20,000 messages a second to rooms of 50",
        unit: "messages/s",
        work: |contestant, scale| to_rooms(contestant, scale, 10, Some(RATE)),
    },
];

/// One message to all sessions, again and again.
fn to_all(contestant: Contestant, scale: Scale) -> Result<Sample> {
    let mut trial = Trial::new(contestant, scale.sessions, scale.sessions)?;
    let all = scale.sessions as u64;
    let rooms = ["r0".to_owned()];
    trial.publish(&rooms)?;
    trial.load.wait_for(all)?;
    let (before, mut times) = (trial.running.process.cpu()?, Vec::new());
    for message in 1..=scale.messages as u64 {
        let began = now();
        trial.publish(&rooms)?;
        trial.load.wait_for((message + 1) * all)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let deliveries = scale.messages as f64 * all as f64;
    Ok(Sample {
        cost: micros(trial.running.process.cpu()? - before) / deliveries,
        pace: median(times),
    })
}

/// A batch has `each` messages for each room. The next one follows when the last one has arrived,
/// or at a fixed rate as far as the contestant keeps up with that.
fn to_rooms(
    contestant: Contestant,
    scale: Scale,
    each: usize,
    rate: Option<usize>,
) -> Result<Sample> {
    let mut trial = Trial::new(contestant, scale.rooms * ROOM, ROOM)?;
    let mut rooms = Vec::new();
    for _ in 0..each {
        rooms.extend((0..scale.rooms).map(|room| format!("r{room}")));
    }
    let deliveries = (rooms.len() * ROOM) as u64;
    trial.publish(&rooms)?;
    trial.load.wait_for(deliveries)?;
    let (before, began) = (trial.running.process.cpu()?, now());
    let behind_max = if rate.is_some() { BEHIND_MAX } else { 0 };
    for batch in 1..=scale.batches as u64 {
        if let Some(rate) = rate {
            let due = (batch - 1) as f64 * rooms.len() as f64 / rate as f64;
            while began.elapsed().as_secs_f64() < due {
                trial.load.turn()?;
            }
        }
        trial.publish(&rooms)?;
        let awaited = (batch + 1).saturating_sub(behind_max);
        trial.load.wait_until(awaited * deliveries)?;
    }
    trial
        .load
        .wait_for((scale.batches as u64 + 1) * deliveries)?;
    let messages = (scale.batches * rooms.len()) as f64;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Sample {
        cost: micros(trial.running.process.cpu()? - before) / (messages * ROOM as f64),
        pace: messages / seconds,
    })
}

/// A contestant, its clients, and the publisher.
struct Trial {
    load: Load,
    /// Sessions of a room.
    size: usize,
    publisher: Option<PublisherThread>,
    running: Running,
}

/// A publisher waits for answers while the clients receive.
struct PublisherThread {
    rooms: Sender<Vec<String>>,
    published: Receiver<Result<()>>,
}

impl Trial {
    /// Starts a contestant; `sessions` clients are in rooms of `size`.
    fn new(contestant: Contestant, sessions: usize, size: usize) -> Result<Self> {
        let mut load = Load::new()?;
        let running = contestant.start(load.backend()?)?;
        load.enter(running.clients, sessions, size)?;
        let publisher = running.publisher()?.map(|mut publisher| {
            let (rooms, orders) = channel::<Vec<String>>();
            let (answers, published) = channel();
            thread::spawn(move || {
                for rooms in orders {
                    if answers.send(publisher.publish(&rooms)).is_err() {
                        break;
                    }
                }
            });
            PublisherThread { rooms, published }
        });
        Ok(Self {
            load,
            size,
            publisher,
            running,
        })
    }

    /// Publishes a message to each of the rooms; a backend sends it to all sessions of the room.
    fn publish(&mut self, rooms: &[String]) -> Result<()> {
        let Some(publisher) = &self.publisher else {
            for room in rooms {
                let number: usize = room[1..].parse()?;
                self.load.push(number * self.size, self.size)?;
            }
            return Ok(());
        };
        publisher.rooms.send(rooms.to_vec()).context("it ended")?;
        loop {
            match publisher.published.try_recv() {
                Ok(published) => return published,
                Err(TryRecvError::Empty) => self.load.turn()?,
                Err(TryRecvError::Disconnected) => anyhow::bail!("the publisher ended"),
            }
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
