//! Access records: the line that every session leaves when it ends (I6), and the line of every
//! request that became none. They go to standard output, a file and a syslog server, each through a
//! queue that drops rather than make a worker wait; what was dropped is counted.

mod file;
mod line;
mod output;
mod syslog;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::base::clock;
use crate::base::traffic::{PublishedCounts, Traffic};
use crate::config::snapshot::{Log, LogFormat};
use crate::core::session::record::Record;
use crate::telemetry::records::file::RecordFile;
use crate::telemetry::records::line::{Line, Value};
use crate::telemetry::records::output::Counted;
use crate::telemetry::records::syslog::Syslog;

pub use file::RecordsError;

/// Records that may wait for an output: some seconds of a busy gateway.
const RECORDS_WAITING_MAX: usize = 65_536;

/// Where records go in; cheap to clone, one for each worker.
#[derive(Clone, Debug)]
pub struct Records {
    node: Arc<str>,
    format: LogFormat,
    /// The queue of each output; none when records are off.
    outputs: Arc<[NonBlocking]>,
    /// Lines that an output failed to write.
    lost: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
}

/// Writes out what waits when it is dropped, so it must outlive the workers.
#[derive(Debug)]
pub struct RecordsGuard(#[expect(dead_code, reason = "only its drop matters")] Vec<WorkerGuard>);

/// A request that became no session: ordinary HTTP, or refused. All of it is borrowed for the time
/// of one call.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'r> {
    /// Where the client came in.
    pub listener: &'r str,
    /// The rule that took it, if one did.
    pub route: Option<&'r str>,
    /// The group that it was sent to, if it got that far.
    pub upstream: Option<&'r str>,
    /// The member that answered, if one did.
    pub backend: Option<&'r str>,
    /// The principal, if the request was authenticated.
    pub principal: Option<&'r str>,
    /// The authenticator that rejected the credential, if one did.
    pub authenticator: Option<&'r str>,
    /// The client's address, after PROXY header and trusted `X-Forwarded-For`.
    pub client: &'r str,
    /// As it came; empty where no head was read whole.
    pub method: &'r str,
    /// The requested host.
    pub host: Option<&'r str>,
    /// The request's target, with secrets cut out (I11): the caller's duty.
    pub target: &'r str,
    /// When the request came.
    pub started: SystemTime,
    /// What the client was answered; 499 if it left before that.
    pub status: u16,
    /// From the request's head to the response's last byte.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Why the gateway answered itself, or what cut the exchange off.
    pub refusal: Option<&'r str>,
    /// The exact cause, for operators only; clients do not get it.
    pub detail: Option<&'r str>,
    /// `X-Request-Id`, as the backend saw it.
    pub request_id: Option<&'r str>,
}

impl Records {
    /// Opens the outputs configured by `log`; `node` is part of every record.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(log: &Log, node: &Arc<str>) -> Result<(Self, RecordsGuard), RecordsError> {
        let (reopen, lost) = (Arc::default(), Arc::default());
        let mut queues = Vec::new();
        if log.access.stdout {
            queues.push(queue(io::stdout(), "stdout".to_owned(), &lost));
        }
        if let Some(file) = &log.access.file {
            let name = file.path.display().to_string();
            let output = RecordFile::open(file, Arc::clone(&reopen))?;
            queues.push(queue(output, name, &lost));
        }
        if let Some(syslog) = &log.access.syslog {
            queues.push(queue(Syslog::new(syslog, node), "syslog".to_owned(), &lost));
        }
        let (outputs, guards): (Vec<_>, _) = queues.into_iter().unzip();
        let records = Self {
            node: Arc::clone(node),
            format: log.format,
            outputs: outputs.into(),
            lost,
            reopen,
        };
        Ok((records, RecordsGuard(guards)))
    }

    /// Records that go nowhere.
    pub fn off() -> Self {
        Self {
            node: "".into(),
            format: LogFormat::Json,
            outputs: Arc::default(),
            lost: Arc::default(),
            reopen: Arc::default(),
        }
    }

    /// The name of this gateway in records.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The line of a session that ended.
    pub fn session(&self, record: &Record) {
        self.write(|line| session(line, &self.node, record));
    }

    /// The line of a request that became no session.
    pub fn request(&self, record: &RequestRecord<'_>) {
        self.write(|line| request(line, &self.node, record));
    }

    /// Reopens the file before the next record, as after SIGHUP from logrotate.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Records that were lost because an output was too slow or failed; one that two outputs lost
    /// counts twice.
    pub fn dropped(&self) -> u64 {
        let outputs = self.outputs.iter();
        let dropped = outputs.map(|output| output.error_counter().dropped_lines() as u64);
        dropped.sum::<u64>() + self.lost.load(Ordering::Relaxed)
    }

    fn write(&self, fill: impl FnOnce(&mut Line)) {
        if self.outputs.is_empty() {
            return;
        }
        let mut line = Line::new(self.format);
        fill(&mut line);
        let line = line.finish();
        for output in &*self.outputs {
            // It never fails and never waits: a full queue counts the line as dropped.
            let _ = output.clone().write_all(&line);
        }
    }
}

