//! Everything in `examples/` does what it promises: its backends run as they are, behind a gateway
//! with the `gateway.toml` beside them; only ports are others.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;

use crate::support::brokers::BrokerServer;
use crate::support::consul::{Consul, instance};
use crate::support::etcd::Etcd;
use crate::support::event_source::EventSource;
use crate::support::kubernetes::{Cluster, Pod, pod};
use crate::support::peers::{Language, python, run_client};
use crate::support::tokens::{self, in_seconds, wanted};
use crate::support::{Client, Dial, Gateway, eventually, free_port};

const CLIENTS: &str = "127.0.0.1:8080";
const KAFKA: &str = "127.0.0.1:9092";
const BACKENDS: [&str; 2] = ["127.0.0.1:9101", "127.0.0.1:9102"];
const ROOMS: [&str; 6] = ["lobby", "kitchen", "attic", "cellar", "garden", "garage"];

#[tokio::test]
async fn the_rust_echo_gives_back_what_it_gets() {
    echoes(Example::rust("echo", &["127.0.0.1:0"]), "gateway.toml").await;
}

#[tokio::test]
async fn the_node_echo_gives_back_what_it_gets() {
    echoes(Example::node("node"), "node/gateway.toml").await;
}

#[tokio::test]
async fn the_python_echo_gives_back_what_it_gets() {
    let mut command = Command::new(python());
    command.arg(example("python/server.py")).arg("0");
    echoes(Example::start(&mut command), "python/gateway.toml").await;
}

/// The first comments start one backend, the configurations name two: every room must find it.
async fn echoes(backend: Example, config: &str) {
    // Bound but not listening: no other process gets the port, and connections to it are refused.
    let absent = TcpSocket::new_v4().unwrap();
    absent.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let gateway = gateway(config, [backend.address, absent.local_addr().unwrap()]).await;
    for room in ROOMS {
        let mut client = Client::connect(gateway.address(), &format!("/ws/{room}")).await;
        for message in [Message::text("grüße"), Message::binary(vec![0, 255])] {
            client.send(message.clone()).await;
            assert_eq!(client.receive().await, message);
        }
        client.close().await;
    }
}

#[tokio::test]
async fn the_chat_sends_to_all_clients_in_the_room_and_to_no_others() {
    let [one, two] = [(); 2].map(|()| Example::rust("chat", &["127.0.0.1:0"]));
    let gateway = gateway("gateway.toml", [one.address, two.address]).await;
    talk_in_rooms(&gateway).await;
}

/// Two clients in each room: what one sends reaches both.
async fn talk_in_rooms(gateway: &Gateway) {
    let mut rooms = Vec::new();
    for room in ROOMS {
        let path = format!("/ws/{room}");
        let first = Client::connect(gateway.address(), &path).await;
        let second = Client::connect(gateway.address(), &path).await;
        rooms.push((room, first, second));
    }
    // Were rooms to leak, the later ones would hear the earlier ones before themselves.
    for (room, first, second) in &mut rooms {
        let greeting = format!("hello {room}");
        first.send(greeting.as_str()).await;
        assert_eq!(first.receive_text().await, greeting);
        assert_eq!(second.receive_text().await, greeting);
    }
}

/// Its windows talk in the page of the examples.
async fn talk_in_browser(gateway: &Gateway) {
    let page = read("browser/index.html");
    let page = replaced(&page, CLIENTS, gateway.address());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("index.html");
    fs::write(&file, page).unwrap();
    let url = format!("file://{}", file.display());
    run_client(Language::Node, "chat_page", vec![url]).await;
}

#[tokio::test]
async fn the_browser_page_opens_and_its_windows_talk() {
    let [one, two] = [(); 2].map(|()| Example::rust("chat", &["127.0.0.1:0"]));
    let gateway = gateway("gateway.toml", [one.address, two.address]).await;
    talk_in_browser(&gateway).await;
}

/// A chat without a chat server: the gateway and its broker are all there is.
#[tokio::test]
async fn the_chat_without_a_server_sends_to_all_clients_in_the_room() {
    let text = read("chat/gateway.toml");
    let command = "# cargo run -- run --config examples/chat/gateway.toml\n";
    assert!(text.starts_with(command), "it begins with {command}");
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let gateway = Gateway::start(&text).await;
    talk_in_rooms(&gateway).await;
    talk_in_browser(&gateway).await;
}

