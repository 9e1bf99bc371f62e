//! Steps of work, counted in tests: what an input costs is compared without a clock.

#[cfg(test)]
std::thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts so many steps on this thread. Outside of tests it does nothing.
#[inline]
pub fn steps(count: usize) {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + count as u64));
    #[cfg(not(test))]
    let _ = count;
}

/// The steps that `work` makes, and what it answers.
#[cfg(test)]
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = STEPS.with(std::cell::Cell::get);
    let done = work();
    (STEPS.with(std::cell::Cell::get) - before, done)
}
