//! The record of a request that became no session: exactly one for each, whatever comes of it. It
//! follows the body of the response and is written when that ends, however it ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, StatusCode};

use crate::base::clock;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::live::Phase;
use crate::proxy::context::worker::Worker;
use crate::proxy::stages::forward::Upload;
use crate::proxy::streams::body::Watch;
use crate::proxy::streams::pool::Kept;
use crate::proxy::transport::connection::Connection;
use crate::telemetry::records::RequestRecord;

/// What a client that left before its answer is recorded with; nginx's convention.
pub(crate) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The client ended its connection.
pub(crate) const CLIENT_GONE: &str = "client_gone";
/// The backend broke its answer off.
const BACKEND_BROKE: &str = "backend_broke";

/// Why a connection ended, once that is known.
pub(crate) type EndReason = Rc<Cell<Option<&'static str>>>;

/// A request's record in the making, written when it is dropped.
pub(crate) struct Report {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: usize,
    pub(crate) ending: EndReason,
    pub(crate) route: Option<RouteName>,
    pub(crate) upstream: Option<UpstreamName>,
    pub(crate) backend: Option<BackendId>,
    pub(crate) client: Box<str>,
    pub(crate) method: Method,
    pub(crate) target: Box<str>,
    pub(crate) request_id: Box<str>,
    pub(crate) arrived: Instant,
    /// From the request to the answer's head.
    pub(crate) answered: Duration,
    pub(crate) started: SystemTime,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) status: u16,
    pub(crate) refusal: Option<&'static str>,
    /// What exactly was wrong.
    pub(crate) detail: Option<Box<str>>,
    /// Counted by the request's body, which may go up while the answer comes down.
    pub(crate) upload: Upload,
    pub(crate) bytes_out: u64,
    /// The backend broke its answer off.
    pub(crate) broke: bool,
    pub(crate) stage: Stage,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The gateway's own answer, handed over whole.
    Own,
    /// Nothing of it has left; if nothing more happens, the client has left before its answer.
    Unanswered,
    /// A backend's answer, under way.
    Passing,
    /// A backend's answer, passed whole.
    Passed,
    /// There is no record to write, or no longer.
    Written,
}

impl Report {
    /// Writes the record now.
    pub(crate) fn finish(mut self) {
        self.write();
    }

    /// The request became a session, which leaves a record of its own.
    pub(crate) fn discard(mut self) {
        self.stage = Stage::Written;
    }

    fn write(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Written);
        if stage == Stage::Written {
            return;
        }
        let passed = matches!(stage, Stage::Passing | Stage::Passed);
        if let (true, Some(route), Some(upstream), None) =
            (passed, &self.route, &self.upstream, self.refusal)
        {
            let metrics = self.worker.route_metrics(route, upstream);
            metrics.http(self.status, self.answered);
        }
        if matches!(stage, Stage::Unanswered | Stage::Passing) {
            self.cut_off(stage);
        }
        self.worker.shared.records.request(&RequestRecord {
            listener: &self.worker.shared.listeners[self.listener].config.name,
            route: self.route.as_deref(),
            upstream: self.upstream.as_deref(),
            backend: self.backend.as_deref(),
            principal: self.principal.as_deref(),
            client: &self.client,
            method: self.method.as_str(),
            target: &self.target,
            status: self.status,
            started: self.started,
            duration: clock::now().duration_since(self.arrived),
            bytes_in: self.upload.bytes(),
            bytes_out: self.bytes_out,
            refusal: self.refusal,
            detail: self.detail.as_deref(),
            request_id: Some(&self.request_id),
        });
    }

    /// Names and counts what cut the exchange off.
    fn cut_off(&mut self, stage: Stage) {
        if self.refusal.is_some() {
            // It was counted where it was decided.
            return;
        }
        let stopping = self.worker.live().phase() == Phase::Stopping;
        let unknown = if stopping { "stopping" } else { "aborted" };
        let reason = match self.broke {
            true => BACKEND_BROKE,
            false => self.ending.get().unwrap_or(unknown),
        };
        self.refusal = Some(reason);
        if stage == Stage::Unanswered {
            self.status = match reason {
                "stopping" => StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                "aborted" => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
                _ => CLIENT_CLOSED_REQUEST,
            };
        }
        match (&self.route, &self.upstream) {
            (Some(route), Some(upstream)) => {
                self.worker.route_metrics(route, upstream).refused(reason);
            }
            _ => self.worker.no_route_metrics().refused(reason),
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.write();
    }
}

/// A backend's answer on its way to the client.
pub(crate) struct Passing {
    pub(crate) report: Report,
    /// Its connection, where that may carry another.
    pub(crate) keep: Option<Kept>,
    /// The client's.
    pub(crate) connection: Rc<Connection>,
}

impl Watch for Passing {
    fn passed(&mut self, bytes: usize) {
        self.report.bytes_out += bytes as u64;
    }

    fn ended(&mut self) {
        if self.report.stage == Stage::Passing {
            self.report.stage = Stage::Passed;
        }
        self.report.write();
        self.connection.until_end.set(false);
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
        self.connection.answer_over();
    }
}