fn queue(
    output: impl Write + Send + 'static,
    name: String,
    lost: &Arc<AtomicU64>,
) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(RECORDS_WAITING_MAX)
        .lossy(true)
        .thread_name("records")
        .finish(Counted::new(output, name, Arc::clone(lost)))
}

fn session(line: &mut Line, node: &str, record: &Record) {
    let facts = &*record.facts;
    let ending = &record.ending;
    line.field(
        "time",
        Value::Text(&clock::rfc3339(facts.request.granted() + record.duration)),
    );
    line.field("kind", Value::Text("session"));
    line.field("id", Value::Text(&facts.id.to_string()));
    line.field("node", Value::Text(node));
    line.field("listener", Value::Text(&facts.listener));
    line.field("route", Value::Text(&facts.route));
    line.field("upstream", Value::Text(&facts.upstream));
    line.field("backend", Value::Text(&facts.backend));
    line.field("principal", facts.principal.as_deref().into());
    line.field("client", Value::Text(facts.request.client()));
    line.field("host", Value::Text(facts.request.host()));
    line.field("target", Value::Text(facts.request.target()));
    line.field("request_id", Value::Text(&facts.request_id()));
    line.field("subprotocol", facts.request.subprotocol().into());
    line.field(
        "started",
        Value::Text(&clock::rfc3339(facts.request.started())),
    );
    line.field("duration_ms", Value::Millis(record.duration));
    line.field("handshake_ms", Value::Millis(facts.request.handshake()));
    line.field("ended_by", Value::Text(ending.by.as_str()));
    line.field("cause", Value::Text(ending.cause.as_str()));
    line.field(
        "close_code",
        ending
            .close_code
            .map_or(Value::None, |code| Value::Number(code.into())),
    );
    line.field("clean", Value::Flag(ending.clean));
    let order = facts.order.as_deref();
    line.field("reason", order.and_then(|one| one.reason.as_deref()).into());
    line.field(
        "operator",
        order.and_then(|one| one.operator.as_deref()).into(),
    );
    line.field(
        "revocation",
        order.and_then(|one| one.revocation.as_deref()).into(),
    );
    line.field("resumes", Value::Number(record.moves.resumes.into()));
    line.field("messages_lost", Value::Number(record.moves.messages_lost));
    line.field("bytes_lost", Value::Number(record.moves.bytes_lost));
    if record.published != PublishedCounts::default() {
        line.group("published", |line| {
            line.field("sent", Value::Number(record.published.sent));
            line.field("bytes", Value::Number(record.published.bytes));
            line.field("dropped", Value::Number(record.published.dropped));
            line.field("evicted", Value::Number(record.published.evicted));
            line.field("expired", Value::Number(record.published.expired));
        });
    }
    line.group("to_backend", |line| traffic(line, &record.to_backend));
    line.group("to_client", |line| traffic(line, &record.to_client));
}

fn traffic(line: &mut Line, traffic: &Traffic) {
    line.field("bytes", Value::Number(traffic.bytes));
    line.field("text", Value::Number(traffic.text));
    line.field("binary", Value::Number(traffic.binary));
    line.field("ping", Value::Number(traffic.ping.into()));
    line.field("pong", Value::Number(traffic.pong.into()));
    line.field("close", Value::Number(traffic.close.into()));
}

fn request(line: &mut Line, node: &str, record: &RequestRecord<'_>) {
    line.field(
        "time",
        Value::Text(&clock::rfc3339(record.started + record.duration)),
    );
    line.field("kind", Value::Text("request"));
    line.field("node", Value::Text(node));
    line.field("listener", Value::Text(record.listener));
    line.field("route", record.route.into());
    line.field("upstream", record.upstream.into());
    line.field("backend", record.backend.into());
    line.field("principal", record.principal.into());
    line.field("authenticator", record.authenticator.into());
    line.field("client", Value::Text(record.client));
    line.field("method", Value::Text(record.method));
    line.field("host", record.host.into());
    line.field("target", Value::Text(record.target));
    line.field("started", Value::Text(&clock::rfc3339(record.started)));
    line.field("status", Value::Number(record.status.into()));
    line.field("duration_ms", Value::Millis(record.duration));
    line.field("bytes_in", Value::Number(record.bytes_in));
    line.field("bytes_out", Value::Number(record.bytes_out));
    line.field("refusal", record.refusal.into());
    line.field("detail", record.detail.into());
    line.field("request_id", record.request_id.into());
}

#[cfg(test)]
mod tests;
