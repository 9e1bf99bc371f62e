//! The dashboard where the admin API listens on loopback without a token: being on this machine is
//! the operator's credential, so what pages of other origins may do is tried in a real browser.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::support::gateway::{command, signal_process};
use crate::support::peers::{Language, run_client};
use crate::support::{config, eventually, free_port};

/// A gateway in a process of its own, killed if the test does not end it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already if the test got to its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_local_operator_is_asked_nothing_and_other_pages_get_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let routes = "[[routes]]\nname = \"all\"\nredirect = { scheme = \"https\" }\n";
    let text = config::complete(routes, directory.path());
    let unix = format!(
        "listen = \"unix:{}/admin.sock\"",
        directory.path().display()
    );
    assert!(text.contains(&unix));
    let path = directory.path().join("gateway.toml");
    fs::write(
        &path,
        text.replacen(&unix, &format!("listen = \"{address}\""), 1),
    )
    .unwrap();
    let child = command(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut process = Process(child.unwrap());
    eventually("the admin API listens", async || {
        TcpStream::connect(address).is_ok()
    })
    .await;
    let base = format!("http://{address}");
    run_client(Language::Node, "dashboard_local", vec![base]).await;
    signal_process(process.0.id(), Signal::TERM);
    assert!(process.0.wait().unwrap().success());
}
