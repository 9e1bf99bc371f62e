//! OpenSSL's client, which writes the TLS session of a connection to a file and resumes it later.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::soon;

/// A TLS client that keeps its session in a file of this directory, and trusts its `ca.pem`.
pub struct SClient {
    directory: PathBuf,
    version: &'static str,
    name: &'static str,
}

/// What one connection was like.
pub struct Exchange {
    /// Whether the server resumed the session that it was offered.
    pub resumed: bool,
    /// All that was printed.
    pub output: String,
}

impl SClient {
    /// One that speaks `-tls1_2` or `-tls1_3` with the server of this name.
    pub fn new(directory: &Path, version: &'static str, name: &'static str) -> Self {
        Self {
            directory: directory.to_owned(),
            version,
            name,
        }
    }

    /// Sends a request, and keeps the session.
    pub async fn keep(&self, to: SocketAddr) -> Exchange {
        self.run(to, "-sess_out").await
    }

    /// Sends a request in the session that was kept.
    pub async fn resume(&self, to: SocketAddr) -> Exchange {
        self.run(to, "-sess_in").await
    }

    fn file(&self) -> String {
        let file = self.directory.join(format!("session{}", self.version));
        file.display().to_string()
    }

    async fn run(&self, to: SocketAddr, session: &str) -> Exchange {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &to.to_string(), self.version])
            .args(["-servername", self.name, "-verify_hostname", self.name])
            .arg("-CAfile")
            .arg(self.directory.join("ca.pem"))
            .args(["-verify_return_error", "-ign_eof"])
            .args([session, &self.file()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let request = format!(
            "GET /resumption HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.name
        );
        // Beside the runtime, on which backends of the test answer.
        let ended = tokio::task::spawn_blocking(move || {
            let started = command.spawn();
            let mut child = started.expect("openssl starts: apt-get install openssl");
            let mut stdin = child.stdin.take().expect("it is piped");
            stdin.write_all(request.as_bytes()).expect("it reads");
            let output = child.wait_with_output();
            drop(stdin);
            output.expect("it ends")
        });
        let output = soon("openssl s_client ends", ended)
            .await
            .expect("no panic");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert!(printed.contains("HTTP/1.1 "), "no answer:\n{printed}");
        let resumed = printed.lines().any(|line| line.starts_with("Reused, TLSv"));
        let full = printed.lines().any(|line| line.starts_with("New, TLSv"));
        assert!(resumed != full, "neither or both:\n{printed}");
        Exchange {
            resumed,
            output: printed,
        }
    }
}
