//! Which cores the threads of this process run on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that the calling thread may use, in ascending order.
///
/// # Errors
/// When the system does not tell.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// When the process may not use that core.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_one_core() {
        let thread = std::thread::spawn(|| {
            let all = allowed().expect("cores");
            let last = *all.last().expect("at least one");
            pin(last).expect("one of those");
            assert_eq!(allowed().expect("cores"), [last]);
        });
        thread.join().expect("the thread");
    }
}
