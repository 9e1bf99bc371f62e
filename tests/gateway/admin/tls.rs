//! The admin API over TLS: operators come by certificate, and by nothing less.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::support::certificates::Authority;
use crate::support::gateway::{command, signal_process};
use crate::support::shell::sessile;
use crate::support::{config, eventually, free_port};

/// A gateway whose admin API is reached by TCP.
struct Operated(Child);

impl Operated {
    fn start(directory: &Path) -> Self {
        let child = command(&directory.join("gateway.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the gateway's binary starts"))
    }

    fn stop(mut self) {
        signal_process(self.0.id(), Signal::TERM);
        assert!(self.0.wait().expect("a child can be waited for").success());
    }
}

impl Drop for Operated {
    fn drop(&mut self) {
        // It is gone already if the test got to its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a configuration whose `[admin]` has these lines; answers where the API will be.
fn configure(directory: &Path, admin: &str) -> String {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = config::complete(
        "[[routes]]\nname = \"all\"\nredirect = { scheme = \"https\" }\n",
        directory,
    );
    let unix = format!("listen = \"unix:{}/admin.sock\"", directory.display());
    assert!(text.contains(&unix));
    let text = text.replacen(&unix, &format!("listen = \"{address}\"\n{admin}"), 1);
    fs::write(directory.join("gateway.toml"), text).unwrap();
    format!("https://localhost:{}", address.port())
}

/// A verb of the command line at this API: its exit code and what it says.
fn run(directory: &Path, admin: &str, verb: &[&str], tls: &[&str]) -> (Option<i32>, String) {
    let all = [verb, &["--admin", admin], tls].concat();
    let output = sessile(&all, directory);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

const TLS: &str = "tls = { certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]";
const KICK: [&str; 2] = ["kick", "00000000000000000000000000"];

#[tokio::test]
async fn operators_come_by_certificate_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let authority = Authority::new(path);
    for (file, name) in [("edge", "localhost"), ("alice", "alice"), ("bob", "bob")] {
        authority.issue(file, &[name]);
    }
    let foreign = tempfile::tempdir().unwrap();
    let stranger = Authority::new(foreign.path()).issue("mallory", &["alice"]);
    let admin = configure(
        path,
        &format!("{TLS}, client_ca = \"ca.pem\" }}\noperators = [\"alice\"]\n"),
    );
    let gateway = Operated::start(path);
    let of = |name: &str| [format!("{name}.crt"), format!("{name}.key")];
    let [alice, bob] = ["alice", "bob"].map(of);
    let as_alice = ["--ca", "ca.pem", "--cert", &alice[0], "--key", &alice[1]];
    let as_bob = ["--ca", "ca.pem", "--cert", &bob[0], "--key", &bob[1]];
    eventually("the admin API answers over TLS", async || {
        run(path, &admin, &["status"], &as_alice).0 == Some(0)
    })
    .await;
    let (code, said) = run(path, &admin, &["status"], &as_bob);
    assert_eq!(code, Some(0), "{said}");
    // Alice is told that there is no such session, Bob that he may not.
    let (code, said) = run(path, &admin, &KICK, &as_alice);
    assert!(code == Some(1) && said.contains("session"), "{said}");
    let (code, said) = run(path, &admin, &KICK, &as_bob);
    assert!(code == Some(1) && said.contains("change nothing"), "{said}");
    let (cert, key) = (
        stranger.cert.to_string_lossy(),
        stranger.key.to_string_lossy(),
    );
    for tls in [
        // None, one of another authority, and a gateway that cannot be told from another.
        &["--ca", "ca.pem"][..],
        &["--ca", "ca.pem", "--cert", &*cert, "--key", &*key],
        &["--cert", &alice[0], "--key", &alice[1]],
    ] {
        let (code, said) = run(path, &admin, &["status"], tls);
        assert_eq!(code, Some(1), "{tls:?}: {said}");
        assert!(!said.contains("under-test"), "{tls:?}: {said}");
    }
    let plain = admin.replace("https", "http");
    assert_eq!(run(path, &plain, &["status"], &[]).0, Some(1));
    // The configuration file knows where, and by which name.
    let (code, said) = {
        let output = sessile(&[&["status"][..], &as_alice].concat(), path);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    assert!(code == Some(0) && said.contains("under-test"), "{said}");
    gateway.stop();
}

#[tokio::test]
async fn where_certificates_are_optional_a_token_opens_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let authority = Authority::new(path);
    authority.issue("edge", &["localhost"]);
    authority.issue("alice", &["alice"]);
    fs::write(path.join("token"), "over-tls-alone").unwrap();
    let admin = configure(
        path,
        &format!(
            "{TLS}, client_ca = \"ca.pem\", client_certificates = \"optional\" }}\n\
             token = {{ file = \"token\" }}\n"
        ),
    );
    let gateway = Operated::start(path);
    let with_token = ["--ca", "ca.pem", "--token-file", "token"];
    eventually("the token opens", async || {
        run(path, &admin, &["status"], &with_token).0 == Some(0)
    })
    .await;
    let with_certificate = [
        "--ca",
        "ca.pem",
        "--cert",
        "alice.crt",
        "--key",
        "alice.key",
    ];
    let (code, said) = run(path, &admin, &["status"], &with_certificate);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(path, &admin, &["status"], &["--ca", "ca.pem"]);
    assert!(code == Some(1) && said.contains("--token-file"), "{said}");
    // A renewed certificate is shown without a restart.
    Authority::new(path).issue("edge", &["localhost"]);
    eventually("the new certificate is shown", async || {
        run(path, &admin, &["status"], &with_token).0 == Some(0)
    })
    .await;
    gateway.stop();
}
