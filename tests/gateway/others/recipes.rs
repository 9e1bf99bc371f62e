//! The recipes of the book, with the real programs that they are about: the configuration of the
//! page as it stands, only addresses are others.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::support::free_port;
use crate::support::peers::{Language, Server, python, run_client};
use crate::support::{Gateway, eventually};

/// A gateway with the configuration of this page in front of these backends, which replace those on
/// 9101, 9102 (or the one on 5173).
async fn gateway(page: &str, backends: &[SocketAddr]) -> Gateway {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
    let text = fs::read_to_string(path.join(page)).unwrap();
    let block = text.split("```toml\n").nth(1).expect("a configuration");
    let mut config = block.split("```").next().unwrap().to_owned();
    let mut replace = |written: &str, address: String| {
        assert!(config.contains(written), "{written} is not in {page}");
        config = config.replace(written, &address);
    };
    replace("127.0.0.1:8080", "127.0.0.1:0".to_owned());
    match backends {
        [only] if page == "vite.md" => replace("127.0.0.1:5173", only.to_string()),
        [one, two] => {
            replace("127.0.0.1:9101", one.to_string());
            replace("127.0.0.1:9102", two.to_string());
        }
        _ => panic!("as many backends as {page} has"),
    }
    Gateway::start(&config).await
}

#[track_caller]
fn assert_passed(result: &serde_json::Value, expected: &[&str]) {
    assert_eq!(result["passed"], serde_json::json!(expected));
}

#[tokio::test]
async fn socket_io_polls_and_upgrades_at_one_instance() {
    let [one, two] =
        ["one", "two"].map(|name| Server::start(Language::Node, "socketio_server", &[name]));
    let gateway = gateway("socketio.md", &[one.address, two.address]).await;
    let url = format!("http://{}", gateway.address());
    let arguments = vec![url, "8".to_owned()];
    let result = run_client(Language::Node, "socketio_client", arguments).await;
    assert!(result["passed"].as_array().unwrap().len() >= 3, "{result}");
}

#[tokio::test]
async fn graphql_subscribes_over_a_socket_and_queries_over_http() {
    let [one, two] =
        ["one", "two"].map(|name| Server::start(Language::Node, "graphql_server", &[name]));
    let gateway = gateway("graphql-ws.md", &[one.address, two.address]).await;
    let url = format!("http://{}/graphql", gateway.address());
    let result = run_client(Language::Node, "graphql_client", vec![url]).await;
    assert_passed(&result, &["query", "subscription"]);
    let record = &gateway.wait_for_records(1).await[0];
    assert_eq!(record.route, "subscriptions");
    assert_eq!(gateway.wait_for_requests(1).await[0]["route"], "queries");
}

/// A program that is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a program that listens at this address, and waits for it.
async fn start(mut command: Command, address: SocketAddr) -> Program {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let program = Program(command.spawn().expect("`./test --prepare` installs it"));
    let what = format!("{command:?} listens");
    eventually(&what, async || TcpStream::connect(address).await.is_ok()).await;
    program
}

fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

#[tokio::test]
async fn mqtt_clients_publish_and_receive_at_a_broker() {
    let address = free_address();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mosquitto.conf");
    let port = address.port();
    // Version 2.0.11, Debian's, does not start with a listener for WebSockets alone.
    let other = free_port();
    let text = format!(
        "listener {other} 127.0.0.1\n\nlistener {port} 127.0.0.1\nprotocol websockets\n\n\
         allow_anonymous true\npersistence false\n"
    );
    fs::write(&file, text).unwrap();
    // Where Debian has servers, for users who are not root.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("mosquitto");
    command
        .arg("-c")
        .arg(&file)
        .env("PATH", format!("{path}:/usr/sbin"));
    let _broker = start(command, address).await;
    // The broker does not share its sessions; the other one is down.
    let gateway = gateway("mqtt.md", &[address, free_address()]).await;
    let edge = gateway.address();
    let arguments = vec![edge.ip().to_string(), edge.port().to_string()];
    let result = run_client(Language::Python, "mqtt_client", arguments).await;
    assert_passed(&result, &["3.1.1", "5"]);
    let records = gateway.wait_for_records(4).await;
    assert!(records.iter().all(|record| record.route == "mqtt"));
}

