//! HTTP/1 on a client's connection, until it ends or a 101 has left.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::core::wire::request_guard::Awaited;
use crate::io::carrier::Carrier;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::context::shared::ListenerContext;
use crate::proxy::pipeline;
use crate::proxy::request::received::Received;
use crate::proxy::stages::answer::AfterSwitch;
use crate::proxy::streams::pool::HEADERS_OF_HYPER;
use crate::proxy::transport::client_stream::ClientStream;
use crate::proxy::transport::closing::{Closing, HttpEnd, record_unread};
use crate::proxy::transport::http1_state::Http1;

/// hyper's buffer for each direction, which heads may make larger.
const BUFFER_BYTES: usize = 32 * 1024;

/// A connection whose HTTP is over.
pub(crate) struct Ended {
    pub(crate) carrier: Carrier,
    /// What came after the last request.
    pub(crate) early: Vec<u8>,
    /// What the client's socket has not taken of the head of a stream of events.
    pub(crate) unsent: Vec<u8>,
    /// What follows a 101 that has left.
    pub(crate) then: Option<AfterSwitch>,
    /// An answer that hyper does not send.
    pub(crate) last_words: Option<&'static str>,
    /// A proper end would pass for the end of an answer that is not whole.
    pub(crate) abrupt: bool,
    /// The client has not sent all of its request.
    pub(crate) unread: bool,
}

/// Speaks HTTP/1 until the connection ends or a 101 has left.
pub(crate) async fn speak(client: Rc<ClientConnection>, carrier: Carrier) -> Ended {
    let http1 = Http1::new(client);
    // hyper returns nothing but the response, so what follows a 101 waits here until it has left.
    let then = Rc::new(RefCell::new(None));
    let service = service_fn(|request| {
        let (mut head, body) = Request::into_parts(request);
        // Loaded once: every stage of this request decides by the same generation.
        let generation = http1.client.worker.live().generation_arc();
        let names = generation.table.header_names();
        names.remove_respelt(&mut head.headers);
        // Begun here, so that it leaves a record even if hyper never polls the future below, as
        // when the client has left already.
        let (progress, framing) = http1.begin();
        let received = Received::begin(
            Rc::clone(&http1.client),
            progress,
            generation,
            framing,
            &head,
        );
        let then = Rc::clone(&then);
        Box::pin(async move {
            let answer = pipeline::answer(received, head, body).await;
            then.replace(answer.then);
            Ok::<_, Infallible>(answer.response)
        })
    });
    let stream = TokioIo::new(ClientStream::new(carrier, &http1));
    let mut http = builder(http1.client.listener()).serve_connection(stream, service);
    let mut phase = http1.client.worker.phase();
    let ended = loop {
        if !http1.client.closing.get() && http1.closes(*phase.borrow_and_update()) {
            http1.client.closing.set(true);
            Pin::new(&mut http).graceful_shutdown();
        }
        tokio::select! {
            biased;
            ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => break Ok(ended),
            cut = http1.overdue() => break Err(cut),
            _ = phase.changed(), if !http1.client.closing.get() => {}
        }
    };
    let closing = conclude(&http1, &ended);
    // Unless HTTP ended properly the 101 may not have left, and without it there is no session.
    let then = then.take().filter(|_| matches!(ended, Ok(Ok(()))));
    if let Some(unread) = closing.unread {
        record_unread(&http1.client, unread);
    }
    let parts = http.into_parts();
    Ended {
        carrier: parts.io.into_inner().carrier,
        // Copied: the rest of hyper's buffer must not keep all of it.
        early: parts.read_buf.to_vec(),
        unsent: http1.take_unsent(),
        then,
        last_words: closing.last_words,
        abrupt: closing.abrupt,
        unread: http1.awaited() == Awaited::Body,
    }
}

/// What the end of HTTP means. From here on, requests that it cuts off are recorded with its
/// reason.
fn conclude(http1: &Http1, ended: &HttpEnd) -> Closing {
    if let Ok(Err(error)) = ended {
        let client = http1.client.peer_text();
        tracing::debug!(client, %error, "connection broken");
    }
    let closing = Closing::of(ended, http1.at_end());
    http1.client.ended.set(Some(closing.reason));
    closing
}

fn builder(listener: &ListenerContext) -> http1::Builder {
    let config = &listener.config;
    let mut builder = http1::Builder::new();
    if config.limits.headers_max != HEADERS_OF_HYPER {
        builder.max_headers(config.limits.headers_max);
    }
    builder
        .timer(TokioTimer::new())
        // `deadlines` bounds heads and idleness, which hyper does not tell apart.
        .header_read_timeout(None)
        .max_header_size(config.limits.header_bytes)
        .max_buf_size(config.limits.header_bytes.max(BUFFER_BYTES))
        .preserve_header_case(true)
        .title_case_headers(true);
    builder
}
