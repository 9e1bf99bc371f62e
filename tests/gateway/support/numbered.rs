//! Clients by the hundred that send numbered messages to an echo all the time, and count what is
//! lost, comes twice or out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::Client;
use super::time::holds_within;

/// Between two messages of a client.
const BEAT: Duration = Duration::from_millis(1_000);
/// For one thing that an operator does; long, because machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all clients count together.
pub struct Tally {
    phases: &'static [&'static str],
    phase: AtomicUsize,
    /// What each has received.
    heard: Vec<AtomicU64>,
    /// Messages that never came back, by the phase in which that was seen.
    lost: Vec<AtomicU64>,
    stop: AtomicBool,
    /// Bytes behind the number of a message, at most.
    padding_max: usize,
}

/// What one client counted, or all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    index: usize,
    pub sent: u64,
    pub received: u64,
    /// Came twice, or after a later one, or changed.
    pub wrong: u64,
    /// Sessions that somebody else ended.
    pub dropped: u64,
}

impl Tally {
    /// For this many clients, in phases with these names.
    pub fn new(clients: usize, phases: &'static [&'static str], padding_max: usize) -> Arc<Self> {
        Arc::new(Self {
            phases,
            phase: AtomicUsize::new(0),
            heard: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            lost: phases.iter().map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
            padding_max,
        })
    }

    /// Waits until every session has heard something twice, so that what went before is seen.
    pub async fn settle(&self) {
        let before: Vec<_> = self.heard.iter().map(|heard| heard.load(Relaxed)).collect();
        within_patience("every session hears something", async || {
            let now = self.heard.iter().map(|heard| heard.load(Relaxed));
            now.zip(&before).all(|(now, before)| now >= before + 2)
        })
        .await;
    }

    /// Settles, and counts what is lost from now on to this phase.
    pub async fn enter(&self, phase: usize) {
        self.settle().await;
        self.phase.store(phase, Relaxed);
        eprintln!("next: {}", self.phases[phase]);
    }

    /// Lets the clients close, and adds up what they counted: the sum, and what was lost in each
    /// phase.
    pub async fn finish(&self, mut talks: JoinSet<Report>) -> (Report, Vec<u64>) {
        self.stop.store(true, Relaxed);
        let mut sum = Report::default();
        while let Some(report) = talks.join_next().await {
            let report = report.expect("no client panics");
            sum.sent += report.sent;
            sum.received += report.received;
            sum.wrong += report.wrong;
            sum.dropped += report.dropped;
        }
        let lost: Vec<_> = self.lost.iter().map(|lost| lost.load(Relaxed)).collect();
        eprintln!(
            "{} sessions: {} messages sent, {} came back, {} sessions dropped, {} messages wrong",
            self.heard.len(),
            sum.sent,
            sum.received,
            sum.dropped,
            sum.wrong
        );
        for (phase, lost) in self.phases.iter().zip(&lost) {
            eprintln!("{phase:>28}: {lost} lost");
        }
        (sum, lost)
    }

    /// The message with this number.
    fn message(&self, number: u64) -> String {
        let padding = number.wrapping_mul(7919) % (self.padding_max as u64 + 1);
        let padding = usize::try_from(padding).expect("a size");
        format!("{number} {}", "0123456789".repeat(padding / 10))
    }

    fn take(&self, text: &str, next: &mut u64, report: &mut Report) {
        let number = text.split(' ').next().expect("a first part");
        let number: u64 = number.parse().expect("a number comes back");
        report.received += 1;
        self.heard[report.index].fetch_add(1, Relaxed);
        if number < *next || text != self.message(number) {
            report.wrong += 1;
            return;
        }
        self.lost[self.phase.load(Relaxed)].fetch_add(number - *next, Relaxed);
        *next = number + 1;
    }
}

/// Sends a number each beat, compares what comes back, and closes when the tally stops.
pub async fn talk(index: usize, mut client: Client, tally: Arc<Tally>) -> Report {
    let mut report = Report {
        index,
        ..Report::default()
    };
    let mut next = 0;
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                if tally.stop.load(Relaxed) {
                    break;
                }
                let message = Message::text(tally.message(report.sent));
                if client.socket.send(message).await.is_err() {
                    report.dropped = 1;
                    return report;
                }
                report.sent += 1;
            }
            message = client.socket.next() => match message {
                Some(Ok(Message::Text(text))) => tally.take(&text, &mut next, &mut report),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => {
                    report.dropped = 1;
                    return report;
                }
            },
        }
    }
    // What is under way still comes; then the client goes by itself.
    while next < report.sent {
        match timeout(PATIENCE / 4, client.socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => tally.take(&text, &mut next, &mut report),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(_) => {
                report.dropped = 1;
                return report;
            }
            Err(_) => break,
        }
    }
    client.close().await;
    report
}

/// As [`eventually`](super::eventually), for what takes long.
pub async fn within_patience(what: &str, condition: impl AsyncFnMut() -> bool) {
    let holds = holds_within(PATIENCE, condition).await;
    assert!(holds, "not within {PATIENCE:?}: {what}");
}
