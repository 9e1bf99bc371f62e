//! The upgrade handshake with a backend: sent over hyper, which is taken off the stream after a
//! 101.

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use crate::config::snapshot::HeadLimits;
use crate::io::carrier::Carrier;
use crate::proxy::streams::backend::BackendStream;
use crate::proxy::streams::body::Outgoing;
use crate::proxy::streams::pool;

/// A backend's answer to an upgrade, and the stream if it switched protocols.
pub(crate) struct HandshakeAnswer {
    pub(crate) response: Response<Incoming>,
    pub(crate) stream: Option<(Carrier, Bytes)>,
}

/// Whether the backend closed the connection, as a dying process does to connections in its
/// backlog. If no byte of an answer came, the handshake may go to the next candidate: it is a GET,
/// which asks for no effect (RFC 9110, section 9.2.1), and no session was granted.
pub(crate) fn has_vanished(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_canceled() || io.is_some()
}

/// The upgrade as a backend gets it; `names` keeps the case of its field names.
pub(crate) fn upgrade_request(
    target: &str,
    fields: HeaderMap,
    names: http::Extensions,
) -> http::Result<Request<Outgoing>> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .body(Outgoing::Empty);
    let mut request = request?;
    *request.headers_mut() = fields;
    *request.extensions_mut() = names;
    Ok(request)
}

/// Sends the upgrade and waits for the answer's head.
pub(crate) async fn shake_hands(
    stream: BackendStream,
    limits: &HeadLimits,
    request: Request<Outgoing>,
) -> hyper::Result<HandshakeAnswer> {
    let activity = stream.activity();
    let hyper = pool::builder(limits).handshake(TokioIo::new(stream));
    let (mut sender, mut connection) = hyper.await?;
    let (response, over) = {
        let answer = pin!(sender.send_request(request));
        let drive = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
        match select(answer, drive).await {
            Either::Left((response, _)) => (response?, false),
            Either::Right((driven, answer)) => {
                let response = answer.await;
                // The request's own error is more precise than the connection's.
                if response.is_err() {
                    driven?;
                }
                (response?, true)
            }
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        activity.stays_http();
        if !over {
            tokio::task::spawn_local(async move {
                // The reader of the body gets the error.
                let _ = connection.await;
            });
        }
        return Ok(HandshakeAnswer {
            response,
            stream: None,
        });
    }
    if !over {
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await?;
    }
    let parts = connection.into_parts();
    Ok(HandshakeAnswer {
        response,
        stream: Some((parts.io.into_inner().carrier, parts.read_buf)),
    })
}
