//! An ordinary HTTP/1.1 client, one connection at a time.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::soon;

/// A response that has been read whole.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Whole {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a header is text"))
    }
}

/// Opens a connection that goes on until its sender is dropped.
pub async fn connect<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .expect("a client's side cannot fail here");
    // How it ended shows in the requests.
    tokio::spawn(connection);
    sender
}

/// A GET with further headers, on a connection of its own.
pub async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Whole {
    let mut request = Request::get(target).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(
        address,
        request.body(Full::default()).expect("a valid request"),
    )
    .await
}

/// Any request, on a connection of its own, with the response read whole.
pub async fn send<B>(address: SocketAddr, request: Request<B>) -> Whole
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let mut sender = connect(address).await;
    let response = soon("a response", sender.send_request(request))
        .await
        .expect("a response");
    read(response).await
}

/// Reads a response whole.
pub async fn read(response: Response<Incoming>) -> Whole {
    let (parts, body) = response.into_parts();
    let body = soon("a body", body.collect()).await.expect("a whole body");
    Whole {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.to_bytes(),
    }
}
