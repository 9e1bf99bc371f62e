//! Clients of wss on other TLS stacks, each a program that follows lines; see `tests/peers`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::peers::Language;

/// For one answer; Chromium needs seconds to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A TLS stack, with the options of its program: version and cipher suite.
#[derive(Clone, Copy, Debug)]
pub enum Stack {
    Python(&'static [&'static str]),
    /// `openssl s_client`, which can update its keys.
    OpenSsl(&'static str, &'static str),
    Node(&'static [&'static str]),
    Go(&'static [&'static str]),
    Chromium,
}

impl Stack {
    fn command(self, url: &str, ca: &Path) -> Command {
        let (language, program, options) = match self {
            Self::Python(options) => (Language::Python, "wss", options.to_vec()),
            Self::OpenSsl(version, suite) => {
                (Language::Python, "wss", vec![version, suite, "openssl"])
            }
            Self::Node(options) => (Language::Node, "wss", options.to_vec()),
            Self::Go(options) => (Language::Go, "client", options.to_vec()),
            Self::Chromium => (Language::Node, "wss_page", Vec::new()),
        };
        let mut command = Command::from(language.command(program));
        command.arg(url).arg(ca).args(options);
        command
    }
}

/// A session of such a client; its program is ended with it.
pub struct WssClient {
    pub stack: Stack,
    /// Owns the process.
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// As the client has negotiated them.
    pub version: String,
    pub suite: String,
}

impl WssClient {
    /// Connects to this URL, trusting this authority.
    pub async fn open(stack: Stack, url: &str, ca: &Path) -> Self {
        let mut command = stack.command(url, ca);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let input = child.stdin.take().expect("standard input is piped");
        let output = child.stdout.take().expect("standard output is piped");
        let mut client = Self {
            stack,
            _child: child,
            input,
            output: BufReader::new(output).lines(),
            version: String::new(),
            suite: String::new(),
        };
        let opened = client.answer("the handshake").await;
        let word = |at: usize| opened["opened"][at].as_str().expect("a name").to_owned();
        (client.version, client.suite) = (word(0), word(1));
        client
    }

    /// This many numbered messages there and back, of up to 1 MiB.
    pub async fn talk(&mut self, count: usize) {
        let reply = self.ask(&format!("talk {count}")).await;
        assert!(reply["talked"].is_u64(), "{:?}: {reply}", self.stack);
    }

    /// Updates the client's sending key; with `both`, asks the gateway to update its own.
    pub async fn update_keys(&mut self, both: bool) {
        self.ask(if both { "update both" } else { "update" }).await;
    }

    /// Closes with 4001; sees the close frame come back, and close_notify before the end of the
    /// connection, as far as the stack reports it.
    pub async fn close(mut self) {
        let reply = self.ask("close").await;
        self.check_end(&reply, &json!([4001, "bye"]));
    }

    /// Makes the backend close with 1012; the rest as above.
    pub async fn be_restarted(mut self) {
        let reply = self.ask("restart").await;
        self.check_end(&reply, &json!([1012, "restarting"]));
    }

    fn check_end(&self, reply: &Value, ended: &Value) {
        assert_eq!(reply["ended"], *ended, "{:?}", self.stack);
        // The `ws` library does not report how TLS ended.
        let reported = !matches!(self.stack, Stack::Node(_));
        assert_eq!(
            reply["clean"] == true,
            reported,
            "{:?}: {reply}",
            self.stack
        );
    }

    async fn ask(&mut self, line: &str) -> Value {
        let line = format!("{line}\n");
        let written = self.input.write_all(line.as_bytes()).await;
        written.unwrap_or_else(|error| panic!("{:?} has ended: {error}", self.stack));
        self.answer(line.trim()).await
    }

    async fn answer(&mut self, what: &str) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{:?} is stuck at {what}", self.stack));
        let line = line.expect("text");
        let line = line.unwrap_or_else(|| panic!("{:?} failed at {what}", self.stack));
        serde_json::from_str(&line).expect("JSON")
    }
}