#[tokio::test]
async fn novnc_reaches_a_screen_behind_websockify() {
    let screen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = screen.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = screen.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"RFB 003.008\n").await.ok();
                let (mut reader, mut writer) = stream.split();
                copy(&mut reader, &mut writer).await.ok();
            });
        }
    });
    let addresses = [free_address(), free_address()];
    let mut programs = Vec::new();
    for address in addresses {
        let mut command = Command::new(python());
        command.args(["-m", "websockify", &address.to_string(), &at.to_string()]);
        programs.push(start(command, address).await);
    }
    let gateway = gateway("novnc.md", &addresses).await;
    let url = format!("ws://{}", gateway.address());
    let result = run_client(Language::Python, "vnc_client", vec![url]).await;
    assert_passed(&result, &["subprotocol None", "subprotocol binary"]);
    let records = gateway.wait_for_records(2).await;
    assert_eq!(
        records[0].backend, records[1].backend,
        "one token, one backend"
    );
}

/// Two servers with a token, and a kernel in one of them: the cookie of the recipe keeps a notebook
/// and its kernel together.
#[tokio::test]
async fn jupyter_runs_cells_of_a_kernel() {
    const TOKEN: &str = "s3cret";
    let folder = tempfile::tempdir().unwrap();
    let addresses = [free_address(), free_address()];
    let mut servers = Vec::new();
    for address in addresses {
        let mut command = Command::new(python());
        command
            .args(["-m", "jupyter_server", "--ip=127.0.0.1", "--no-browser"])
            .args(["--allow-root", "--ServerApp.port_retries=0"])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--IdentityProvider.token={TOKEN}"))
            .arg(format!("--ServerApp.root_dir={}", folder.path().display()));
        for variable in ["CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"] {
            let place = folder.path().join(format!("{variable}-{}", address.port()));
            command.env(format!("JUPYTER_{variable}"), place);
        }
        command.env("IPYTHONDIR", folder.path().join("ipython"));
        servers.push(start(command, address).await);
    }
    let gateway = gateway("jupyter.md", &addresses).await;
    let arguments = vec![format!("http://{}", gateway.address()), TOKEN.to_owned()];
    let result = run_client(Language::Python, "notebook_client", arguments).await;
    assert_passed(&result, &["json", "v1", "state", "origin"]);
    let records = gateway.wait_for_records(4).await;
    assert!(records.iter().all(|record| record.route == "rest"));
    assert!(records.iter().all(|one| one.backend == records[0].backend));
}

/// The servers of a page: the program that speaks its protocol, twice.
fn pair(program: &str) -> [Server; 2] {
    ["one", "two"].map(|name| Server::start(Language::Node, program, &[name]))
}

#[tokio::test]
async fn phoenix_joins_a_channel_pushes_and_beats() {
    let [one, two] = pair("phoenix_server");
    let gateway = gateway("phoenix.md", &[one.address, two.address]).await;
    let url = format!("ws://{}", gateway.address());
    let result = run_client(Language::Node, "phoenix_client", vec![url]).await;
    assert_passed(&result, &["join", "push", "heartbeat"]);
    let record = &gateway.wait_for_records(1).await[0];
    assert_eq!(record.route, "phoenix");
}

#[tokio::test]
async fn action_cable_subscribes_and_performs() {
    let [one, two] = pair("actioncable_server");
    let gateway = gateway("actioncable.md", &[one.address, two.address]).await;
    let url = format!("http://{}", gateway.address());
    let result = run_client(Language::Node, "actioncable_client", vec![url]).await;
    assert_passed(&result, &["subscribe", "perform"]);
    let record = &gateway.wait_for_records(1).await[0];
    assert_eq!(record.route, "cable");
}

/// Each connection negotiates and connects at one instance, and the two instances share them.
#[tokio::test]
async fn signalr_negotiates_and_connects_at_one_instance() {
    let [one, two] = pair("signalr_server");
    let gateway = gateway("signalr.md", &[one.address, two.address]).await;
    let url = format!("http://{}", gateway.address());
    let arguments = vec![url, "16".to_owned()];
    let result = run_client(Language::Node, "signalr_client", arguments).await;
    assert_passed(&result, &["negotiate", "invoke"]);
    assert_eq!(result["instances"], serde_json::json!(["one", "two"]));
    let records = gateway.wait_for_records(16).await;
    assert!(records.iter().all(|record| record.route == "hub"));
}

#[tokio::test]
async fn vite_tells_a_page_about_a_file_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<!doctype html><script type=\"module\" src=\"/main.js\"></script>";
    fs::write(folder.path().join("index.html"), page).unwrap();
    fs::write(folder.path().join("main.js"), "console.log(1);\n").unwrap();
    let root = folder.path().display().to_string();
    let server = Server::start(Language::Node, "vite_server", &[&root]);
    let gateway = gateway("vite.md", &[server.address]).await;
    let url = format!("http://{}", gateway.address());
    let result = run_client(Language::Node, "vite_client", vec![url, root]).await;
    assert_passed(&result, &["page", "change"]);
    let record = &gateway.wait_for_records(1).await[0];
    assert_eq!(record.route, "hmr");
}
