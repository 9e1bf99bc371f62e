//! How a client's connection is ended: with a record for what it did not come to, with the answer
//! that hyper does not give, and so that the last answer arrives.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::base::clock;
use crate::core::wire::request_guard::Awaited;
use crate::io::carrier::Carrier;
use crate::proxy::context::worker::{Standing, Worker};
use crate::proxy::request::record::{CLIENT_CLOSED_REQUEST, CLIENT_GONE};
use crate::proxy::transport::connection::Connection;
use crate::proxy::transport::deadlines::Cut;
use crate::telemetry::records::RequestRecord;

/// For a peer to take the end of an ordinary connection.
const LINGER: Duration = Duration::from_secs(1);
/// The same where the client is still sending: it may read the answer only when it has sent all
/// (RFC 9112, section 9.6).
const LINGER_UNREAD: Duration = Duration::from_secs(30);
/// A client that sends nothing for so long meanwhile has nothing more to send.
const LINGER_QUIET: Duration = Duration::from_secs(5);
/// Bytes that are read and dropped at most.
const UNREAD_MAX: usize = 64 * 1024 * 1024;
/// Of one read.
const UNREAD_STEP: usize = 16 * 1024;

const HEAD_TIMED_OUT: &str = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
    Content-Length: 0\r\n\r\n";
const NO_HTTP_2: &str = "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\
    Content-Length: 0\r\n\r\n";

/// How HTTP on a connection ended.
pub(crate) type HttpEnd = Result<hyper::Result<()>, Cut>;

impl Connection {
    /// Settles what the end of its HTTP means for what is not finished, and leaves the record of a
    /// request that was never whole. Returns what the client is still to be told.
    pub(crate) fn conclude(&self, ended: &HttpEnd) -> Option<&'static str> {
        let reason = ended.as_ref().err().map_or(CLIENT_GONE, |cut| cut.reason());
        self.ending.set(Some(reason));
        if matches!(ended, Ok(Ok(()))) {
            return None;
        }
        // The 101 may not have left; without it there is no session.
        drop(self.pending.take());
        drop(self.farewell.take());
        let in_head = self.awaited() == Awaited::Head;
        let served = self.asking.get() || self.answering.borrow().is_some();
        let (status, reason, words) = match ended {
            Err(Cut::HeadTimedOut) if in_head => (408, reason, Some(HEAD_TIMED_OUT)),
            Ok(Err(error)) => {
                let client = self.client;
                tracing::debug!(client = client.map(tracing::field::display), %error, "connection broken");
                let (status, reason) = match fault(error) {
                    Some(fault) => fault,
                    None if in_head && !served && !error.is_user() => {
                        (CLIENT_CLOSED_REQUEST, CLIENT_GONE)
                    }
                    None => return None,
                };
                let words = error.is_parse_version_h2().then_some(NO_HTTP_2);
                (status, reason, words)
            }
            _ => return None,
        };
        self.record_unread(status, reason);
        words
    }

    /// Whether the client must not take the end of the connection for a proper one.
    pub(crate) fn ends_abruptly(&self, ended: &HttpEnd) -> bool {
        self.until_end.get() || ended.as_ref().is_err_and(|cut| cut.is_abrupt())
    }

    /// The record of a request whose head was never read whole, so that nothing is known of it.
    fn record_unread(&self, status: u16, refusal: &'static str) {
        self.worker.no_route_metrics().refused(refusal);
        let client = self
            .client
            .map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
        self.worker.shared.records.request(&RequestRecord {
            listener: &self.listener().config.name,
            route: None,
            upstream: None,
            backend: None,
            principal: None,
            client: &client,
            method: "",
            target: "",
            status,
            started: clock::wall(),
            duration: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            refusal: Some(refusal),
            detail: None,
            request_id: None,
        });
    }
}

/// What hyper refuses by itself: the status that it answers with, and the label.
fn fault(error: &hyper::Error) -> Option<(u16, &'static str)> {
    let (status, reason) = if error.is_parse_version_h2() {
        (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http2")
    } else if error.is_parse_too_large() {
        // hyper has one kind for both.
        match error.to_string().contains("URI") {
            true => (StatusCode::URI_TOO_LONG, "target_too_long"),
            false => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
            ),
        }
    } else if error.is_parse() {
        (StatusCode::BAD_REQUEST, "malformed")
    } else {
        return None;
    };
    Some((status.as_u16(), reason))
}

/// Ends an ordinary connection so that its last answer arrives: bytes left unread would make the
/// system reset it. `unread` says that the client has not sent all of its request.
pub(crate) async fn part(
    worker: &Rc<Worker>,
    mut carrier: Carrier,
    last_words: Option<&str>,
    unread: bool,
) {
    let mut standing = worker.standing();
    let began = Instant::now();
    let (whole, quiet) = match unread {
        true => (LINGER_UNREAD, LINGER_QUIET),
        false => (LINGER, LINGER),
    };
    let farewell = async {
        if let Some(words) = last_words {
            carrier.write_all(words.as_bytes()).await?;
        }
        carrier.shutdown().await
    };
    // Do not wait for a peer that does not take its answer.
    if !matches!(timeout_at(began + LINGER, farewell).await, Ok(Ok(()))) {
        return;
    }
    let mut ends = began + whole;
    let mut told = false;
    let mut dropped = 0;
    let mut rest = vec![0; UNREAD_STEP];
    while dropped < UNREAD_MAX {
        if !told && *standing.borrow_and_update() == Standing::Stopping {
            told = true;
            ends = ends.min(Instant::now() + LINGER);
        }
        let until = ends.min(Instant::now() + quiet);
        tokio::select! {
            read = timeout_at(until, carrier.read(&mut rest)) => match read {
                Ok(Ok(bytes)) if bytes > 0 => dropped += bytes,
                _ => return,
            },
            _ = standing.changed(), if !told => {}
        }
    }
}
