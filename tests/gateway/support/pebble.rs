//! Let's Encrypt's test server, with a name server of the test's own. It validates really: it looks
//! names up there, and connects to the gateway's ports.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::certificates::Authority;
use super::{eventually, free_port, soon};

/// A directory, and the name server that it asks.
pub struct Pebble {
    directory: TempDir,
    children: Vec<Child>,
    authority: Authority,
    port: u16,
    management: u16,
    /// Seconds that certificates are valid for.
    validity: u64,
    /// Key identifier and HMAC key of the only account that accounts can be bound to, if they must
    /// be.
    binding: Option<[String; 2]>,
    /// Where it connects to for `tls-alpn-01`.
    pub tls_port: u16,
    /// Where it connects to for `http-01`.
    pub http_port: u16,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Pebble {
    /// Starts both; all names lead to 127.0.0.1.
    pub async fn start() -> Self {
        Self::issuing_for(90 * 24 * 60 * 60).await
    }

    /// The same, with certificates that are valid for so many seconds.
    pub async fn issuing_for(seconds: u64) -> Self {
        Self::start_as(seconds, None).await
    }

    /// The same, for accounts that are bound to this one (RFC 8555, section 7.3.4).
    pub async fn asking_for_binding(id: &str, key: &str) -> Self {
        let binding = [id, key].map(str::to_owned);
        Self::start_as(90 * 24 * 60 * 60, Some(binding)).await
    }

    async fn start_as(validity: u64, binding: Option<[String; 2]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(directory.path());
        authority.issue("pebble", &["localhost"]);
        let mut pebble = Self {
            authority,
            children: Vec::new(),
            port: free_port(),
            management: free_port(),
            tls_port: free_port(),
            http_port: free_port(),
            validity,
            binding,
            directory,
        };
        pebble.launch().await;
        pebble
    }

    /// Starts it, again after [`Pebble::stop`]. It remembers nothing.
    pub async fn launch(&mut self) {
        let dns = free_port();
        let control = free_port();
        let names = Command::new("pebble-challtestsrv")
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .args(["-management", &format!("127.0.0.1:{control}")])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .stdin(Stdio::null())
            .stdout(self.log("names.log"))
            .stderr(self.log("names.err"))
            .spawn();
        self.children
            .push(names.expect("pebble-challtestsrv starts: apt-get install pebble"));
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": file("pebble.crt"),
            "privateKey": file("pebble.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.binding.is_some(),
            "externalAccountMACKeys": self.binding.iter().map(|[id, key]| (id, key))
                .collect::<BTreeMap<_, _>>(),
            "certificateValidityPeriod": self.validity,
        } });
        fs::write(file("config.json"), config.to_string()).expect("a file");
        let server = Command::new("pebble")
            .args(["-config", &file("config.json")])
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            // It refuses some nonces, waits, and reuses authorizations by chance otherwise.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdin(Stdio::null())
            .stdout(self.log("pebble.log"))
            .stderr(self.log("pebble.err"))
            .spawn();
        self.children
            .push(server.expect("pebble starts: apt-get install pebble"));
        for port in [self.port, self.management] {
            eventually("pebble listens", async || {
                TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            })
            .await;
        }
    }

    fn log(&self, name: &str) -> fs::File {
        fs::File::create(self.directory.path().join(name)).expect("a log")
    }

    /// Ends both.
    pub fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// The URL of its directory.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority of its own server's certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The roots that its own server is verified by.
    pub fn ca(&self) -> PathBuf {
        self.authority.path()
    }

    /// Where it logs.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.directory.path().join("pebble.log")).unwrap_or_default()
    }

    /// The root of what it issues, new at each start, as `ca.pem` of this directory.
    pub async fn write_root(&self, directory: &Path) -> CertificateDer<'static> {
        let stream = TcpStream::connect(("127.0.0.1", self.management))
            .await
            .expect("it listens");
        let connector = tokio_rustls::TlsConnector::from(self.authority.client());
        let name = "localhost".try_into().expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        let request = "GET /roots/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = Vec::new();
        // It ends without a close_notify.
        let _ = soon("the root", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let start = answer.find("-----BEGIN").expect("a certificate");
        let end = answer.rfind("-----END CERTIFICATE-----").expect("its end");
        let pem = format!("{}-----END CERTIFICATE-----\n", &answer[start..end]);
        fs::write(directory.join("ca.pem"), &pem).expect("a file");
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }
}
