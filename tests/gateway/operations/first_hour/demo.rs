//! `sessile demo`, from its banner to Ctrl-C.

use std::net::TcpListener;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{run, sessile};
use crate::support::peers::{Language, run_client};

#[tokio::test]
async fn the_demo_shows_what_it_promises() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = sessile(directory.path());
    let listener = "listeners=[{name=\"edge\", listen=[\"127.0.0.1:0\"]}]";
    let free = [
        "demo",
        "--set",
        listener,
        "--set",
        "admin.listen=127.0.0.1:0",
    ];
    command
        .args(free)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut demo = tokio::process::Command::from(command);
    let mut demo = demo.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let (mut url, mut commands) = (None, Vec::new());
    while commands.len() < 2 {
        let line = lines.next_line().await.unwrap().expect("a banner");
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("open ") {
            url = rest.split_whitespace().next().map(str::to_owned);
        }
        for name in ["why ", "watch "] {
            commands.extend(line.strip_prefix(name).map(|rest| rest.trim().to_owned()));
        }
    }
    // Nothing of it is in PATH, and the shell is in another folder.
    for (command, shows) in commands.iter().zip(["backend   chat-", "no live sessions"]) {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir("/")
            .env("PATH", "/usr/bin:/bin");
        let output = tokio::task::spawn_blocking(move || shell.output());
        let output = output.await.unwrap().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains(shows),
            "{command}: {output:?}"
        );
    }
    let pid = demo.id().unwrap().to_string();
    run_client(Language::Node, "demo_page", vec![url.expect("a page"), pid]).await;
    assert!(demo.wait().await.unwrap().success());
    let mut rest = String::new();
    lines.into_inner().read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("Sessile has stopped"), "{rest}");
}

#[tokio::test]
async fn a_port_in_use_names_the_way_to_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap();
    let listener = format!("listeners=[{{name=\"edge\", listen=[\"{address}\"]}}]");
    let printed = run(directory.path(), &["demo", "--set", &listener]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(
        printed.err.contains(&format!("cannot listen on {address}")),
        "{printed:?}"
    );
    assert!(
        printed.err.contains("demo --set 'listeners=["),
        "{printed:?}"
    );
}
