//! Debian's Pushpin, in front of an application.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::gateway::signal_process;
use super::time::is_held_up;
use super::{Dial, eventually, free_port};

/// Pushpin with its four processes; it ends them when it is dropped.
pub struct Pushpin {
    child: Child,
    /// Where clients connect.
    pub clients: SocketAddr,
    _files: TempDir,
}

/// The key that Pushpin signs requests with.
pub const SIGNING_KEY: &str = "changeme";

impl Pushpin {
    /// Starts it in front of `application`, which publishes at the port `publish`. Waits until
    /// `target` opens a session.
    pub async fn start(application: SocketAddr, publish: u16, target: &str) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let clients = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/publish/pushpin.conf");
        let template = fs::read_to_string(template).expect("a file");
        let text = template
            .replace("@DIR@", &files.path().display().to_string())
            .replace("@CLIENTS_PORT@", &clients.port().to_string())
            .replace("@PUBLISH_PORT@", &publish.to_string());
        let config = files.path().join("pushpin.conf");
        fs::write(&config, text).expect("a file");
        let routes = format!("* {application},over_http\n");
        fs::write(files.path().join("routes"), routes).expect("a file");
        let child = Command::new("pushpin")
            .arg(format!("--config={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("pushpin starts: `./test --prepare` installs it");
        let this = Self {
            child,
            clients,
            _files: files,
        };
        let listens = async || TcpStream::connect(clients).await.is_ok();
        eventually("pushpin listens", listens).await;
        // Its processes listen before they have found one another, and what comes before that may
        // never be answered.
        let opens = async || {
            let mut opened = false;
            let dial = async { opened = Dial::new(target).connect(clients).await.is_ok() };
            !is_held_up(dial).await && opened
        };
        eventually("pushpin opens a session", opens).await;
        this
    }
}

impl Drop for Pushpin {
    fn drop(&mut self) {
        // It ends the others.
        signal_process(self.child.id(), Signal::TERM);
        self.child.wait().ok();
    }
}
