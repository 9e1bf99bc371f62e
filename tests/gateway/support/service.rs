//! A small HTTP service, over TLS or not, whose answer a test decides and may change: an issuer of
//! keys, one that decides who is let in.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What a request's head is answered with: status line, headers and body, without their length.
type Answer = Arc<dyn Fn(&str) -> (String, String) + Send + Sync>;

/// One of them; dropping it ends it.
pub struct Service {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    tls: Option<TlsAcceptor>,
    answer: Mutex<Answer>,
    asked: Mutex<Vec<String>>,
    /// Connections so far.
    opened: AtomicUsize,
    /// Whether a connection ends when its second request arrives.
    closes: AtomicBool,
}

impl Service {
    /// One that answers so, on a free port. It keeps connections.
    pub async fn start(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&str) -> (String, String) + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(State {
            tls: tls.map(TlsAcceptor::from),
            answer: Mutex::new(Arc::new(answer)),
            asked: Mutex::default(),
            opened: AtomicUsize::new(0),
            closes: AtomicBool::new(false),
        });
        let (address, task) = listen(([127, 0, 0, 1], 0).into(), Arc::clone(&state)).await;
        Self {
            address,
            state,
            task,
        }
    }

    /// An issuer with these keys.
    pub async fn issuer(tls: Option<Arc<ServerConfig>>, jwks: String) -> Self {
        Self::start(tls, move |_| (String::from("200 OK"), jwks.clone())).await
    }

    /// From now on these keys.
    pub fn publish(&self, jwks: String) {
        self.answer_with(move |_| (String::from("200 OK"), jwks.clone()));
    }

    /// From now on this.
    pub fn answer_with(&self, answer: impl Fn(&str) -> (String, String) + Send + Sync + 'static) {
        *self.state.answer.lock().expect("no answer panicked") = Arc::new(answer);
    }

    /// Heads of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().expect("no answer panicked").clone()
    }

    /// Connections so far.
    pub fn opened(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
    }

    /// From now on each connection answers once. Its next request is read and the connection ended,
    /// which is what a client sees of a server that closes idle connections just then.
    pub fn answer_once_on_each_connection(&self) {
        self.state.closes.store(true, Ordering::SeqCst);
    }

    /// Ends its connections and its listener: further connections are refused.
    pub async fn stop(&mut self) {
        self.task.abort();
        (&mut self.task).await.ok();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(address: SocketAddr, state: Arc<State>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("it is free");
    let address = listener.local_addr().expect("a bound socket");
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            state.opened.fetch_add(1, Ordering::SeqCst);
            let state = Arc::clone(&state);
            connections.spawn(async move {
                match &state.tls {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(&state, stream).await;
                        }
                    }
                    None => serve(&state, stream).await,
                }
            });
            while connections.try_join_next().is_some() {}
        }
    });
    (address, task)
}

/// Answers requests until the client ends the connection.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(state: &State, mut stream: S) {
    for request in 0.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        if request > 0 && state.closes.load(Ordering::SeqCst) {
            return;
        }
        let head = String::from_utf8(head).expect("the gateway writes text");
        let answer = Arc::clone(&state.answer.lock().expect("no answer panicked"));
        let (start, body) = answer(&head);
        state.asked.lock().expect("no answer panicked").push(head);
        let length = body.len();
        let whole = format!("HTTP/1.1 {start}\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(whole.as_bytes()).await.is_err() {
            return;
        }
    }
}
