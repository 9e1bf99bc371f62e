//! Programs of `tests/peers`: servers and clients on libraries of other projects.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::gateway::signal_process;

/// For a whole client program. A slow machine needs a minute; what waits too long gives up by
/// itself.
const PATIENCE: Duration = Duration::from_secs(300);

/// What runs a program.
#[derive(Clone, Copy, Debug)]
pub enum Language {
    Node,
    Python,
    Go,
}

impl Language {
    /// The program, set up by `./test --prepare`.
    pub(super) fn command(self, program: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let peers = root.join("tests/peers");
        let (interpreter, installed, script) = match self {
            Self::Node => (
                PathBuf::from("node"),
                peers.join("node/node_modules/.installed"),
                peers.join(format!("node/{program}.mjs")),
            ),
            Self::Python => (
                python(),
                root.join("target/test-env/python/.installed"),
                peers.join(format!("python/{program}.py")),
            ),
            // One program for all.
            Self::Go => (
                root.join("target/test-env/go/peers"),
                root.join("target/test-env/go/.installed"),
                PathBuf::from(program),
            ),
        };
        assert!(
            installed.exists(),
            "the peers are not installed: run `./test --prepare` once"
        );
        let mut command = Command::new(interpreter);
        command
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

/// Python with the packages of the tests.
pub fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env/python/bin/python")
}

/// A server in a process of its own, ended when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts `server`, `socketio_server` and so on, and waits for the line with its port.
    pub fn start(language: Language, program: &str, arguments: &[&str]) -> Self {
        Self::spawn(language.command(program).args(arguments))
    }

    /// Starts a command that prints `{"port":N}`.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("standard output is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the peer writes a line");
        let greeting: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(port) = greeting["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
        else {
            child.kill().ok();
            panic!("{command:?} said {line:?} instead of its port");
        };
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a client to its end.
///
/// # Panics
/// If a case of it failed, with its output.
pub async fn run_client(language: Language, program: &str, arguments: Vec<String>) -> Value {
    let (status, greeting) = finish_client(language, program, &arguments).await;
    assert!(
        status.success(),
        "{program} {arguments:?} ended with {status}: {greeting}"
    );
    greeting
}

/// The same for a client of which cases may fail.
///
/// # Panics
/// If no case passed, with its output.
pub async fn finish_client(
    language: Language,
    program: &str,
    arguments: &[String],
) -> (ExitStatus, Value) {
    let mut command = language.command(program);
    let mut child = command.args(arguments).spawn().expect("the peer starts");
    let pid = child.id();
    let mut task = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let mut stdout = child.stdout.take().expect("standard output is piped");
        stdout
            .read_to_string(&mut text)
            .expect("the peer writes text");
        (child.wait().expect("a child can be waited for"), text)
    });
    let Ok(done) = tokio::time::timeout(PATIENCE, &mut task).await else {
        signal_process(pid, Signal::KILL);
        drop(task.await);
        panic!("{program} did not end within {PATIENCE:?}");
    };
    let (status, text) = done.expect("reading does not panic");
    let greeting: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    assert!(
        greeting["passed"]
            .as_array()
            .is_some_and(|passed| !passed.is_empty()),
        "{program} {arguments:?} ended with {status}, and no case passed: {text}"
    );
    (status, greeting)
}
