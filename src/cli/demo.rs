//! `sessile demo`: the gateway with the shipped gateway.toml, three echo backends inside the same
//! process, and a page to try it in the browser. The first thing that a newcomer runs.

use std::convert::Infallible;
use std::net::SocketAddr;

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
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::core::wire::handshake::{self, Kind};

/// The configuration that this project ships, and that the demo runs.
pub const GATEWAY_TOML: &str = include_str!("../../gateway.toml");
/// Backends of the demo.
const BACKENDS: [&str; 3] = ["echo-1", "echo-2", "echo-3"];
const PAGE: &str = include_str!("demo.html");

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
    Ok(vec![(
        "upstreams.echo.backends".to_owned(),
        format!("[{}]", entries.join(", ")),
    )])
}

/// What the demo tells on its first screen.
pub fn greeting(gateway: &[SocketAddr], admin: &str) -> String {
    let port = gateway.first().map_or(8080, SocketAddr::port);
    format!(
        "\n  Sessile is running, with three echo backends behind it.\n\n  \
         open     http://127.0.0.1:{port}/\n  \
         socket   ws://127.0.0.1:{port}/ws/lobby\n  \
         why      sessile resolve ws://127.0.0.1:{port}/ws/lobby --admin {admin}\n  \
         watch    sessile sessions --admin {admin}\n\n  \
         Every client of /ws/<room> meets the others of its room on one backend. Ctrl-C ends it.\n"
    )
}

async fn serve(name: &'static str, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service =
            service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request)) });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

fn answer(name: &'static str, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Kind::WebSocket(offer) =
        handshake::classify(request.method(), request.version(), request.headers())
    else {
        return page(name);
    };
    let greets = request.uri().query() == Some("hello");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            echo(upgraded, greets.then_some(name)).await;
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

/// Sends back what comes; with a name, says that first.
async fn echo(upgraded: Upgraded, name: Option<&str>) {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 4096;
    config.write_buffer_size = 0;
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    if let Some(name) = name
        && socket
            .send(Message::text(format!("hello from {name}")))
            .await
            .is_err()
    {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let echoes = message.is_text() || message.is_binary();
        // The pong and the answer to a close frame are the library's, sent at the next flush.
        let sent = if echoes {
            socket.send(message).await
        } else {
            socket.flush().await
        };
        if sent.is_err() {
            return;
        }
    }
}
