//! Used tickets, which are refused a second time, also after a restart (with a state directory) and
//! after a hand-over. They are saved within a second, so that a killed process loses no more than
//! that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::base::clock;
use crate::base::names::AuthenticatorName;
use crate::control::state_dir::StateDir;
use crate::control::state_file::StateFile;
use crate::core::auth::UsedTicket;
use crate::live::Live;

/// Name in the state directory.
const FILE: &str = "tickets";
/// What its first line begins with; the number is the version of the form.
const MARK: &str = "sessile-tickets 1 ";
/// Between two looks at what has been used.
const EVERY: Duration = Duration::from_secs(1);

/// Used tickets of one authenticator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedOf {
    /// Whose tickets.
    pub authenticator: AuthenticatorName,
    /// Some of them, or all.
    pub tickets: Vec<UsedTicket>,
}

/// Keeps them.
#[derive(Debug)]
pub struct Tickets {
    live: Arc<Live>,
    file: Option<StateFile<Vec<UsedOf>>>,
    /// How many had ever been used when they were written last.
    saved: Mutex<u64>,
}

impl Tickets {
    /// Remembers what the process before this one left in the directory. Blocks.
    pub fn open(live: Arc<Live>, state_dir: Option<&Arc<StateDir>>) -> Self {
        let file = state_dir.map(|directory| StateFile::new(directory, FILE, MARK));
        let kept = file.as_ref().map(StateFile::load).transpose();
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "tickets that were used before this start may open once more");
            None
        });
        let tickets = Self {
            live,
            file,
            saved: Mutex::new(0),
        };
        tickets.adopt(&kept.flatten().unwrap_or_default());
        tickets
    }

    /// Remembers tickets that were used at another process.
    pub fn adopt(&self, used: &[UsedOf]) {
        let table = self.live.table();
        for one in used {
            if let Some(authenticator) = table.authenticator(&one.authenticator) {
                authenticator.adopt_used(&one.tickets);
            }
        }
    }

    /// All that are remembered.
    pub fn all(&self) -> Vec<UsedOf> {
        self.look().1
    }

    fn look(&self) -> (u64, Vec<UsedOf>) {
        let (table, now) = (self.live.table(), clock::wall());
        let mut ever = 0;
        let used = table.authenticators().filter_map(|authenticator| {
            let (added, tickets) = authenticator.used_tickets(now);
            ever += added;
            (!tickets.is_empty()).then(|| UsedOf {
                authenticator: authenticator.config.name.clone(),
                tickets,
            })
        });
        let used = used.collect();
        (ever, used)
    }

    /// Writes them whenever more have been used, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            sleep(EVERY).await;
            self.save().await;
        }
    }

    /// Writes them before this process ends, unless another has taken its place and writes now.
    pub async fn leave(&self, given: bool) {
        if !given {
            self.save().await;
        }
    }

    /// Writes them if more have been used since the last time.
    pub async fn save(&self) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let (ever, used) = self.look();
        if ever == *self.saved.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        let saved = tokio::task::spawn_blocking(move || file.save(&used)).await;
        match saved.expect("writing a file does not panic") {
            Ok(()) => *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = ever,
            Err(error) => {
                tracing::error!(%error, "a restart will not know the tickets that were used");
            }
        }
    }
}
