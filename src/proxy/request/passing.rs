//! A backend's answer on its way to the client: its record, its deadlines and the backend's
//! connection follow the body.

use std::rc::Rc;

use crate::proxy::client::progress::Progress;
use crate::proxy::request::record::{AnswerState, Report};
use crate::proxy::streams::pool::Kept;
use crate::proxy::streams::watch::Watch;

/// A backend's answer on its way to the client.
pub(crate) struct Passing {
    pub(crate) report: Report,
    /// Its connection, where that may carry another.
    pub(crate) keep: Option<Kept>,
    /// The request's.
    pub(crate) progress: Rc<Progress>,
}

impl Watch for Passing {
    fn passed(&mut self, bytes: usize) {
        self.report.bytes_out += bytes as u64;
    }

    fn ended(&mut self) {
        if self.report.state == AnswerState::Passing {
            self.report.state = AnswerState::Passed;
        }
        self.report.write();
        self.progress.answer_whole();
        if let Some(keep) = self.keep.take() {
            keep.give_back();
        }
    }

    fn failed(&mut self) {
        self.report.broke = true;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.progress.answer_over();
    }
}
