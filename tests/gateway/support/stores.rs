//! Stores of a fleet's state for gateways under test: real servers on free ports, ended by their
//! process ids.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::Authority;
use super::gateway::signal_process;
use super::{eventually, free_port};

/// A server of one kind.
pub struct StoreServer {
    kind: &'static str,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
    /// It speaks TLS only, and asks for the password.
    guarded: bool,
}

/// What a guarded server lets in; with no more rights than docs/state.md names.
const USER: &str = "edge";
const PASSWORD: &str = "s3cret-of-the-store";
const RIGHTS: &str = "~sessile:* +eval +get +set +del +exists +incr +pexpire +pttl +mget +ping \
    +hello +client|setname";

impl StoreServer {
    /// Starts `redis` or `memcached`, and waits until it listens.
    pub async fn start(kind: &'static str) -> Self {
        Self::start_as(kind, false).await
    }

    /// The same with TLS and a password.
    pub async fn start_guarded(kind: &'static str) -> Self {
        Self::start_as(kind, true).await
    }

    async fn start_as(kind: &'static str, guarded: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self {
            kind,
            port: free_port(),
            directory,
            child: None,
            guarded,
        };
        server.start_again().await;
        server
    }

    /// Starts it where it was, with nothing in it.
    pub async fn start_again(&mut self) {
        let port = self.port.to_string();
        let directory = self.directory.path();
        let files = self.guarded.then(|| {
            let authority = Authority::new(directory);
            (authority.issue("store", &["localhost"]), authority.path())
        });
        let mut command = match self.kind {
            "redis" => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--save", ""]);
                match &files {
                    None => command.args(["--port", &port]),
                    Some((files, authority)) => command
                        .args([
                            "--port",
                            "0",
                            "--tls-port",
                            &port,
                            "--tls-auth-clients",
                            "no",
                        ])
                        .args(["--user", "default", "off", "--user", USER, "on"])
                        .arg(format!(">{PASSWORD}"))
                        .args(RIGHTS.split(' '))
                        .arg("--tls-cert-file")
                        .arg(&files.cert)
                        .arg("--tls-key-file")
                        .arg(&files.key)
                        .arg("--tls-ca-cert-file")
                        .arg(authority),
                };
                command
            }
            "memcached" => {
                let mut command = Command::new("memcached");
                command.args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-u", "root"]);
                if let Some((files, _)) = &files {
                    let users = directory.join("users");
                    fs::write(&users, format!("{USER}:{PASSWORD}\n")).expect("a file");
                    let (cert, key) = (files.cert.display(), files.key.display());
                    command.args(["-Z", "-o"]);
                    command.arg(format!("ssl_chain_cert={cert},ssl_key={key}"));
                    command.arg("-Y").arg(users);
                }
                command
            }
            kind => panic!("there is no store {kind}"),
        };
        let child = command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the store starts: see `./test --prepare`");
        self.child = Some(child);
        let port = self.port;
        eventually("the store listens", async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it lives");
            child.wait().expect("it ends");
        }
    }

    /// Stops it without an end, or has it go on.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it lives");
        signal_process(child.id(), signal);
    }

    /// What an unguarded Redis answers to a command of plain words.
    pub fn redis(&self, command: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let both = format!("{command}\r\nQUIT\r\n");
        connection.write_all(both.as_bytes()).expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("a text");
        answer
    }

    /// The keys of a Redis that match a pattern.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let answer = self.redis(&format!("KEYS {pattern}"));
        let lines = answer.lines();
        let names = lines.filter(|line| line.starts_with("sessile:"));
        names.map(str::to_owned).collect()
    }

    /// `[state]` for gateways that use it, with further lines.
    pub fn config(&self, more: &str) -> String {
        let Self { kind, port, .. } = self;
        if self.guarded {
            let scheme = if *kind == "redis" {
                "rediss"
            } else {
                "memcacheds"
            };
            let ca = self.directory.path().join("ca.pem");
            return format!(
                "[state]\ntype = \"{kind}\"\nserver = \"{scheme}://localhost:{port}\"\n\
                 user = \"{USER}\"\npassword = \"{PASSWORD}\"\n\
                 tls = {{ ca = \"{}\" }}\n{more}\n",
                ca.display()
            );
        }
        format!("[state]\ntype = \"{kind}\"\nserver = \"{kind}://127.0.0.1:{port}\"\n{more}\n")
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        // Even one that was stopped ends.
        self.kill();
    }
}
