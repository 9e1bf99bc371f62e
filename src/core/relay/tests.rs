//! The machine over in-memory streams of any width, with a clock that the test owns.

mod closing;
mod deadlines;
mod endings;
mod floods;
mod handover;
mod leaving;
mod moving;
mod random;
mod rates;
mod relaying;
mod renewal;
mod silence;
mod steps;
mod support;
mod tapping;

use proptest::prelude::ProptestConfig;

use super::*;
use crate::core::relay::tests::support::*;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::close_frame;
use crate::core::wire::tracker::{Extensions, Rules};

/// Random cases of a test that drives whole sessions. `PROPTEST_CASES` scales all of these tests;
/// by default they have as many as keep the tests of the relay and of `proxy` within five seconds.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    const DEFAULT: u32 = 256;
    let config = ProptestConfig::default();
    let cases = usual * config.cases.div_ceil(DEFAULT);
    ProptestConfig { cases, ..config }
}
