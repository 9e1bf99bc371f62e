//! The record of a request that does not become a session: exactly one for each (I6). It follows
//! the body of the response and is written when that ends, however it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, StatusCode};

use crate::base::clock;
use crate::base::names::{AuthenticatorName, BackendId, RouteName, UpstreamName};
use crate::live::Phase;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::streams::upload::Upload;
use crate::telemetry::records::RequestRecord;

/// The status in the record of a client that left before its answer; nginx's convention.
pub(crate) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The client ended its connection.
pub(crate) const CLIENT_GONE: &str = "client_gone";
/// The backend broke its answer off.
const BACKEND_BROKE: &str = "backend_broke";

/// A request's record in the making, written when it is dropped.
pub(crate) struct Report {
    pub(crate) connection: Rc<ClientConnection>,
    pub(crate) route: Option<RouteName>,
    pub(crate) upstream: Option<UpstreamName>,
    pub(crate) backend: Option<BackendId>,
    pub(crate) client: Box<str>,
    pub(crate) method: Method,
    pub(crate) host: Box<str>,
    pub(crate) target: Box<str>,
    pub(crate) request_id: Box<str>,
    pub(crate) arrived: Instant,
    /// From the request to the answer's head.
    pub(crate) answered: Duration,
    pub(crate) started: SystemTime,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) status: u16,
    pub(crate) refusal: Option<&'static str>,
    /// The authenticator that rejected the credential.
    pub(crate) authenticator: Option<AuthenticatorName>,
    /// What exactly was wrong.
    pub(crate) detail: Option<Box<str>>,
    /// Counted by the request's body, which may go up while the answer comes down.
    pub(crate) upload: Upload,
    pub(crate) bytes_out: u64,
    /// The backend broke its answer off.
    pub(crate) broke: bool,
    pub(crate) state: AnswerState,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerState {
    /// The gateway's own answer, handed over whole.
    GatewayAnswer,
    /// Nothing of it has left. If it stays so, the client has left before its answer.
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
        self.state = AnswerState::Written;
    }

    /// Writes the record now, if there is one to write still.
    pub(crate) fn write(&mut self) {
        let state = std::mem::replace(&mut self.state, AnswerState::Written);
        if state == AnswerState::Written {
            return;
        }
        let passed = matches!(state, AnswerState::Passing | AnswerState::Passed);
        if let (true, Some(route), Some(upstream), None) =
            (passed, &self.route, &self.upstream, self.refusal)
        {
            let metrics = self.connection.worker.route_metrics(route, upstream);
            metrics.http(self.status, self.answered);
        }
        if matches!(state, AnswerState::Unanswered | AnswerState::Passing) {
            self.cut_off(state);
        }
        self.connection.worker.request_ended(&RequestRecord {
            listener: &self.connection.listener().config.name,
            route: self.route.as_deref(),
            upstream: self.upstream.as_deref(),
            backend: self.backend.as_deref(),
            principal: self.principal.as_deref(),
            authenticator: self.authenticator.as_deref(),
            client: &self.client,
            method: self.method.as_str(),
            host: Some(&self.host),
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

    /// Names and counts the cause that cut the exchange off.
    fn cut_off(&mut self, state: AnswerState) {
        if self.refusal.is_some() {
            // It was counted where it was decided.
            return;
        }
        let stopping = self.connection.worker.live().phase() == Phase::Stopping;
        let unknown = if stopping { "stopping" } else { "aborted" };
        let reason = match self.broke {
            true => BACKEND_BROKE,
            false => self.connection.ended.get().unwrap_or(unknown),
        };
        self.refusal = Some(reason);
        if state == AnswerState::Unanswered {
            self.status = match reason {
                "stopping" => StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                "aborted" => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
                _ => CLIENT_CLOSED_REQUEST,
            };
        }
        match (&self.route, &self.upstream) {
            (Some(route), Some(upstream)) => {
                self.connection
                    .worker
                    .route_metrics(route, upstream)
                    .refused(reason);
            }
            _ => self.connection.worker.no_route_metrics().refused(reason),
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.write();
    }
}
