//! A backend's answer on its way to the client: its record, its deadlines and the backend's
//! connection follow the body.

use std::rc::Rc;

use bytes::Bytes;

use crate::proxy::client::progress::Progress;
use crate::proxy::request::filling::Filling;
use crate::proxy::request::record::{AnswerState, Report};
use crate::proxy::streams::pool::Kept;
use crate::proxy::streams::watch::Watch;

/// A backend's answer on its way to the client.
pub(crate) struct Passing {
    pub(crate) report: Report,
    /// Its connection, where that may carry another.
    pub(crate) keep: Option<Kept>,
    /// It is stored while it passes.
    pub(crate) filling: Option<Box<Filling>>,
    /// The request's.
    pub(crate) progress: Rc<Progress>,
}

impl Watch for Passing {
    fn passed(&mut self, piece: &Bytes) {
        self.report.bytes_out += piece.len() as u64;
        // One that becomes too long is not kept.
        self.filling.take_if(|filling| !filling.add(piece));
    }

    fn ended(&mut self) {
        if self.report.state == AnswerState::Passing {
            self.report.state = AnswerState::Passed;
        }
        self.report.write();
        if let Some(filling) = self.filling.take() {
            filling.finish();
        }
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
