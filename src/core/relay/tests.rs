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

use super::*;
use crate::core::relay::tests::support::*;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::close_frame;
use crate::core::wire::tracker::{Extensions, Rules};
