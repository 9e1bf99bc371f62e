//! `[events]`.

use std::time::Duration;

use crate::config::model::{self, Size};
use crate::config::snapshot::{EventFiles, Events};
use crate::config::validate::scope::Scope;

/// Events of one class in memory.
const EVENTS_MAX: usize = 1_000_000;
const MEMORY: [u64; 2] = [1 << 20, 4 << 30];
const DISK: [u64; 2] = [8 << 20, 8 << 30];
const AGE: [Duration; 2] = [
    Duration::from_secs(60),
    Duration::from_secs(366 * 24 * 60 * 60),
];

/// `state_dir` is whether there is a directory for files.
pub(super) fn events(at: &Scope<'_>, model: &model::Events, state_dir: bool) -> Option<Events> {
    let number = |key: &str, value| at.key(key).within(value, 0..=EVENTS_MAX);
    let sessions = number("sessions", model.sessions);
    let refusals = number("refusals", model.refusals);
    let changes = number("changes", model.changes);
    let size = |key: &str, value: Size, [min, max]: [u64; 2]| {
        at.key(key).within(value, Size(min)..=Size(max))
    };
    let memory = size("memory", model.memory, MEMORY);
    let disk = size("disk", model.disk, DISK);
    let [min, max] = AGE;
    let age = at.key("age").interval(model.age, min, max);
    if model.persist && !state_dir && !at.key("persist").is_explained() {
        at.key("persist").fault_with(
            "there is no directory to write events to",
            "add `state_dir = \"/var/lib/sessile\"` to [node]",
        );
    }
    let files = EventFiles {
        bytes: disk?.0,
        age: age?,
    };
    Some(Events {
        sessions: sessions?,
        refusals: refusals?,
        changes: changes?,
        memory: usize::try_from(memory?.0).expect("it is bounded"),
        files: model.persist.then_some(files),
    })
}
