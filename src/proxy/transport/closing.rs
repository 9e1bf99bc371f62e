//! How a client's connection is closed: with a record of a request that was never whole, with an
//! answer that hyper does not send, and so that the last answer arrives.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::base::clock;
use crate::core::wire::request_guard::Awaited;
use crate::io::carrier::Carrier;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::context::worker::{Worker, WorkerPhase};
use crate::proxy::request::record::{CLIENT_CLOSED_REQUEST, CLIENT_GONE};
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

/// What a connection was doing when its HTTP ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtEnd {
    /// What the client had to send next.
    pub(crate) awaited: Awaited,
    /// A request was being served.
    pub(crate) serving: bool,
    /// The end of the connection marks the end of the response.
    pub(crate) marks_response: bool,
}

/// What the end of HTTP on a connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The label for requests that it cuts off.
    pub(crate) reason: &'static str,
    /// Status and label of a request whose head was never whole.
    pub(crate) unread: Option<(u16, &'static str)>,
    /// An answer that hyper does not send.
    pub(crate) last_words: Option<&'static str>,
    /// The client must not take the end of the connection for a proper one.
    pub(crate) abrupt: bool,
}

impl Closing {
    /// What this end means.
    pub(crate) fn of(ended: &HttpEnd, at_end: AtEnd) -> Self {
        let in_head = at_end.awaited == Awaited::Head;
        let reason = ended.as_ref().err().map_or(CLIENT_GONE, |cut| cut.reason());
        let (unread, last_words) = match ended {
            Err(Cut::HeadTimedOut) if in_head => (Some((408, reason)), Some(HEAD_TIMED_OUT)),
            Ok(Err(error)) => {
                let gone = in_head && !at_end.serving && !error.is_user();
                let gone = gone.then_some((CLIENT_CLOSED_REQUEST, CLIENT_GONE));
                let unread = fault(error).or(gone);
                (unread, error.is_parse_version_h2().then_some(NO_HTTP_2))
            }
            _ => (None, None),
        };
        Self {
            reason,
            unread,
            last_words,
            abrupt: at_end.marks_response || ended.as_ref().is_err_and(|cut| cut.is_abrupt()),
        }
    }
}

/// The record of a request whose head was never whole, so that nothing is known of it.
pub(crate) fn record_unread(client: &ClientConnection, (status, refusal): (u16, &'static str)) {
    client.worker.no_route_metrics().refused(refusal);
    client.worker.request_ended(&RequestRecord {
        listener: &client.listener().config.name,
        route: None,
        upstream: None,
        backend: None,
        principal: None,
        authenticator: None,
        client: &client.peer_text(),
        method: "",
        host: None,
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
/// system reset it. `unread`: the client has not sent all of its request.
pub(crate) async fn close(
    worker: &Rc<Worker>,
    mut carrier: Carrier,
    last_words: Option<&str>,
    unread: bool,
) {
    let mut phase = worker.phase();
    let began = Instant::now();
    let (whole, quiet) = match unread {
        true => (LINGER_UNREAD, LINGER_QUIET),
        false => (LINGER, LINGER),
    };
    let last = async {
        if let Some(words) = last_words {
            carrier.write_all(words.as_bytes()).await?;
        }
        carrier.shutdown().await
    };
    // Do not wait for a peer that does not read its answer.
    if !matches!(timeout_at(began + LINGER, last).await, Ok(Ok(()))) {
        return;
    }
    let mut ends = began + whole;
    let mut stopping = false;
    let mut dropped = 0;
    let mut rest = vec![0; UNREAD_STEP];
    while dropped < UNREAD_MAX {
        if !stopping && *phase.borrow_and_update() == WorkerPhase::Stopping {
            stopping = true;
            ends = ends.min(Instant::now() + LINGER);
        }
        let until = ends.min(Instant::now() + quiet);
        tokio::select! {
            read = timeout_at(until, carrier.read(&mut rest)) => match read {
                Ok(Ok(bytes)) if bytes > 0 => dropped += bytes,
                _ => return,
            },
            _ = phase.changed(), if !stopping => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_end(awaited: Awaited) -> AtEnd {
        AtEnd {
            awaited,
            serving: false,
            marks_response: false,
        }
    }

    #[test]
    fn a_slow_head_is_answered_and_recorded() {
        let closing = Closing::of(&Err(Cut::HeadTimedOut), at_end(Awaited::Head));
        assert_eq!(closing.unread, Some((408, "head_timed_out")));
        assert_eq!(closing.last_words, Some(HEAD_TIMED_OUT));
        assert!(!closing.abrupt);
    }

    #[test]
    fn a_connection_on_which_nothing_came_is_closed_silently() {
        let closing = Closing::of(&Err(Cut::HeadTimedOut), at_end(Awaited::Request));
        assert_eq!((closing.unread, closing.last_words), (None, None));
        let closing = Closing::of(&Ok(Ok(())), at_end(Awaited::Request));
        assert_eq!((closing.reason, closing.unread), (CLIENT_GONE, None));
    }

    #[test]
    fn an_answer_that_is_not_whole_does_not_end_properly() {
        let cut_off = AtEnd {
            marks_response: true,
            ..at_end(Awaited::Request)
        };
        assert!(Closing::of(&Ok(Ok(())), cut_off).abrupt);
        assert!(Closing::of(&Err(Cut::Idle), at_end(Awaited::Request)).abrupt);
        assert!(!Closing::of(&Ok(Ok(())), at_end(Awaited::Request)).abrupt);
    }
}
