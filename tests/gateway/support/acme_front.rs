//! A server in front of Pebble, which has no renewal information (ARI, RFC 9773) and is never busy.
//! The names in what Pebble answers lead here, because Pebble takes them from the `Host` header.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pebble::Pebble;

/// What the front answers by itself to a request for this path.
type Own = dyn Fn(&str) -> Option<Response<String>> + Send + Sync;

/// The front; it ends with this.
pub struct AcmeFront {
    state: Arc<State>,
    serving: JoinHandle<()>,
}

struct State {
    port: u16,
    pebble: u16,
    connector: TlsConnector,
    own: Box<Own>,
    paths: Mutex<Vec<String>>,
}

impl Drop for AcmeFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl AcmeFront {
    /// Begins to serve. Requests that `own` does not answer are passed on.
    pub async fn start(
        pebble: &Pebble,
        own: impl Fn(&str) -> Option<Response<String>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = pebble.authority();
        let files = authority.issue("front", &["localhost"]);
        let acceptor = TlsAcceptor::from(authority.server(&files));
        let state = Arc::new(State {
            port: listener.local_addr().expect("an address").port(),
            pebble: pebble.port(),
            connector: TlsConnector::from(authority.client()),
            own: Box::new(own),
            paths: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, acceptor, Arc::clone(&state)));
        Self { state, serving }
    }

    /// The URL of its directory.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.state.port)
    }

    /// The paths that were requested and begin with `prefix`.
    pub fn requested(&self, prefix: &str) -> Vec<String> {
        let paths = self.state.paths.lock().expect("no panic");
        let wanted = paths.iter().filter(|path| path.starts_with(prefix));
        wanted.cloned().collect()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| state.answer(request));
            let http = hyper::server::conn::http1::Builder::new();
            http.serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

impl State {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        self.paths.lock().expect("no panic").push(path.clone());
        if let Some(own) = (self.own)(&path) {
            return Ok(own.map(|body| Full::new(body.into())));
        }
        let (mut head, mut body) = self.pass_on(request).await.into_parts();
        if path == "/dir" {
            let mut directory: Value = serde_json::from_slice(&body).expect("a directory");
            let renewal = format!("https://localhost:{}/renewal", self.port);
            directory["renewalInfo"] = renewal.into();
            head.headers.remove(CONTENT_LENGTH);
            body = directory.to_string().into();
        }
        Ok(Response::from_parts(head, Full::new(body)))
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Response<Bytes> {
        let stream = TcpStream::connect(("127.0.0.1", self.pebble)).await;
        let name = "localhost".try_into().expect("a name");
        let stream = self.connector.connect(name, stream.expect("it listens"));
        let stream = TokioIo::new(stream.await.expect("a handshake"));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("a client's side cannot fail here");
        // How it ended shows in the response.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Response::from_parts(head, body)
    }
}
