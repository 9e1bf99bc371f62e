//! Brokers for gateways under test: real servers on free ports, ended by their process ids.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::eventually;
use super::gateway::signal_process;

/// A server of one kind.
pub struct BrokerServer {
    kind: &'static str,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl BrokerServer {
    /// Starts `nats` or `redis`, and waits until it listens.
    pub async fn start(kind: &'static str) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self {
            kind,
            port,
            directory,
            child: None,
        };
        server.start_again().await;
        server
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let port = self.port.to_string();
        let mut command = match self.kind {
            "nats" => {
                let mut command = Command::new("nats-server");
                command.args(["-a", "127.0.0.1", "-p", &port]);
                command
            }
            "redis" => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
                command
            }
            kind => panic!("there is no server of {kind}"),
        };
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("the broker starts: see `./test --prepare`");
        self.child = Some(child);
        let port = self.port;
        eventually("the broker listens", async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        signal_process(child.id(), signal);
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it lives");
            child.wait().expect("it ends");
        }
    }

    /// `[broker]` for gateways that use it.
    pub fn config(&self) -> String {
        let Self { kind, port, .. } = self;
        format!("[broker]\ntype = \"{kind}\"\nservers = [\"{kind}://127.0.0.1:{port}\"]\n")
    }
}

impl Drop for BrokerServer {
    fn drop(&mut self) {
        self.kill();
    }
}