/// A chat whose server knows HTTP only.
#[tokio::test]
async fn the_functions_make_a_chat() {
    let publish = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(python());
    let script = example("functions/chat.py");
    command
        .arg(script)
        .args(["0", &format!("http://{publish}")]);
    let function = Example::start(&mut command);
    let text = read("functions/gateway.toml");
    let command = "# cargo run -- run --config examples/functions/gateway.toml\n";
    assert!(text.starts_with(command), "it begins with {command}");
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = replaced(&text, "127.0.0.1:9000", function.address);
    let text = text.replace("127.0.0.1:9901", &publish);
    let gateway = Gateway::start(&text).await;
    let mut ann = Client::connect(gateway.address(), "/chat?name=ann").await;
    let mut bob = Client::connect(gateway.address(), "/chat").await;
    bob.send(json!({ "action": "name", "name": "bob" }).to_string())
        .await;
    assert_eq!(
        bob.receive_text().await,
        json!({ "name": "bob" }).to_string().replace(':', ": ")
    );
    ann.send(json!({ "action": "send", "text": "hello" }).to_string())
        .await;
    for client in [&mut ann, &mut bob] {
        let heard: serde_json::Value = serde_json::from_str(&client.receive_text().await).unwrap();
        assert_eq!(heard, json!({ "from": "ann", "text": "hello" }));
    }
    ann.close().await;
    let heard: serde_json::Value = serde_json::from_str(&bob.receive_text().await).unwrap();
    assert_eq!(heard, json!({ "left": "ann" }));
}

/// One binary: the browser gets the page from where its sockets go.
#[tokio::test]
async fn the_page_and_its_sockets_come_from_one_gateway() {
    let text = read("page/gateway.toml");
    let command = "# cargo run -- run --config examples/page/gateway.toml\n";
    assert!(text.starts_with(command), "it begins with {command}");
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = text.replace("\"public\"", &format!("{:?}", example("page/public")));
    let gateway = Gateway::start(&text).await;
    talk_in_rooms(&gateway).await;
    let url = format!("http://{}/", gateway.address());
    run_client(Language::Node, "chat_page", vec![url]).await;
}

/// The producer is a gateway, too: what its client sends is a record of the topic.
#[tokio::test]
async fn prices_of_kafka_reach_all_who_listen() {
    let broker = BrokerServer::start("kafka").await;
    broker.create_topic("prices");
    let text = read("prices/gateway.toml");
    let command = "# cargo run -- run --config examples/prices/gateway.toml\n";
    assert!(text.starts_with(command), "it begins with {command}");
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = replaced(&text, KAFKA, broker.address());
    let gateway = Gateway::start(&text).await;
    let producer = "[[routes]]\nname = \"in\"\nupstream = \"broker\"\npublish = \"kafka:prices\"\n";
    let producer = Gateway::start(&[&*broker.config(), producer].concat()).await;
    for gateway in [&gateway, &producer] {
        eventually("the broker is there", async || {
            gateway.metric("sessile_broker_connected", &[]) == 1.0
        })
        .await;
    }
    let mut page = EventSource::connect(gateway.address(), "/prices", "").await;
    let mut app = Client::connect(gateway.address(), "/prices").await;
    let mut source = Client::connect(producer.address(), "/").await;
    // Records are read from the time on at which a session listens.
    let mut number = 0;
    loop {
        source.send(format!("{number}").as_str()).await;
        number += 1;
        let came = tokio::time::timeout(Duration::from_millis(300), app.receive_text());
        if came.await.is_ok() {
            break;
        }
    }
    source.send("EUR 1.08").await;
    while page.message().await != "EUR 1.08" {}
    while app.receive_text().await != "EUR 1.08" {}
}

#[tokio::test]
async fn socket_io_clients_upgrade_at_the_instance_of_their_polling_session() {
    let [one, two] = [(); 2].map(|()| Example::node("socketio"));
    let gateway = gateway("socketio/gateway.toml", [one.address, two.address]).await;
    let url = format!("http://{}", gateway.address());
    let greeting = run_client(Language::Node, "say", vec![url, "16".to_owned()]).await;
    let instances = greeting["passed"].as_array().unwrap();
    assert_eq!(instances.len(), 2, "only {instances:?} had clients");
}

