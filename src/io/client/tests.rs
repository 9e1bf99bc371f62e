use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;
use crate::base::addr::ListenAddr;
use crate::io::net::dial::DialError;

const LIMITS: ExchangeLimits = ExchangeLimits {
    time: Duration::from_secs(10),
    body: 64,
};
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The answer to the request with this number on the connection with this number; `None` closes the
/// connection instead.
type Script = fn(connection: usize, request: usize) -> Option<&'static str>;

/// A server that follows a script, on the test's own runtime.
struct Server {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    opened: AtomicUsize,
    open: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Server {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::<State>::default();
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.opened.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                connections.spawn(async move {
                    serve(&state, stream, |request| script(number, request)).await;
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    fn opened(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
    }

    fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Waits until the client has this many connections open.
    async fn has_open(&self, expected: usize) {
        while self.state.open.load(Ordering::SeqCst) != expected {
            tokio::task::yield_now().await;
        }
    }

    fn request(&self, method: Method) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method);
        let request = request.uri(format!("http://{}/path?query", self.address));
        request.body(Full::default()).expect("a request")
    }

    async fn get(&self, client: &Client) -> Result<Response<Bytes>, ClientError> {
        client.ask(self.request(Method::GET), LIMITS).await
    }
}

async fn serve(
    state: &State,
    mut stream: TcpStream,
    answer: impl Fn(usize) -> Option<&'static str>,
) {
    for request in 0.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let head = String::from_utf8(head).expect("text");
        state.heads.lock().unwrap().push(head);
        let Some(answer) = answer(request) else {
            return;
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn client() -> Client {
    Client::new(None, OwnAddresses::default(), LIMITS.time)
}

fn keeping(kept: Kept) -> Client {
    let connector = Connector {
        tls: None,
        own: Arc::default(),
        timeout: LIMITS.time,
    };
    Client::keeping(kept, connector)
}

#[tokio::test]
async fn requests_one_after_the_other_use_one_connection() {
    let server = Server::start(|_, _| Some(OK)).await;
    let client = client();
    for _ in 0..20 {
        let answer = server.get(&client).await.expect("an answer");
        assert_eq!(answer.body(), "ok");
    }
    assert_eq!(server.opened(), 1);
    let heads = server.heads();
    assert_eq!(heads.len(), 20);
    let expected = format!(
        "GET /path?query HTTP/1.1\r\nuser-agent: sessile/{}\r\nhost: {}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        server.address
    );
    assert_eq!(heads[0], expected);
}

#[tokio::test]
async fn a_connection_whose_end_is_announced_takes_no_further_request() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        static ANSWER: Mutex<&str> = Mutex::new("");
        *ANSWER.lock().unwrap() = answer;
        let server = Server::start(|_, _| Some(*ANSWER.lock().unwrap())).await;
        let client = client();
        for _ in 0..3 {
            server.get(&client).await.expect("an answer");
        }
        assert_eq!(server.opened(), 3, "{answer}");
        server.has_open(0).await;
    }
}

#[tokio::test]
async fn a_get_is_sent_again_when_the_server_closed_a_kept_connection() {
    // Each connection answers once. The second request on it is read and not answered, which looks
    // to the client like a server that closed it before it read.
    let server = Server::start(|_, request| (request == 0).then_some(OK)).await;
    let client = client();
    for _ in 0..10 {
        server.get(&client).await.expect("an answer");
    }
    // A connection of a second attempt is not kept.
    assert_eq!(server.opened(), 10);
    assert_eq!(server.heads().len(), 15);
}

#[tokio::test]
async fn a_request_that_may_have_been_read_is_not_repeated() {
    let server = Server::start(|_, request| (request == 0).then_some(OK)).await;
    let client = client();
    server.get(&client).await.expect("an answer");
    // Not idempotent.
    let post = client.ask(server.request(Method::POST), LIMITS).await;
    assert!(matches!(post, Err(ClientError::Http(_))), "{post:?}");
    assert_eq!(server.heads().len(), 2);

    // A new connection has not been idle.
    let silent = Server::start(|_, _| None).await;
    let answer = silent.get(&client).await;
    assert!(matches!(answer, Err(ClientError::Http(_))), "{answer:?}");
    assert_eq!(silent.heads().len(), 1);

    // An answer that is no HTTP would be none the second time either.
    let odd = Server::start(|_, request| Some(if request == 0 { OK } else { "nonsense\r\n\r\n" }));
    let odd = odd.await;
    odd.get(&client).await.expect("an answer");
    let answer = odd.get(&client).await;
    assert!(matches!(answer, Err(ClientError::Http(_))), "{answer:?}");
    assert_eq!(odd.heads().len(), 2);
}

#[tokio::test]
async fn i8_idle_connections_are_bounded_in_number_and_time() {
    let server = Server::start(|_, _| Some(OK)).await;
    let client = client();
    let together = Barrier::new(20);
    let ask = async || {
        together.wait().await;
        server.get(&client).await.expect("an answer");
    };
    futures_util::future::join_all((0..20).map(|_| ask())).await;
    server.has_open(KEPT.idle_max).await;
    drop(client);
    server.has_open(0).await;

    let kept = Kept {
        idle_time: Duration::from_millis(1),
        ..KEPT
    };
    let client = keeping(kept);
    server.get(&client).await.expect("an answer");
    server.has_open(0).await;
}

#[tokio::test]
async fn an_old_connection_is_replaced() {
    let server = Server::start(|_, _| Some(OK)).await;
    let kept = Kept {
        age_max: Duration::ZERO,
        ..KEPT
    };
    let client = keeping(kept);
    for _ in 0..3 {
        server.get(&client).await.expect("an answer");
    }
    assert_eq!(server.opened(), 3);
    server.has_open(1).await;
}

#[tokio::test]
async fn i8_an_answer_is_bounded() {
    let client = client();
    static BODY: LazyLock<String> = LazyLock::new(|| {
        let long = "x".repeat(65);
        format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{long}")
    });
    let body = Server::start(|_, _| Some(&BODY)).await;
    let answer = body.get(&client).await;
    assert!(
        matches!(answer, Err(ClientError::TooLarge(64))),
        "{answer:?}"
    );
    body.has_open(0).await;

    static HEAD: LazyLock<String> = LazyLock::new(|| {
        let long = "x".repeat(2 * HEAD_MAX);
        format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\ncontent-length: 0\r\n\r\n")
    });
    let head = Server::start(|_, _| Some(&HEAD)).await;
    let answer = head.get(&client).await;
    assert!(matches!(answer, Err(ClientError::Http(_))));

    let slow = Server::start(|_, _| Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")).await;
    let time = Duration::from_millis(1);
    let limits = ExchangeLimits { time, ..LIMITS };
    let answer = client.ask(slow.request(Method::GET), limits).await;
    assert!(
        matches!(answer, Err(ClientError::TimedOut(_))),
        "{answer:?}"
    );
    slow.has_open(0).await;
}

#[tokio::test]
async fn the_gateways_own_addresses_are_never_connected_to() {
    let server = Server::start(|_, _| Some(OK)).await;
    let own = OwnAddresses::new(vec![ListenAddr::Tcp(server.address)]);
    let client = Client::new(None, own, LIMITS.time);
    let Err(ClientError::Connect(error)) = server.get(&client).await else {
        panic!("connected");
    };
    let own = matches!(*error, ConnectError::Dial(DialError::Own { .. }));
    assert!(own, "{error}");
    assert_eq!(server.opened(), 0);
}

#[tokio::test]
async fn only_http_urls_are_asked_and_https_only_with_roots() {
    for (text, good) in [
        ("http://id.example.com/keys", true),
        ("https://[::1]:8443", true),
        ("ftp://id.example.com/", false),
        ("/keys", false),
        ("id.example.com:80", false),
        ("http://", false),
        ("", false),
    ] {
        assert_eq!(url(text).is_ok(), good, "{text}");
    }
    let request = Request::get("https://127.0.0.1:1/").body(Full::default());
    let answer = client().ask(request.expect("a request"), LIMITS).await;
    let Err(ClientError::Connect(error)) = answer else {
        panic!("asked");
    };
    assert!(matches!(*error, ConnectError::Url), "{error}");
}
