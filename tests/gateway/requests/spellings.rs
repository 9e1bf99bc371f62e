//! One spelling of a request: whatever a client writes, the gateway decides on one form, and the
//! backend gets the form that was judged (I13).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::peers::{Language, Server};
use crate::support::raw::Raw;
use crate::support::{Backend, Client, Gateway, config, eventually};

/// A guarded `/admin/{*rest}` and `/exact` beside an open rest, over one backend.
fn guarded(backend: &str) -> String {
    let keys = "[authenticators.keys]\ntype = \"api_key\"\nfrom = [\"header:x-key\"]\n\
        keys = [{ subject = \"ann\", sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\" }]\n";
    let route = |name: &str, path: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"echo\"\n{more}\n")
    };
    let asks = "authenticate = [\"keys\"]";
    [
        keys.to_owned(),
        format!("[upstreams.echo]\nbackends = [\"{backend}\"]\n"),
        route("admin", "/admin/{*rest}", asks),
        route("exact", "/exact", asks),
        route("cafe", "/café/{*rest}", asks),
        route(
            "host",
            "/{*rest}",
            &format!("{asks}\nhosts = [\"admin.example.com\"]"),
        ),
        route("open", "/{*rest}", ""),
        route(
            "data",
            "/data/{*rest}",
            "paths = { encoded_slash = \"pass\", \
            semicolon = \"pass\", empty_segments = \"pass\", lookalikes = \"pass\" }",
        ),
    ]
    .join("\n")
}

/// The status that a request line and a host are answered with.
async fn status(gateway: &Gateway, target: &str, host: &str) -> u16 {
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ))
    .await;
    raw.status().await.expect("an answer")
}

#[tokio::test]
async fn i13_no_spelling_of_a_guarded_path_goes_by_the_open_route() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&guarded(&backend.address.to_string())).await;
    for (target, expected) in [
        ("/admin/x", 401),
        ("//admin/x", 401),
        ("/%61dmin", 401),
        ("/%61%64min///x", 401),
        ("/caf%c3%a9/x", 401),
        ("/café/x", 401),
        ("/admin%2fx", 400),
        ("/%2fadmin/x", 400),
        ("/admin\\x", 400),
        ("/%5cadmin/x", 400),
        ("/admin;a=1/x", 400),
        ("/;/admin/x", 400),
        ("/x/../admin/x", 400),
        ("/x/%2e%2e/admin/x", 400),
        ("/exact/", 400),
        ("/Exact", 400),
        ("/Admin/x", 400),
        ("/admin%00", 400),
        ("/%c0%afadmin", 400),
        ("/100%", 400),
        ("/ws/room#7?k=1", 400),
        ("/a\"b", 400),
        ("/<a>", 400),
    ] {
        assert_eq!(
            status(&gateway, target, "a.example").await,
            expected,
            "{target}"
        );
    }
    assert_eq!(
        backend.accepted(),
        0,
        "a refused request reached the backend"
    );
    for (target, forwarded) in [
        ("/open//x?y=%6b", "/open/x?y=%6b"),
        ("/%6fpen/%7e%c3%a9", "/open/~%C3%A9"),
        ("/Open/", "/Open/"),
        ("/data/a%2fb;c=1//d", "/data/a%2Fb;c=1//d"),
        ("/data/Admin/", "/data/Admin/"),
    ] {
        assert_eq!(status(&gateway, target, "a.example").await, 200, "{target}");
        assert_eq!(backend.last_seen().target, forwarded, "{target}");
    }
}

#[tokio::test]
async fn i13_a_host_is_guarded_in_every_spelling() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&guarded(&backend.address.to_string())).await;
    for (target, host, expected) in [
        ("/x", "admin.example.com", 401),
        ("/x", "ADMIN.Example.com.", 401),
        ("/x", "admin.example.com:8080", 401),
        ("http://admin.example.com/x", "admin.example.com", 401),
        ("http://x@admin.example.com/x", "x@admin.example.com", 400),
        ("http://x@admin.example.com/x", "admin.example.com", 400),
        ("/x", "admin%2eexample.com", 400),
        ("/x", "admin..example.com", 400),
        ("/x", ".admin.example.com", 400),
        ("/x", "admin.example.com:x", 400),
        ("/x", "admin.example.com,a", 400),
    ] {
        assert_eq!(
            status(&gateway, target, host).await,
            expected,
            "{target} {host}"
        );
    }
    assert_eq!(
        backend.accepted(),
        0,
        "a refused request reached the backend"
    );
    assert_eq!(status(&gateway, "/x", "Other.Example.:80").await, 200);
    assert_eq!(backend.last_seen().header("host"), Some("other.example:80"));
}

#[tokio::test]
async fn i13_a_request_without_a_host_is_routed_by_the_host_that_its_backend_gets() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "path = \"/{*rest}\"")
        + "\n[[routes]]\nname = \"local\"\nhosts = [\"localhost\"]\npath = \"/inner\"\n\
           upstream = \"echo\"\nallow = [\"192.0.2.1\"]\n";
    let gateway = Gateway::start(&text).await;
    for head in [
        "GET /inner HTTP/1.0\r\n\r\n",
        "GET /inner HTTP/1.1\r\nHost:\r\n\r\n",
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(head).await;
        assert_eq!(raw.status().await, Some(403), "{head}");
    }
    assert_eq!(backend.accepted(), 0);
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET /outer HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.status().await, Some(200));
    assert_eq!(backend.last_seen().header("host"), Some("localhost"));
}