#[tokio::test]
async fn services_notify_clients_of_a_socket_io_backend() {
    let backend = Example::node("socketio");
    let publishing = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = read("notifications/gateway.toml");
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = replaced(&text, BACKENDS[0], backend.address);
    let gateway = Gateway::start(&replaced(&text, "127.0.0.1:9901", publishing)).await;
    let script = example("notifications/notify.sh").display().to_string();
    let urls = [gateway.address(), publishing].map(|address| format!("http://{address}"));
    let [url, publishing] = urls;
    let text = "maintenance at \"five\", grüße".to_owned();
    let arguments = vec![url, script, publishing, text.clone()];
    let heard = run_client(Language::Node, "notified", arguments).await;
    assert_eq!(heard["passed"], json!([text]));
}

#[tokio::test]
async fn the_example_with_authentication_admits_valid_credentials() {
    let [one, two] = [(); 2].map(|()| Example::rust("chat", &["127.0.0.1:0"]));
    let text = read("authentication/gateway.toml");
    let begins = "# cargo run -- run --config examples/authentication/gateway.toml\n";
    assert!(text.starts_with(begins), "it begins with {begins}");
    let mut made = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let make = made.next().expect("a command that makes the secret");
    let directory = tempfile::tempdir().unwrap();
    let make = make.replace("examples/authentication/", "");
    let mut command = Command::new("sh");
    command.args(["-c", &make]).current_dir(directory.path());
    assert!(command.status().unwrap().success(), "{make}");
    let secret = fs::read_to_string(directory.path().join("token.key")).unwrap();
    let mint = |rooms: &[&str]| {
        let claims = json!({ "sub": "ann", "aud": "chat", "rooms": rooms, "exp": in_seconds(60) });
        wanted("HS256", secret.trim(), claims)
    };
    let minted = tokens::mint(Language::Python, &[mint(&["lobby", "attic"])]).await;
    let token = &minted.tokens[0];

    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = replaced(&text, BACKENDS[0], one.address);
    let text = replaced(&text, BACKENDS[1], two.address);
    let gateway = Gateway::start_in(directory, &text).await;
    for (room, header, value, refused) in [
        (
            "lobby",
            "sec-websocket-protocol",
            &*format!("bearer, {token}"),
            None,
        ),
        ("attic", "authorization", &format!("Bearer {token}"), None),
        ("cellar", "x-api-key", "key-of-a-bot", None),
        (
            "cellar",
            "authorization",
            &format!("Bearer {token}"),
            Some(3003),
        ),
        ("lobby", "x-api-key", "key-of-nobody", Some(3000)),
        ("lobby", "x-nothing", "", Some(3000)),
    ] {
        let dial = Dial::new(&format!("/ws/{room}")).header(header, value);
        let mut client = dial.connect(gateway.address()).await.unwrap();
        if let Some(code) = refused {
            assert_eq!(
                client.end().await.map(|(code, _)| code),
                Some(code),
                "{room}"
            );
            continue;
        }
        client.echo("grüße").await;
        client.close().await;
    }
}

#[tokio::test]
async fn the_etcd_example_finds_the_backend_that_registers() {
    let etcd = Etcd::start().await;
    let sessile = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
        command.args(arguments).args(["--etcd", &etcd.url()]);
        command.stdin(Stdio::null());
        command
    };
    let documents = example("etcd/documents.toml");
    let put = ["etcd", "put", documents.to_str().unwrap(), "--yes"];
    let output = sessile(&put).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let backend = Example::rust("echo", &["127.0.0.1:0"]);
    let address = backend.address.to_string();
    let register = ["register", "--upstream", "echo", "--address", &address];
    let mut register = sessile(&register).stderr(Stdio::null()).spawn().unwrap();
    let text = read("etcd/gateway.toml");
    assert!(text.starts_with("# cargo run -- run --config examples/etcd/gateway.toml\n"));
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = text.replace("http://127.0.0.1:2379", &etcd.url());
    let gateway = Gateway::start(&text).await;
    gateway
        .wait_for_health("echo", backend.address, "healthy")
        .await;
    let mut client = Client::connect(gateway.address(), "/ws/lobby").await;
    client.send("grüße").await;
    assert_eq!(client.receive_text().await, "grüße");
    client.close().await;
    register.kill().unwrap();
    register.wait().unwrap();
}

