//! The admin API under the hands of people who may only look, or who have no token at all.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::support::admin::Answer;
use crate::support::{Backend, Gateway, config};

const TOKEN: &str = "operator-token-0123456789";
const READ_TOKEN: &str = "reader-token-0123456789";
/// More connections than the admin API keeps.
const CROWD: usize = 300;

async fn gateway(backend: &Backend) -> Gateway {
    let read = format!("# admin: read_token = \"{READ_TOKEN}\"\n");
    let text = config::echo(&[backend.address], "", &read);
    Gateway::start_with_admin_token(&text, TOKEN).await
}

/// A candidate whose route has these further lines.
fn preview(gateway: &Gateway, backend: &Backend, token: &str, route: &str) -> Answer {
    let text = config::echo(&[backend.address], "", route);
    let config = config::complete(&text, gateway.directory());
    let body = json!({ "config": config }).to_string();
    gateway.admin_as(Some(token), "POST", "/v1/preview", &body)
}

#[tokio::test]
async fn i12_a_read_only_operator_cannot_make_the_gateway_open_files() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    fs::write(gateway.directory().join("admin.token"), TOKEN).unwrap();
    assert_eq!(preview(&gateway, &backend, READ_TOKEN, "").status, 200);
    let authenticator =
        |line: &str| format!("authenticate = [\"x\"]\n[authenticators.x]\ntype = \"jwt\"\n{line}");
    for route in [
        "allow = [{ file = \"admin.token\" }]".to_owned(),
        "allow = [{ file = \"no-such-file\" }]".to_owned(),
        "deny = [{ file = \"/dev/zero\" }]".to_owned(),
        authenticator("secret = { env = \"PATH\" }"),
        authenticator("secret = { env = \"NO_SUCH_VARIABLE\" }"),
        authenticator("secret = { file = \"admin.token\" }"),
        authenticator("jwks = \"admin.token\""),
        authenticator("public_key = \"admin.token\""),
        "[authenticators.b]\ntype = \"basic\"\nhtpasswd = \"admin.token\"".to_owned(),
        "[authenticators.k]\ntype = \"api_key\"\nkeys_file = \"admin.token\"".to_owned(),
        "[upstreams.tls]\nbackends = [\"a:1\"]\ntls = { ca = \"admin.token\" }".to_owned(),
        "[sources.etcd]\nendpoints = [\"https://a:1\"]\ntls = { ca = \"admin.token\" }".to_owned(),
    ] {
        let answer = preview(&gateway, &backend, READ_TOKEN, &route);
        // Whether there is such a file or variable shows no more than what is in it.
        assert_eq!(answer.status, 403, "{route}: {}", answer.body);
        assert!(answer.body.contains("only an operator"), "{}", answer.body);
        assert!(!answer.body.contains(TOKEN));

        let answer = preview(&gateway, &backend, TOKEN, &route);
        assert_ne!(answer.status, 403, "{route}: {}", answer.body);
        assert!(!answer.body.contains(TOKEN), "{route}: {}", answer.body);
    }
}

#[tokio::test]
async fn i12_a_candidate_that_names_a_pipe_or_a_device_is_refused_and_holds_nothing_up() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let pipe = gateway.directory().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for (file, what) in [
        ("pipe", "pipe"),
        ("/dev/zero", "device"),
        (".", "directory"),
    ] {
        let route = format!("allow = [{{ file = \"{file}\" }}]");
        let answer = preview(&gateway, &backend, TOKEN, &route);
        assert_eq!(answer.status, 422, "{}", answer.body);
        let expected = format!("it is a {what}, not a regular file");
        assert!(answer.body.contains(&expected), "{}", answer.body);
    }
    assert_eq!(gateway.admin("POST", "/v1/reload", "").status, 200);
}

/// Connections that have sent `text` and wait.
fn crowd(gateway: &Gateway, text: &str) -> Vec<UnixStream> {
    let connect = |_| {
        let mut stream = UnixStream::connect(gateway.directory().join("admin.sock")).unwrap();
        // A connection that was ended for another one does not take it.
        let _ = stream.write_all(text.as_bytes());
        stream
    };
    (0..CROWD).map(connect).collect()
}

fn is_open(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = (&*stream).read(&mut [0; 1]);
    matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn i8_probes_are_answered_while_others_fill_the_admin_api() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let unfinished = format!(
        "POST /v1/resolve HTTP/1.1\r\nhost: admin\r\nauthorization: Bearer {READ_TOKEN}\r\n\
         content-length: 100\r\n\r\n{{"
    );
    for text in ["", "GET /livez HT", &unfinished] {
        let streams = crowd(&gateway, text);
        for target in ["/livez", "/readyz"] {
            let answer = gateway.admin_as(None, "GET", target, "");
            assert_eq!(answer.status, 200, "{text:?}");
        }
        assert_eq!(gateway.admin("GET", "/v1/status", "").status, 200);
        // No connection reached its time limit: the oldest were closed for new ones.
        assert!(is_open(&streams[CROWD - 1]), "{text:?}");
        assert!(!is_open(&streams[0]), "{text:?}");
    }
}

/// The answer to these bytes.
fn raw(gateway: &Gateway, text: &str) -> String {
    let mut stream = UnixStream::connect(gateway.directory().join("admin.sock")).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_by_the_admin_api_too() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let head = "GET /livez HTTP/1.1\r\nconnection: close\r\n";
    let fine = raw(&gateway, &format!("{head}host: a\r\n\r\n"));
    assert!(fine.starts_with("HTTP/1.1 200 "), "{fine}");
    for fields in [
        "host: a\r\nhost: a\r\n",
        "host: a\r\nhost: b\r\n",
        "",
        "host: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n",
        "host: a\r\ncontent-length: 0\r\ncontent-length: 0\r\n",
        "host : a\r\n",
    ] {
        let answer = raw(&gateway, &format!("{head}{fields}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?}: {answer}");
    }
}
