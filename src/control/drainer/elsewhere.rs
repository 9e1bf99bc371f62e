//! Sessions that a hand-over keeps out of sight: those between two processes, and those that stayed
//! with the process before this one. While there may be any, no drain is done.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// No process.
const NONE: i32 = 0;

/// Whether sessions of this gateway are with another process.
#[derive(Debug, Default)]
pub struct Elsewhere {
    handing_over: AtomicBool,
    /// The next process has all that it gets.
    given: AtomicBool,
    /// The process before this one, if sessions stayed with it.
    predecessor: AtomicI32,
}

impl Elsewhere {
    /// A hand-over begins or has ended, in either direction.
    pub fn set_handing_over(&self, underway: bool) {
        self.handing_over.store(underway, Ordering::Relaxed);
    }

    /// The next process has all that it gets from this one.
    pub fn set_given(&self) {
        self.given.store(true, Ordering::Relaxed);
    }

    /// Sessions stayed with this process. They are gone when it has ended.
    pub fn set_predecessor(&self, pid: u32) {
        let pid = i32::try_from(pid).unwrap_or(NONE);
        self.predecessor.store(pid, Ordering::Relaxed);
    }

    /// Whether sessions may be between two processes now.
    pub fn on_the_way(&self) -> bool {
        self.handing_over.load(Ordering::Relaxed) && !self.given.load(Ordering::Relaxed)
    }

    /// Whether there may be any.
    pub fn any(&self) -> bool {
        if self.handing_over.load(Ordering::Relaxed) {
            return true;
        }
        let Some(pid) = Pid::from_raw(self.predecessor.load(Ordering::Relaxed)) else {
            return false;
        };
        let ended = test_kill_process(pid) == Err(Errno::SRCH);
        if ended {
            // Another process may get the number.
            self.predecessor.store(NONE, Ordering::Relaxed);
        }
        !ended
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn sessions_are_elsewhere_through_a_handover_and_while_the_process_before_lives() {
        let elsewhere = Elsewhere::default();
        assert!(!elsewhere.any());
        elsewhere.set_handing_over(true);
        assert!(elsewhere.any() && elsewhere.on_the_way());
        elsewhere.set_given();
        assert!(elsewhere.any() && !elsewhere.on_the_way());
        let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
        elsewhere.set_predecessor(other.id());
        elsewhere.set_handing_over(false);
        assert!(elsewhere.any());
        other.kill().expect("it runs");
        other.wait().expect("it has ended");
        assert!(!elsewhere.any());
    }
}