#[tokio::test]
async fn the_kubernetes_example_finds_the_pods_of_the_service() {
    let backend = Example::rust("echo", &["127.0.0.1:0"]);
    let cluster = Cluster::with(&[pod("echo-0", backend.address, Pod::Ready)]);
    cluster.set_service_port("ws", 80);
    let text = read("kubernetes/gateway.toml");
    assert!(text.starts_with("# cargo run -- run --config examples/kubernetes/gateway.toml\n"));
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = text.replace("http://127.0.0.1:8001", &cluster.url());
    // The cluster of the tests has one namespace.
    let text = text.replace("default/echo:80", "shop/echo:80");
    let gateway = Gateway::start(&text).await;
    gateway
        .wait_for_health("echo", backend.address, "healthy")
        .await;
    let mut client = Client::connect(gateway.address(), "/ws/lobby?k=a").await;
    client.send("grüße").await;
    assert_eq!(client.receive_text().await, "grüße");
    client.close().await;
}

#[tokio::test]
async fn the_consul_example_finds_the_instance_of_the_service() {
    let backend = Example::rust("echo", &["127.0.0.1:0"]);
    let consul = Consul::start();
    consul.set("echo", &[instance("echo-1", backend.address)]);
    let text = read("consul/gateway.toml");
    assert!(text.starts_with("# cargo run -- run --config examples/consul/gateway.toml\n"));
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = text.replace("http://127.0.0.1:8500", &consul.url());
    let gateway = Gateway::start(&text).await;
    gateway
        .wait_for_health("echo", backend.address, "healthy")
        .await;
    let mut client = Client::connect(gateway.address(), "/ws/lobby?k=a").await;
    client.send("grüße").await;
    assert_eq!(client.receive_text().await, "grüße");
    client.close().await;
}

/// A backend in a process of its own, ended when it is dropped.
struct Example {
    child: Child,
    address: SocketAddr,
    /// Where it was put, beside the packages that it needs.
    _place: Option<TempDir>,
}

impl Example {
    /// `cargo run --example NAME -- ARGUMENTS`
    fn rust(name: &str, arguments: &[&str]) -> Self {
        let gateway = Path::new(env!("CARGO_BIN_EXE_sessile"));
        let program = gateway.with_file_name("examples").join(name);
        let built = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        let source = example(&format!("{name}.rs"));
        assert!(
            built(&program) >= built(&source),
            "{} is missing or old: `cargo test` builds it, and so does `cargo build --examples`",
            program.display()
        );
        Self::start(Command::new(program).args(arguments))
    }

    /// `node examples/FOLDER/server.mjs 0`, with the packages of the tests' peers.
    fn node(folder: &str) -> Self {
        let installed = example("../tests/peers/node/node_modules");
        assert!(installed.exists(), "run `./test --prepare` once");
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("server.mjs");
        fs::copy(example(&format!("{folder}/server.mjs")), &program).unwrap();
        symlink(installed, place.path().join("node_modules")).unwrap();
        let mut example = Self::start(Command::new("node").arg(program).arg("0"));
        example._place = Some(place);
        example
    }

    /// Waits for the line with its address.
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the example starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.split_whitespace().last().map(str::parse);
        let Some(Ok(address)) = address else {
            child.kill().ok();
            panic!("{command:?} said {line:?} instead of where it listens");
        };
        Self {
            child,
            address,
            _place: None,
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A gateway with a configuration of `examples/` in front of these.
async fn gateway(config: &str, backends: [SocketAddr; 2]) -> Gateway {
    let text = read(config);
    let command = format!("# cargo run -- run --config examples/{config}\n");
    assert!(text.starts_with(&command), "{config} begins with {command}");
    let text = replaced(&text, CLIENTS, ([127, 0, 0, 1], 0).into());
    let text = replaced(&text, BACKENDS[0], backends[0]);
    let text = replaced(&text, BACKENDS[1], backends[1]);
    Gateway::start(&text).await
}

/// The text with another address for one that it has to name.
fn replaced(text: &str, written: &str, address: SocketAddr) -> String {
    assert!(text.contains(written), "{written} is not in {text}");
    text.replace(written, &address.to_string())
}

fn example(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("examples").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(example(path)).unwrap_or_else(|error| panic!("examples/{path}: {error}"))
}
