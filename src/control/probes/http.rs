//! The `http` probe: a GET with an expected status and body. It has the first half of the
//! `websocket` probe too, since both begin with a request.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::control::probes::fault::{Doing, ProbeFault};
use crate::io::carrier::Carrier;

/// How much of a body is searched.
const BODY_MAX: usize = 64 * 1024;
/// Bounds on the head of an answer: the largest that a setting allows for traffic, so that no
/// backend fails its probe for what sessions and requests get through with.
const HEAD_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 10_000;

/// A GET as every probe begins it.
pub(super) fn get(path: &str, host: &str) -> http::request::Builder {
    Request::get(path).header(HOST, host).header(
        USER_AGENT,
        concat!("sessile/", env!("CARGO_PKG_VERSION"), " (probe)"),
    )
}

pub(super) fn no_body() -> Empty<Bytes> {
    Empty::new()
}

/// An answer's head, and the task that moves the rest of its bytes while this is held.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    _moves: JoinSet<()>,
}

/// Sends a request on a fresh connection.
pub(super) async fn ask(
    carrier: Carrier,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, ProbeFault> {
    let failed = |source| ProbeFault::Http {
        doing: Doing::Asking,
        source,
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(carrier))
        .await
        .map_err(failed)?;
    let mut moves = JoinSet::new();
    // How the connection ends shows in the answer.
    moves.spawn(async move { drop(connection.with_upgrades().await) });
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(Answer {
        response,
        _moves: moves,
    })
}

pub(super) async fn run(
    carrier: Carrier,
    request: Request<Empty<Bytes>>,
    status: &[(u16, u16)],
    expected: Option<&str>,
    doing: &mut Doing,
) -> Result<(), ProbeFault> {
    let mut answer = ask(carrier, request).await?;
    let came = answer.response.status().as_u16();
    if !status
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&came))
    {
        return Err(ProbeFault::Status {
            expected: ranges(status),
            came,
        });
    }
    match expected {
        Some(text) => {
            *doing = Doing::Reading;
            search(answer.response.body_mut(), text).await
        }
        None => Ok(()),
    }
}

/// Reads until `text` is found, since a body may be endless.
async fn search(body: &mut Incoming, text: &str) -> Result<(), ProbeFault> {
    let mut read = Vec::new();
    loop {
        let searched = read.len().saturating_sub(text.len());
        match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                let room = BODY_MAX - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
            }
            Some(Err(source)) => {
                return Err(ProbeFault::Http {
                    doing: Doing::Reading,
                    source,
                });
            }
            None => return Err(missing(text, read.len())),
        }
        if contains(&read[searched..], text.as_bytes()) {
            return Ok(());
        }
        if read.len() == BODY_MAX {
            return Err(missing(text, BODY_MAX));
        }
    }
}

fn missing(text: &str, looked: usize) -> ProbeFault {
    ProbeFault::Body {
        expected: text.to_owned(),
        looked,
    }
}

/// Whether `needle` lies in `hay`; the empty one lies everywhere.
pub(super) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || hay.windows(needle.len()).any(|window| window == needle)
}

fn ranges(status: &[(u16, u16)]) -> String {
    let texts: Vec<_> = status
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    texts.join(", ")
}
