//! The `websocket` probe: a whole small session. Handshake, message there and back if asked for, a
//! ping and its pong, a clean close.
//!
//! hyper makes the handshake, not tungstenite, which refuses a 101 with `Connection: keep-alive,
//! Upgrade` that RFC 6455 allows.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::control::probes::fault::{Doing, ProbeFault};
use crate::control::probes::http::{ask, contains, no_body};
use crate::io::carrier::Carrier;

/// Bytes of a message that are looked through. A longer one, which a session would pass on, is as
/// good a sign of life as any other.
const MESSAGE_MAX: usize = 1024 * 1024;
/// Read at once; the default of 128 KiB is for those who stay.
const READ_BYTES: usize = 4 * 1024;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What a probe says beyond the ping.
pub(super) struct Script<'a> {
    /// Offered, and then required in the answer.
    pub(super) subprotocol: Option<&'a str>,
    /// A text message to send.
    pub(super) send: Option<&'a str>,
    /// Text that a message from the backend must contain.
    pub(super) expect: Option<&'a str>,
}

pub(super) async fn run(
    carrier: Carrier,
    request: http::request::Builder,
    script: Script<'_>,
    doing: &mut Doing,
) -> Result<(), ProbeFault> {
    let mut socket = handshake(carrier, request, script.subprotocol).await?;
    if let Some(text) = script.send {
        *doing = Doing::Sending;
        send(&mut socket, Message::text(text), doing).await?;
    }
    if let Some(expected) = script.expect {
        expect(&mut socket, expected, doing).await?;
    }
    match ping(&mut socket, doing).await {
        Ok(()) => close(&mut socket, doing).await,
        Err(fault) => pass_if_long(fault),
    }
}

/// What follows a message that is too long to be kept cannot be read. That it came is enough.
fn pass_if_long(fault: ProbeFault) -> Result<(), ProbeFault> {
    let ProbeFault::WebSocket { source, .. } = &fault else {
        return Err(fault);
    };
    match **source {
        tungstenite::Error::Capacity(_) => Ok(()),
        _ => Err(fault),
    }
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
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let stream = TokioIo::new(upgraded);
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
}

/// What a 101 must say (RFC 6455, section 4.1).
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

/// Waits for a message that contains `expected`; others may come before it.
async fn expect(socket: &mut Socket, expected: &str, doing: &mut Doing) -> Result<(), ProbeFault> {
    let mut last = None;
    loop {
        *doing = Doing::Expecting {
            expected: expected.to_owned(),
            last: last.take(),
        };
        let message = next(socket, doing).await?;
        if !(message.is_text() || message.is_binary()) {
            continue;
        }
        let data = message.into_data();
        if contains(&data, expected.as_bytes()) {
            return Ok(());
        }
        last = Some(String::from_utf8_lossy(&data).into_owned());
    }
}

/// A backend may send pongs that nobody asked for (RFC 6455, section 5.5.3), so one with another
/// payload alone is no fault.
async fn ping(socket: &mut Socket, doing: &mut Doing) -> Result<(), ProbeFault> {
    *doing = Doing::Pinging { wrong: false };
    let payload = Bytes::copy_from_slice(&fastrand::u64(..).to_be_bytes());
    send(socket, Message::Ping(payload.clone()), doing).await?;
    loop {
        match next(socket, doing).await? {
            Message::Pong(came) if came == payload => return Ok(()),
            Message::Pong(_) => *doing = Doing::Pinging { wrong: true },
            _ => {}
        }
    }
}

/// Any close frame is a clean end; the end of the connection after it is not waited for.
async fn close(socket: &mut Socket, doing: &mut Doing) -> Result<(), ProbeFault> {
    *doing = Doing::Closing;
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "probe done".into(),
    };
    send(socket, Message::Close(Some(frame)), doing).await?;
    loop {
        match next(socket, doing).await {
            Ok(_) => {}
            Err(ProbeFault::Closed { .. }) => return Ok(()),
            Err(fault) => return pass_if_long(fault),
        }
    }
}

async fn send(socket: &mut Socket, message: Message, doing: &Doing) -> Result<(), ProbeFault> {
    socket
        .send(message)
        .await
        .map_err(|error| failed(error, doing))
}

/// The next message; a close frame is a fault.
async fn next(socket: &mut Socket, doing: &Doing) -> Result<Message, ProbeFault> {
    match socket.next().await {
        Some(Ok(Message::Close(frame))) => Err(ProbeFault::Closed {
            code: frame.as_ref().map_or(1005, |frame| frame.code.into()),
            reason: frame
                .map(|frame| frame.reason.to_string())
                .unwrap_or_default(),
            doing: doing.clone(),
        }),
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(failed(error, doing)),
        None => Err(ProbeFault::Unclean {
            doing: doing.clone(),
        }),
    }
}

fn failed(error: tungstenite::Error, doing: &Doing) -> ProbeFault {
    let doing = doing.clone();
    match error {
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ProbeFault::Unclean { doing }
        }
        source => ProbeFault::WebSocket {
            doing,
            source: Box::new(source),
        },
    }
}
