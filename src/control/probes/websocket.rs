//! The `websocket` probe: a complete small session: handshake, an optional message and its echo, a
//! ping and its pong, then a close frame, whose answer is ignored.
//!
//! hyper makes the handshake, not tungstenite, which refuses a 101 with `Connection: keep-alive,
//! Upgrade` that RFC 6455 allows.

use std::time::Duration;

use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::control::probes::fault::{Doing, ProbeFault};
use crate::control::probes::frames::{Event, Frames};
use crate::control::probes::http::{ask, contains, no_body};
use crate::core::wire::frame::Opcode;
use crate::io::carrier::Carrier;

/// How much of a message that is not the expected one is shown.
const SHOWN_MAX: usize = 512;
/// For the answer to a close frame.
const CLOSE_MAX: Duration = Duration::from_millis(500);

pub(super) type Socket = Frames<TokioIo<Upgraded>>;

/// What a probe sends in addition to the ping.
pub(super) struct Script<'a> {
    /// Offered, and then required in the answer.
    pub(super) subprotocol: Option<&'a str>,
    /// A text message to send.
    pub(super) send: Option<&'a str>,
    /// Text that a message from the backend must contain.
    pub(super) expect: Option<&'a str>,
}

/// Answers the session, to be [closed](close), once the backend has passed.
pub(super) async fn run(
    carrier: Carrier,
    request: http::request::Builder,
    script: Script<'_>,
    doing: &mut Doing,
) -> Result<Socket, ProbeFault> {
    let mut socket = handshake(carrier, request, script.subprotocol).await?;
    if let Some(text) = script.send {
        *doing = Doing::Sending;
        socket.text(text, doing).await?;
    }
    if let Some(expected) = script.expect {
        expect(&mut socket, expected, doing).await?;
    }
    ping(&mut socket, doing).await?;
    Ok(socket)
}

async fn handshake(
    carrier: Carrier,
    mut request: http::request::Builder,
    subprotocol: Option<&str>,
) -> Result<Socket, ProbeFault> {
    let key = generate_key();
    request = request
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    if let Some(name) = subprotocol {
        request = request.header(SEC_WEBSOCKET_PROTOCOL, name);
    }
    let mut answer = ask(carrier, request.body(no_body())?).await?;
    let came = answer.response.status();
    if came != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ProbeFault::Status {
            expected: "101".to_owned(),
            came: came.as_u16(),
        });
    }
    verify(answer.response.headers(), &key, subprotocol)?;
    let upgraded = hyper::upgrade::on(&mut answer.response)
        .await
        .map_err(|source| ProbeFault::Http {
            doing: Doing::Asking,
            source,
        })?;
    Ok(Frames::new(TokioIo::new(upgraded)))
}

/// The required fields of a 101 (RFC 6455, section 4.1).
fn verify(headers: &HeaderMap, key: &str, subprotocol: Option<&str>) -> Result<(), ProbeFault> {
    let token = |wanted: &'static str| {
        move |value: &str| {
            let mut tokens = value.split(',').map(str::trim);
            tokens.any(|token| token.eq_ignore_ascii_case(wanted))
        }
    };
    let accept = derive_accept_key(key.as_bytes());
    field(headers, UPGRADE, "websocket", token("websocket"))?;
    field(headers, CONNECTION, "Upgrade", token("upgrade"))?;
    field(headers, SEC_WEBSOCKET_ACCEPT, &accept, |came| {
        came == accept
    })?;
    match subprotocol {
        Some(name) => field(headers, SEC_WEBSOCKET_PROTOCOL, name, |came| came == name),
        None => Ok(()),
    }
}

fn field(
    headers: &HeaderMap,
    name: HeaderName,
    expected: &str,
    right: impl Fn(&str) -> bool,
) -> Result<(), ProbeFault> {
    let values = headers
        .get_all(&name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    let mut last = None;
    for value in values {
        if right(value) {
            return Ok(());
        }
        last = Some(value.to_owned());
    }
    Err(ProbeFault::Upgrade {
        name,
        expected: expected.to_owned(),
        came: last,
    })
}

/// Waits for a message that contains `expected`; others may come before it, and it may be of any
/// length.
async fn expect(socket: &mut Socket, expected: &str, doing: &mut Doing) -> Result<(), ProbeFault> {
    let expecting = |last: Option<&[u8]>| Doing::Expecting {
        expected: expected.to_owned(),
        last: last.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
    };
    *doing = expecting(None);
    // The message's beginning, to be shown, and what a match may begin with in the next part.
    let (mut shown, mut window) = (Vec::new(), Vec::new());
    loop {
        let (part, last) = match socket.next(doing).await? {
            Event::Part(part, last) => (part, last),
            Event::Pong(_) => continue,
            Event::Close(payload) => return Err(closed(&payload, doing)),
        };
        shown.extend_from_slice(&part[..part.len().min(SHOWN_MAX - shown.len())]);
        window.extend_from_slice(&part);
        if contains(&window, expected.as_bytes()) {
            return Ok(());
        }
        window.drain(..window.len().saturating_sub(expected.len()));
        if last {
            *doing = expecting(Some(&shown));
            shown.clear();
            window.clear();
        }
    }
}

/// The pong may follow any number of messages. Unsolicited pongs are permitted (RFC 6455, section
/// 5.5.3), so a pong with another payload is no fault.
async fn ping(socket: &mut Socket, doing: &mut Doing) -> Result<(), ProbeFault> {
    *doing = Doing::Pinging { wrong: false };
    let payload = fastrand::u64(..).to_be_bytes();
    socket.control(Opcode::Ping, &payload, doing).await?;
    loop {
        match socket.next(doing).await? {
            Event::Pong(came) if came[..] == payload => return Ok(()),
            Event::Pong(_) => *doing = Doing::Pinging { wrong: true },
            Event::Part(..) => {}
            Event::Close(payload) => return Err(closed(&payload, doing)),
        }
    }
}

/// Ends a session whose backend has passed: sends a close frame, and waits a moment for the answer,
/// so that the backend sees an orderly end. Sessions outlive a backend that answers none, or ends
/// the connection instead, so nothing here is a fault.
pub(super) async fn close(mut socket: Socket) {
    let doing = Doing::Pinging { wrong: false };
    let mut payload = 1000_u16.to_be_bytes().to_vec();
    payload.extend_from_slice(b"probe done");
    let ended = async {
        socket.control(Opcode::Close, &payload, &doing).await?;
        while !matches!(socket.next(&doing).await?, Event::Close(_)) {}
        Ok::<_, ProbeFault>(())
    };
    let _ = timeout(CLOSE_MAX, ended).await;
}

/// The backend closed before it had passed.
fn closed(payload: &[u8], doing: &Doing) -> ProbeFault {
    let (code, reason) = match payload {
        [first, second, reason @ ..] => (u16::from_be_bytes([*first, *second]), reason),
        _ => (1005, &[][..]),
    };
    ProbeFault::Closed {
        code,
        reason: String::from_utf8_lossy(reason).into_owned(),
        doing: doing.clone(),
    }
}
