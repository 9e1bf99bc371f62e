//! The dashboard, used in Chromium as an operator does. `tests/peers/node/dashboard.mjs` has the
//! steps; here are the gateway, its sessions, and what must have happened to them.

mod fleet;
mod handover;
mod local;
mod zones;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::support::admin::exposed;
use crate::support::certificates::Authority;
use crate::support::peers::{Language, run_client};
use crate::support::tokens::{SECRET, claims, token};
use crate::support::{Backend, Client, Dial, Gateway, eventually};

const TOKEN: &str = "may-operate-the-gateway";
const READ_TOKEN: &str = "may-look-at-the-gateway";
/// A principal whose name is markup.
const HOSTILE: &str = "<img src=x onerror=\"window.hacked=1\">";

fn configuration(chat: &[Backend], feed: &Backend) -> String {
    let members = chat.iter().enumerate();
    let members = members.map(|(index, backend)| {
        format!(
            "{{ id = \"chat-{}\", address = \"{}\" }}",
            index + 1,
            backend.address
        )
    });
    let members = members.collect::<Vec<_>>().join(", ");
    format!(
        "# admin: read_token = {{ file = \"reader\", expires = \"2999-01-01T00:00:00Z\" }}\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\n\
         [[listeners]]\nname = \"edge-tls\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n\
         [upstreams.chat]\nbounded_load = 2.0\nbackends = [{members}]\n\
         probe = {{ type = \"tcp\", interval = \"200ms\" }}\n\n\
         [upstreams.feed]\nbackends = [{{ id = \"feed-1\", address = \"{}\" }}]\n\
         probe = {{ type = \"tcp\", interval = \"200ms\" }}\n\n\
         [authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nfrom = [\"query:token\"]\n\n\
         [[routes]]\nname = \"rooms\"\npath = \"/ws/{{room}}\"\nupstream = \"chat\"\n\
         affinity = [\"path:room\"]\non_backend_loss = \"reconnect\"\n\
         tap_payload = true\n\n\
         [[routes]]\nname = \"feed\"\npath = \"/feed/{{symbol}}\"\nupstream = \"feed\"\n\
         authenticate = [\"users\"]\naffinity = [\"claim:sub\"]\n",
        feed.address
    )
}

/// Pictures that are in docs/; `UPDATE=1` replaces them.
const DOCUMENTED: [&str; 6] = [
    "overview-light",
    "overview-dark",
    "overview-phone",
    "drain-light",
    "tap-light",
    "wrong-light",
];

/// The folder of the pictures of this run.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dashboard")
}

fn compare_documented(names: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    for name in names {
        let file = format!("{name}.png");
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::copy(pictures().join(&file), folder.join(&file)).unwrap();
        }
        let bytes = fs::metadata(folder.join(&file)).expect(name).len();
        assert!(bytes < 200_000, "{file} has {bytes} bytes");
    }
}

/// Messages of these sessions, until they are asked back.
struct Talk(oneshot::Sender<()>, JoinHandle<Vec<Client>>);

impl Talk {
    fn among(mut clients: Vec<Client>) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(100));
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                pace.tick().await;
                for client in &mut clients {
                    client.echo("a message that passes").await;
                }
            }
            clients
        });
        Self(stop, task)
    }

    async fn end(self) -> Vec<Client> {
        self.0.send(()).unwrap();
        self.1.await.unwrap()
    }
}

#[tokio::test]
async fn what_is_wrong_comes_first_and_texts_stay_texts() {
    run_client(Language::Node, "dashboard_units", Vec::new()).await;
}

#[tokio::test]
async fn operators_steer_the_gateway_by_its_dashboard() {
    let directory = tempfile::tempdir().unwrap();
    Authority::new(directory.path()).issue("edge", &["edge.test"]);
    let chat = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let feed = Backend::echo().await;
    let text = configuration(&chat, &feed);
    fs::write(directory.path().join("reader"), READ_TOKEN).unwrap();
    let gateway = Gateway::start_in_with_admin_token(directory, &text, TOKEN).await;
    let address = gateway.address();
    let mut rooms = Vec::new();
    for number in 0..30 {
        rooms.push(Client::connect(address, &format!("/ws/room-{number}")).await);
    }
    let with = |subject: &str| format!("/feed/acme?token={}", token(&claims(subject)));
    let mut ann = Client::connect(address, &with("ann")).await;
    let mut hostile = Client::connect(address, &with(HOSTILE)).await;
    for target in ["/nowhere", "/feed/acme"] {
        let refused = Dial::new(target).connect(address).await.err();
        assert!(refused.is_some(), "{target}");
    }
    let changed = fs::read_to_string(gateway.config_path()).unwrap().replacen(
        "authenticate = [",
        "limits = { messages_per_second = 1000 }\nauthenticate = [",
        1,
    );
    fs::write(gateway.config_path(), changed).unwrap();
    assert_eq!(gateway.reload().status, 200);
    let talk = Talk::among(rooms);
    let base = exposed(gateway.directory());
    let options = json!({
        "token": TOKEN, "readToken": READ_TOKEN, "hostile": HOSTILE, "pictures": pictures(),
        "file": gateway.config_path(),
    });
    let arguments = vec![format!("http://{base}"), options.to_string()];
    run_client(Language::Node, "dashboard", arguments).await;

    let mut rooms = talk.end().await;
    assert_eq!(
        ann.end().await,
        Some((1008, "closed by the test".to_owned()))
    );
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.reason.as_deref(), Some("closed by the test"));
    assert_eq!(record.operator.as_deref(), Some("token"));
    let shown = gateway.get("/v1/upstreams/chat");
    for backend in shown["backends"].as_array().unwrap() {
        let orders = (&backend["ordered"], &backend["state"]);
        assert_eq!(orders, (&Value::Null, &json!("active")), "{backend}");
    }
    // Nothing was lost on the way to another backend and back.
    for client in &mut rooms {
        client.echo("still here").await;
    }
    assert_eq!(hostile.receive_text().await, "a word from the operator");
    hostile.echo("still here").await;
    compare_documented(&DOCUMENTED);
    drop((rooms, ann, hostile));
    eventually("no session lives", async || gateway.sessions_live() == 0).await;
}
