//! A DNS server for gateways under test: Knot on a free port, with one zone that tests rewrite.

use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::gateway::signal_process;
use super::{eventually, free_port};

/// The zone.
pub const ZONE: &str = "chat.test";

/// A server that is authoritative for [`ZONE`].
pub struct DnsServer {
    port: u16,
    serial: u32,
    directory: TempDir,
    child: Option<Child>,
}

impl DnsServer {
    /// Starts it with these records, such as `@ 1 A 127.0.0.1`.
    pub async fn start(records: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let at = directory.path().display();
        let config = format!(
            "server:\n  rundir: {at}\n  listen: 127.0.0.1@{port}\n\
             database:\n  storage: {at}\n\
             control:\n  listen: {at}/control.sock\n\
             log:\n  - target: {at}/knot.log\n    any: info\n\
             zone:\n  - domain: {ZONE}\n    storage: {at}\n    file: zone\n    zonefile-load: whole\n",
        );
        fs::write(directory.path().join("knot.conf"), config).expect("it is written");
        let mut server = Self {
            port,
            serial: 0,
            directory,
            child: None,
        };
        server.write(records);
        server.start_again().await;
        server
    }

    /// The `servers` of `[sources.dns]`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let child = command("knotd")
            .arg("-c")
            .arg(self.directory.path().join("knot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the DNS server starts: see `./test --prepare`");
        self.child = Some(child);
        eventually("the DNS server answers", async || self.answers()).await;
    }

    /// Whether it answers with anything: a question for the root's name servers.
    fn answers(&self) -> bool {
        let question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let patience = std::time::Duration::from_millis(200);
        socket.set_read_timeout(Some(patience)).expect("a time");
        let asked = socket.send_to(question, ("127.0.0.1", self.port));
        let mut answer = [0; 512];
        asked.is_ok() && socket.recv(&mut answer).is_ok_and(|length| length >= 12)
    }

    /// From now on the zone has these records and no other.
    pub fn set(&mut self, records: &[String]) {
        self.write(records);
        self.control(&["zone-reload", ZONE]);
    }

    /// The zone is there, and cannot be served: SERVFAIL.
    pub fn break_zone(&mut self) {
        fs::write(self.directory.path().join("zone"), "@ nonsense\n").expect("it is written");
        self.control(&["-f", "zone-purge", "+expire", "+journal", "+timers", ZONE]);
        self.control_in_any_case(&["zone-reload", ZONE]);
    }

    fn write(&mut self, records: &[String]) {
        self.serial += 1;
        let head = format!(
            "$ORIGIN {ZONE}.\n@ 1 SOA ns hostmaster {} 60 60 60 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n",
            self.serial
        );
        let zone = head + &records.join("\n") + "\n";
        fs::write(self.directory.path().join("zone"), zone).expect("it is written");
    }

    fn control(&self, arguments: &[&str]) {
        assert!(self.control_in_any_case(arguments), "knotc {arguments:?}");
    }

    fn control_in_any_case(&self, arguments: &[&str]) -> bool {
        let output = command("knotc")
            .arg("-s")
            .arg(self.directory.path().join("control.sock"))
            .arg("-b")
            .args(arguments)
            .output()
            .expect("knotc runs");
        output.status.success()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.as_ref().expect("it runs").id(), signal);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian has them where only root's PATH looks.
fn command(name: &str) -> Command {
    let in_sbin = format!("/usr/sbin/{name}");
    match fs::exists(&in_sbin) {
        Ok(true) => Command::new(in_sbin),
        _ => Command::new(name),
    }
}
