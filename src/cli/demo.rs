//! `sessile demo`: the gateway with the shipped gateway.toml, three small chat backends inside the
//! same process, and a page to try it in the browser. The first thing that a newcomer runs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::core::wire::handshake::{self, Kind};

/// The configuration that this project ships, and that the demo runs.
pub const GATEWAY_TOML: &str = include_str!("../../gateway.toml");
/// Backends of the demo.
const BACKENDS: [&str; 3] = ["chat-1", "chat-2", "chat-3"];
const PAGE: &str = include_str!("demo.html");
/// Messages that may wait for a slow client; older ones are dropped for it.
const WAITING_MAX: usize = 64;
/// Of one message.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What the demo sets beside its backends: Ctrl-C does not take the half minute of a real gateway.
const GRACE: (&str, &str) = ("shutdown.grace", "\"2s\"");

/// The rooms of one backend: each message of a client goes to all clients in its room.
#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Sender<Message>>>>);

impl Rooms {
    /// Both ends of a room. Rooms without clients go away.
    fn enter(&self, path: &str) -> (Sender<Message>, Receiver<Message>) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.retain(|_, room| room.receiver_count() > 0);
        let room = rooms.entry(path.to_owned());
        let room = room.or_insert_with(|| Sender::new(WAITING_MAX));
        (room.clone(), room.subscribe())
    }
}

/// Starts the demo's backends on free ports; they run for as long as the runtime does. Answers what
/// must be set so that the shipped configuration finds them.
///
/// # Errors
/// When loopback has no free port.
pub async fn start_backends() -> std::io::Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    for name in BACKENDS {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        entries.push(format!("{{ id = \"{name}\", address = \"{address}\" }}"));
        tokio::spawn(serve(name, listener));
    }
    let backends = format!("[{}]", entries.join(", "));
    Ok(vec![
        ("upstreams.chat.backends".to_owned(), backends),
        (GRACE.0.to_owned(), GRACE.1.to_owned()),
    ])
}

/// The greeting. Its example commands use `program`, the name that this program was started by.
pub fn greeting(gateway: &[SocketAddr], admin: &str, program: &str) -> String {
    // A browser does not reach a unix socket.
    let look = match admin.starts_with("unix:") {
        true => String::new(),
        false => format!("look     http://{admin}/ui/   the dashboard\n  "),
    };
    let port = gateway.first().map_or(8080, SocketAddr::port);
    format!(
        "\n  Sessile is running, with three chat backends behind it.\n\n  \
         open     http://127.0.0.1:{port}/   in two tabs: they meet in one room\n  \
         socket   ws://127.0.0.1:{port}/ws/lobby\n  \
         why      {program} resolve ws://127.0.0.1:{port}/ws/lobby --admin {admin}\n  {look}\
         watch    {program} sessions --admin {admin}\n\n  \
         Every client of /ws/<room> meets the others of its room on one backend. Ctrl-C ends it.\n\n"
    )
}

/// The last screen.
pub const STOPPED: &str = "\n  Sessile has stopped. Its clients got a close frame, 1001.\n";

/// What to do where an address of the demo is taken.
pub const TAKEN: &str = "another program has that port; choose others:\n\n  \
    demo --set 'listeners=[{name=\"edge\", listen=[\"127.0.0.1:8081\"]}]' --set admin.listen=127.0.0.1:9901\n";

/// How a shell calls this program: by its name where it was found in `PATH`, else by its path, so
/// that a command works from every directory.
pub fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let by_path = called.to_string_lossy().contains('/');
    let path = std::env::current_exe().ok().filter(|_| by_path);
    path.map_or_else(
        || "sessile".to_owned(),
        |path| quoted(&path.to_string_lossy()),
    )
}

/// As one word of a shell's command.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

async fn serve(name: &'static str, listener: TcpListener) {
    let rooms = Rooms::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let rooms = rooms.clone();
        let service = service_fn(move |request| {
            let answer = answer(name, &rooms, request);
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

fn answer(
    name: &'static str,
    rooms: &Rooms,
    mut request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let Kind::WebSocket(offer) =
        handshake::classify(request.method(), request.version(), request.headers())
    else {
        return page(name);
    };
    let greets = request.uri().query() == Some("hello");
    // Before the 101, so that a client with a session gets everything from then on.
    let room = rooms.enter(request.uri().path());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            chat(upgraded, room, greets.then_some(name)).await;
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    handshake::set_upgrade(response.headers_mut());
    let accept = HeaderValue::from_bytes(&handshake::accept_key(offer.key()));
    let accept = accept.expect("base64 is a header value");
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn page(name: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(PAGE));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-backend",
        HeaderValue::from_str(name).expect("a plain name"),
    );
    response
}

/// Sends each message of a client to all clients in its room, itself included. Begins with a
/// greeting if the backend has a name.
async fn chat(
    upgraded: Upgraded,
    (room, mut heard): (Sender<Message>, Receiver<Message>),
    name: Option<&str>,
) {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 4096;
    config.write_buffer_size = 0;
    config.max_message_size = Some(MESSAGE_BYTES_MAX);
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let greeting = name.map(|name| Message::text(format!("hello from {name}")));
    if let Some(greeting) = greeting
        && socket.send(greeting).await.is_err()
    {
        return;
    }
    loop {
        let sent = tokio::select! {
            said = socket.next() => match said {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    // A send fails only without receivers, and this client has one.
                    drop(room.send(message));
                    Ok(())
                }
                // The pong and the answer to a close frame are the library's, sent at a flush.
                Some(Ok(_)) => socket.flush().await,
                Some(Err(_)) | None => return,
            },
            message = heard.recv() => match message {
                Ok(message) => socket.send(message).await,
                Err(RecvError::Lagged(_)) => Ok(()),
                Err(RecvError::Closed) => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_as_one_word_of_a_command() {
        assert_eq!(quoted("/opt/a-b_c/sessile"), "/opt/a-b_c/sessile");
        assert_eq!(quoted("/home/ann's box/x"), r"'/home/ann'\''s box/x'");
    }
}
