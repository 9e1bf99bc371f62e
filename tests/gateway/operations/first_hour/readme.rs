//! The README's chapter "Ten lines in front of your backends", one block after the other in one
//! folder; only addresses are others.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use super::{run, sessile};
use crate::support::etcd::Etcd;
use crate::support::{Backend, Client, Dial, eventually, free_port, http};

/// A fenced block: its language and its text.
type Block = (String, String);

/// Blocks of the chapter, in their order.
fn blocks() -> Vec<Block> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.unwrap();
    let chapter = readme
        .split("\n## ")
        .find(|one| one.starts_with("Ten lines"))
        .unwrap();
    let fences: Vec<_> = chapter.split("```").collect();
    let inside = fences.iter().skip(1).step_by(2);
    let block = |text: &&str| {
        let (language, text) = text.split_once('\n').expect("a language");
        (language.to_owned(), text.to_owned())
    };
    inside.map(block).collect()
}

/// Runs a line of a block as it stands.
fn shell(directory: &Path, line: &str) -> std::process::Output {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-ec", line])
        .current_dir(directory)
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The arguments of a line of the README that begins with `sessile`.
fn arguments(line: &str) -> Vec<String> {
    let words = shell(
        Path::new("/"),
        &format!("set -- {line}\nprintf '%s\\n' \"$@\""),
    );
    let words = String::from_utf8(words.stdout).unwrap();
    words.lines().skip(1).map(str::to_owned).collect()
}

/// The folder of the chapter, what runs in it, and what stands for its addresses.
struct Folder {
    directory: tempfile::TempDir,
    chat: Backend,
    live: Backend,
    etcd: Etcd,
    edge: u16,
    tls: u16,
    /// The admin API.
    admin: String,
    running: Vec<Running>,
    /// What registers beside a backend, once a gateway follows etcd.
    register: Option<Vec<String>>,
    configured: usize,
    served: usize,
}

impl Folder {
    async fn new() -> Self {
        // The README has fixed ones.
        let [edge, tls, admin] = [(); 3].map(|()| free_port());
        Self {
            directory: tempfile::tempdir().unwrap(),
            chat: Backend::echo().await,
            live: Backend::echo().await,
            etcd: Etcd::start().await,
            edge,
            tls,
            admin: format!("127.0.0.1:{admin}"),
            running: Vec::new(),
            register: None,
            configured: 0,
            served: 0,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The text with the addresses of this test.
    fn ours(&self, text: &str) -> String {
        let etcd = self.etcd.url();
        text.replace("10.0.0.11:9000", &self.chat.address.to_string())
            .replace("0.0.0.0:8080", &format!("127.0.0.1:{}", self.edge))
            .replace("[::]:8443", &format!("127.0.0.1:{}", self.tls))
            .replace("localhost:8443", &format!("localhost:{}", self.tls))
            .replace("http://127.0.0.1:2379", &etcd)
            .replace(" :9000 ", &format!(" {} ", self.live.address))
            .replace("etcdctl put", &format!("etcdctl --endpoints {etcd} put"))
    }

    /// "Write this to gateway.toml", then "Add this to gateway.toml".
    async fn write(&mut self, text: &str) {
        let file = self.path().join("gateway.toml");
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, format!("{before}{text}\n")).unwrap();
        let printed = run(self.path(), &["check"]).await;
        assert_eq!(printed.code, Some(0), "after\n{text}\n{printed:?}");
        self.configured += 1;
    }

    /// Starts the gateway with these words, in the place of the one before.
    async fn serve(&mut self, words: &[&str]) {
        self.running.clear();
        let set = format!("admin.listen={}", self.admin);
        let gateway = start(self.path(), &[words, &["--set", &set]].concat());
        self.running.push(gateway);
        answers(&self.admin).await;
    }

    async fn command(&mut self, line: &str) {
        let words = arguments(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words[0] {
            "run" => {
                self.serve(&words).await;
                self.served += 1;
                if let Some(words) = &self.register {
                    let words: Vec<_> = words.iter().map(String::as_str).collect();
                    self.running.push(start(self.path(), &words));
                }
            }
            "register" => {
                self.register = Some(words.into_iter().map(str::to_owned).collect());
            }
            verb => {
                let mut words = words;
                if verb == "preview" {
                    let new = self.path().join("new.toml");
                    fs::copy(self.path().join("gateway.toml"), new).unwrap();
                }
                if matches!(verb, "preview" | "status") {
                    words.extend(["--admin", &self.admin]);
                }
                let printed = run(self.path(), &words).await;
                // One of the chapter's two backends does not exist here.
                let codes: &[i32] = if verb == "status" { &[0, 1] } else { &[0] };
                assert!(
                    codes.contains(&printed.code.unwrap()),
                    "{line}: {printed:?}"
                );
                assert!(!printed.out.is_empty(), "{line}: {printed:?}");
            }
        }
    }

    /// A line that is not of `sessile`.
    async fn other(&mut self, line: &str) {
        let is_curl = line.starts_with("curl");
        if is_curl {
            self.serve(&["run"]).await;
        }
        let output = shell(self.path(), line);
        assert!(output.status.success(), "{line}: {output:?}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(!is_curl || printed.contains("404"), "{printed}");
    }
}

#[tokio::test]
async fn the_readme_works_block_by_block_in_one_folder() {
    let mut folder = Folder::new().await;
    for (language, text) in blocks() {
        let text = folder.ours(&text);
        if language == "toml" {
            folder.write(&text).await;
            continue;
        }
        assert_eq!(language, "sh", "{text}");
        for line in text.lines() {
            match line.starts_with("sessile ") {
                true => folder.command(line).await,
                false => folder.other(line).await,
            }
        }
        // The first configuration is still in force.
        if folder.served > 0 {
            talks(folder.edge, "/ws/lobby").await;
        }
    }
    assert_eq!((folder.configured, folder.served), (3, 2));
    assert!(
        folder.register.is_some(),
        "no `sessile register` in the chapter"
    );
    talks(folder.edge, "/live/lobby").await;
    assert!(
        folder.live.accepted() > 0,
        "the route of etcd has its own backend"
    );
}

fn start(directory: &Path, arguments: &[&str]) -> Running {
    let mut command = sessile(directory);
    command.args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

/// Waits until the admin API answers.
async fn answers(admin: &str) {
    let address = admin.parse().unwrap();
    eventually("the gateway is ready", async || {
        let connected = tokio::net::TcpStream::connect(admin).await.is_ok();
        connected && http::get(address, "/readyz", &[]).await.status == 200
    })
    .await;
}

/// Waits until a client at this path gets an echo.
async fn talks(port: u16, path: &str) {
    let address = ([127, 0, 0, 1], port).into();
    eventually(path, async || {
        Dial::new(path).connect(address).await.is_ok()
    })
    .await;
    let mut client = Client::connect(address, path).await;
    client.echo("hello").await;
    client.close().await;
}
