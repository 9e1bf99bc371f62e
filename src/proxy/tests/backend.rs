//! Backends of unit tests: they answer by a script, at a unix socket.

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;

/// The answer to the request with this number, over all connections. `None` ends the connection
/// without an answer; so does an answer whose head is not whole, behind it.
type Script = dyn Fn(usize) -> Option<String>;

/// A backend that answers by a script.
pub(crate) struct ScriptedBackend {
    path: PathBuf,
    listener: Cell<Option<StdUnixListener>>,
    state: Rc<State>,
    _directory: tempfile::TempDir,
}

struct State {
    script: Box<Script>,
    heads: RefCell<Vec<String>>,
    /// What came after its 101.
    after: RefCell<Vec<u8>>,
}

impl ScriptedBackend {
    /// Listens, and serves once [`Self::serve`] is called.
    pub(crate) fn new(script: impl Fn(usize) -> Option<String> + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let listener = StdUnixListener::bind(&path).expect("a free path");
        listener.set_nonblocking(true).expect("a socket");
        Self {
            path,
            listener: Cell::new(Some(listener)),
            state: Rc::new(State {
                script: Box::new(script),
                heads: RefCell::default(),
                after: RefCell::default(),
            }),
            _directory: directory,
        }
    }

    /// The same answer to every request.
    pub(crate) fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::new(move |_| Some(answer.clone()))
    }

    /// Its address as the configuration has it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Accepts connections as tasks of this thread.
    pub(crate) fn serve(&self) {
        let listener = self.listener.take().expect("it serves once");
        let listener = UnixListener::from_std(listener).expect("a runtime");
        let state = Rc::clone(&self.state);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(answer(Rc::clone(&state), stream));
            }
        });
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.borrow().clone()
    }

    /// What it received after its 101.
    pub(crate) fn after(&self) -> Vec<u8> {
        self.state.after.borrow().clone()
    }
}

async fn answer(state: Rc<State>, mut stream: UnixStream) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let number = state.heads.borrow().len();
        let head = String::from_utf8(head).expect("text");
        state.heads.borrow_mut().push(head);
        let Some(answer) = (state.script)(number) else {
            return;
        };
        let written = stream.write_all(answer.as_bytes()).await;
        if written.is_err() || !answer.contains("\r\n\r\n") {
            return;
        }
        if answer.starts_with("HTTP/1.1 101 ") {
            let mut buffer = [0; 256];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                state.after.borrow_mut().extend_from_slice(&buffer[..read]);
            }
            return;
        }
    }
}

/// A valid 101 to the key of `websocket`, with further lines.
pub(crate) fn switch(lines: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{lines}\r\n"
    )
}

/// An ordinary answer with this status line and body.
pub(crate) fn ordinary(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A body as hyper reads it from a connection.
pub(crate) async fn incoming(body: &str) -> Incoming {
    let (client, mut server) = tokio::io::duplex(4096);
    let answer = ordinary("200 OK", body);
    spawn_local(async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(server.read_u8().await.expect("a request"));
        }
        server.write_all(answer.as_bytes()).await.expect("room");
        // Open until the client has read it.
        let _ = server.read_u8().await;
    });
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(client));
    let (mut sender, connection) = handshake.await.expect("a stream");
    spawn_local(connection);
    let request = http::Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    let response = sender.send_request(request).await.expect("an answer");
    response.into_body()
}
