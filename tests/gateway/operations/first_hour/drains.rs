//! Drains by the command line.

use std::process::Stdio;

use super::{Printed, run};
use crate::support::certificates::Authority;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

#[tokio::test]
async fn looking_at_a_drain_orders_nothing() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let gateway = Gateway::start(&text).await;
    let (here, id) = (gateway.directory(), one.address.to_string());
    for look in [&["--status"][..], &["--status", "--watch"]] {
        let printed = run(here, &[&["drain", "echo", &id], look].concat()).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let expected = format!("{id}: active (active by the configuration), 0 sessions\n");
        assert_eq!(printed.out, expected);
    }
    let printed = run(here, &["drain", "echo", &id, "--watch"]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.err.contains("is not draining"), "{printed:?}");
    assert!(
        printed.err.contains(&format!("sessile drain echo {id}")),
        "{printed:?}"
    );
    assert_eq!(gateway.backend("echo", one.address)["state"], "active");

    let printed = run(here, &["drain", "echo", &id, "--pace", "1/h"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.out.contains("1/h: 0 of 0 remain"), "{printed:?}");
    let printed = run(here, &["drain", "echo", &id, "--status", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(shown["drain"]["pace"], "1/h");
    eventually("the drain is done", async || {
        gateway.backend("echo", one.address)["drain"]["state"] == "done"
    })
    .await;
    let printed = run(here, &["drain", "echo", &id, "--watch"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.out.contains(": done, 1/h:"), "{printed:?}");
    let printed = run(here, &["drain", "echo", &id, "--status", "--pace", "1/s"]).await;
    assert_eq!(printed.code, Some(2), "{printed:?}");
}

#[tokio::test]
async fn a_rebalancing_shows_the_pace_that_was_ordered() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(
        &[one.address, two.address],
        "rebalance = { mode = \"manual\" }",
        "",
    );
    let gateway = Gateway::start(&text).await;
    let dry = ["rebalance", "echo", "--dry-run", "--pace", "1/h"];
    let printed = run(gateway.directory(), &dry).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.out.contains("0 would go, 1/h"), "{printed:?}");
}

/// Runs at a terminal, where `answer` is typed.
async fn at_a_terminal(gateway: &Gateway, arguments: &[&str], answer: &str) -> Printed {
    use tokio::io::AsyncWriteExt as _;

    let line = [&[env!("CARGO_BIN_EXE_sessile")], arguments]
        .concat()
        .join(" ");
    // `script` gives a command a terminal of its own.
    let mut script = tokio::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    script.current_dir(gateway.directory()).kill_on_drop(true);
    script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = script.spawn().expect("`script` is part of every Linux");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answer.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    drop(stdin);
    output.into()
}

#[tokio::test]
async fn the_last_backend_is_drained_only_after_a_confirmation() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let gateway = Gateway::start(&text).await;
    let here = gateway.directory();
    let (one, two) = (one.address.to_string(), two.address.to_string());
    let state = |of: &str| gateway.backend("echo", of.parse().unwrap())["state"].clone();
    let printed = run(here, &["drain", "echo", &one]).await;
    assert_eq!(
        printed.code,
        Some(0),
        "with another one there is no question: {printed:?}"
    );

    for how in [&[][..], &["--pace", "5/s", "--watch"], &["--json"]] {
        let printed = run(here, &[&["drain", "echo", &two], how].concat()).await;
        assert_eq!(printed.code, Some(2), "{printed:?}");
        assert!(
            printed.err.contains("is the last backend of `echo`"),
            "{printed:?}"
        );
        assert!(printed.err.contains("add --yes"), "{printed:?}");
        assert_eq!(state(&two), "active");
    }
    // A change of a drain that goes on is no beginning.
    let printed = run(here, &["drain", "echo", &one, "--pause"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");

    let printed = at_a_terminal(&gateway, &["drain", "echo", &two], "n\n").await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.out.contains("Drain it? [y/N]"), "{printed:?}");
    assert_eq!(state(&two), "active");
    let printed = at_a_terminal(&gateway, &["drain", "echo", &two], "y\n").await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(state(&two), "draining");

    let printed = run(here, &["drain", "echo", &two, "--undo"]).await;
    assert_eq!((printed.code, state(&two)), (Some(0), "active".into()));
    let printed = run(here, &["drain", "echo", &two, "--yes"]).await;
    assert_eq!((printed.code, state(&two)), (Some(0), "draining".into()));
}

#[tokio::test]
async fn no_drain_is_done_through_a_handover_while_its_sessions_live() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = format!(
        "# node: tls_records = \"rustls\"\n[shutdown]\ngrace = \"1m\"\n\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n\
         [[listeners]]\nname = \"plain\"\nlisten = [\"127.0.0.1:0\"]\n\n{}",
        config::echo(&[one.address, two.address], "", "")
    );
    let mut gateway = Gateway::start_with_handover_in(directory, &text).await;
    let (mut handed_over, mut staying) = (Vec::new(), Vec::new());
    for key in 0..32 {
        let path = format!("/?k={key}");
        let mut plain = Client::connect(gateway.listener("plain"), &path).await;
        let at = plain.backend().await;
        if at == one.address {
            handed_over.push(plain);
        } else {
            plain.close().await;
        }
        // Sessions whose records are rustls' stay with the old process.
        let dial = Dial::new(&path).host("edge.test");
        let tls = dial.connect_tls(gateway.listener("edge"), authority.client());
        staying.push(tls.await.unwrap());
    }
    assert!(
        !handed_over.is_empty(),
        "32 keys and none at the one of two"
    );
    let id = one.address.to_string();
    let printed = run(
        gateway.directory(),
        &["drain", "echo", &id, "--pace", "1/h"],
    )
    .await;
    assert_eq!(printed.code, Some(0), "{printed:?}");

    let next = gateway.start_successor().await;
    let drain = || {
        let drain = next.backend("echo", one.address)["drain"].clone();
        assert_ne!(drain["state"], "done", "{drain}");
        drain
    };
    eventually("everything is taken over", async || {
        drain();
        !next.get("/v1/status")["taken_over"].is_null()
    })
    .await;
    eventually("the drain has seen who came", async || drain()["left"] != 0).await;
    let status = ["drain", "echo", &id, "--status"];
    let printed = run(next.directory(), &status).await;
    assert!(printed.out.contains("running, 1/h"), "{printed:?}");
    for client in handed_over {
        client.close().await;
    }
    eventually("the drain has seen that they left", async || {
        drain()["left"] == 0
    })
    .await;
    let printed = run(next.directory(), &status).await;
    assert!(
        printed.out.contains("not done before the hand-over"),
        "{printed:?}"
    );

    drop(staying);
    assert!(gateway.wait_for_exit().await.success(), "{}", gateway.log());
    eventually("the drain is done", async || {
        next.backend("echo", one.address)["drain"]["state"] == "done"
    })
    .await;
}