#[tokio::test]
async fn i13_a_method_is_guarded_in_every_spelling() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "path = \"/{*rest}\"")
        + "\n[[routes]]\nname = \"change\"\nmethods = [\"POST\"]\npath = \"/x\"\n\
           upstream = \"echo\"\nallow = [\"192.0.2.1\"]\n";
    let gateway = Gateway::start(&text).await;
    for (method, expected) in [("POST", 403), ("post", 400), ("Post", 400), ("PUT", 200)] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(format!(
            "{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.status().await, Some(expected), "{method}");
    }
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn a_target_with_a_fragment_is_refused_with_a_record_and_not_cut() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&guarded(&backend.address.to_string())).await;
    for target in ["/ws/room#7?k=1", "/ws?k=1#", "/\"quoted\""] {
        assert_eq!(status(&gateway, target, "a.example").await, 400, "{target}");
    }
    let log = gateway.directory().join("access.log");
    eventually("a record of each", async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .filter(|line| line.contains("bad_target"))
            .count()
            == 3
    })
    .await;
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn i13_equivalent_paths_are_one_room() {
    let mut backends = Vec::new();
    for _ in 0..6 {
        backends.push(Backend::echo().await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let route = "path = \"/ws/{room}\"\naffinity = [\"path:room\"]";
    let text = config::echo(&addresses, "", "").replace("affinity = [\"query:k\"]", route);
    let gateway = Gateway::start(&text).await;
    for room in [["a:b", "a%3Ab", "a%3ab"], ["%c3%a9", "%C3%A9", "%C3%a9"]] {
        let mut homes = BTreeSet::new();
        for spelling in room {
            let mut client = Client::connect(gateway.address(), &format!("/ws/{spelling}")).await;
            homes.insert(client.backend().await);
            client.close().await;
        }
        assert_eq!(homes.len(), 1, "{room:?} is at {homes:?}");
    }
}

/// Spellings of guarded paths that some server undoes.
const SPELLINGS: [&str; 22] = [
    "/admin/x",
    "//admin/x",
    "/%61dmin/x",
    "/admin%2fx",
    "/%2fadmin/x",
    "/admin\\x",
    "/%5cadmin/x",
    "/admin;a=1/x",
    "/;/admin/x",
    "/x/../admin/x",
    "/x/%2e%2e/admin/x",
    "/./admin/x",
    "/Admin/x",
    "/ADMIN",
    "/admin/",
    "/exact/",
    "/EXACT",
    "/%65xact",
    "//exact",
    "/caf%c3%a9/x",
    "/café/x",
    "/admin//x",
];

/// The whole answer to a GET of this target, without a credential.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, target: &str) -> String {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses may reset the connection.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks a gateway in front of a server for each spelling. `direct` are those at which the server
/// itself serves the guarded page: there must be some, or this would show nothing.
async fn none_gets_by(backend: &str, direct: &[&str], least: usize) {
    assert!(direct.len() >= least, "the server serves only {direct:?}");
    let gateway = Gateway::start(&guarded(backend)).await;
    for target in SPELLINGS {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let answer = ask(stream, target).await;
        assert!(
            !answer.contains("GUARDED"),
            "{backend} serves {target}: {answer}"
        );
        let refused = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 401 ");
        assert!(refused || !direct.contains(&target), "{target}: {answer}");
    }
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let answer = ask(stream, "/other").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("open"),
        "{answer}"
    );
}

async fn over_tcp(server: &Server, least: usize) {
    let mut direct = Vec::new();
    for target in SPELLINGS {
        let stream = TcpStream::connect(server.address).await.unwrap();
        if ask(stream, target).await.contains("GUARDED") {
            direct.push(target);
        }
    }
    none_gets_by(&server.address.to_string(), &direct, least).await;
}

#[tokio::test]
async fn i13_no_spelling_gets_by_in_front_of_express() {
    over_tcp(&Server::start(Language::Node, "guarded", &[]), 6).await;
}

#[tokio::test]
async fn i13_no_spelling_gets_by_in_front_of_flask() {
    over_tcp(&Server::start(Language::Python, "guarded", &[]), 4).await;
}

/// nginx on a unix socket, ended when it is dropped.
struct Nginx(Child);

impl Nginx {
    fn start(directory: &Path) -> Self {
        let config = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\naccess_log off;\n\
             client_body_temp_path {0}/body;\nproxy_temp_path {0}/proxy;\n\
             fastcgi_temp_path {0}/fastcgi;\nuwsgi_temp_path {0}/uwsgi;\nscgi_temp_path {0}/scgi;\n\
             server {{\nlisten unix:{0}/nginx.sock;\n\
             location /admin {{ return 200 GUARDED; }}\n\
             location = /exact {{ return 200 GUARDED; }}\n\
             location /café/ {{ return 200 GUARDED; }}\n\
             location / {{ return 200 open; }}\n}}\n}}\n",
            directory.display()
        );
        fs::write(directory.join("nginx.conf"), config).unwrap();
        // Not in the path of everybody.
        let program = Path::new("/usr/sbin/nginx");
        let child = Command::new(if program.exists() {
            program
        } else {
            Path::new("nginx")
        })
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(directory.join("nginx.conf"))
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is missing: run `./test --prepare` once");
        Self(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn i13_no_spelling_gets_by_in_front_of_nginx() {
    let directory = tempfile::tempdir().unwrap();
    let _nginx = Nginx::start(directory.path());
    let socket = directory.path().join("nginx.sock");
    eventually("nginx listens", async || {
        UnixStream::connect(&socket).await.is_ok()
    })
    .await;
    let mut direct = Vec::new();
    for target in SPELLINGS {
        let stream = UnixStream::connect(&socket).await.unwrap();
        if ask(stream, target).await.contains("GUARDED") {
            direct.push(target);
        }
    }
    none_gets_by(&format!("unix:{}", socket.display()), &direct, 10).await;
}
