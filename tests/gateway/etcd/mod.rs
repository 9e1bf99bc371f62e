//! Configuration and membership from a real etcd, in good days.
mod cli;
mod cluster;
mod documents;
mod fleet;
mod history;
mod leases;
mod outage;
pub mod register;
pub mod scope;
mod secure;
mod undo;

use serde_json::{Value, json};

use etcd_client::{Txn, TxnOp};

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{
    Traffic, etcd_status, follow, followed, following, has_members, key_of, member, members,
};
use crate::support::shell::sessile;
use crate::support::tokens::{SECRET, claims, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

#[tokio::test]
async fn a_backend_that_appears_gets_its_share_and_one_that_goes_loses_it() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    eventually("sessions at the new one", async || second.accepted() > 0).await;
    etcd.delete(&key_of(&first)).await;
    has_members(&gateway, &[&second]).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    assert_eq!(client.backend().await, second.address);
    client.close().await;
    traffic.end().await;
}

#[tokio::test]
async fn a_route_that_etcdctl_puts_is_live_and_overrides_the_file() {
    let (file, etcds) = (Backend::echo().await, Backend::echo().await);
    let etcd = Etcd::start().await;
    let text = format!(
        "{}\n{}",
        following(&[etcd.url()], ""),
        config::echo(&[file.address], "", "")
    );
    let gateway = Gateway::start(&text).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    assert_eq!(client.backend().await, file.address);
    client.close().await;

    let upstream = json!({ "backends": [etcds.address.to_string()] }).to_string();
    etcd.ctl(&["put", "/sessile/upstreams/other", &upstream]);
    etcd.ctl(&["put", "/sessile/routes/all", r#"{"upstream":"other"}"#]);
    eventually("the route of etcd counts", async || {
        let mut client = Client::connect(gateway.address(), "/").await;
        let at = client.backend().await;
        client.close().await;
        at == etcds.address
    })
    .await;
    etcd.ctl(&["del", "/sessile/routes/all"]);
    eventually("the route of the file counts again", async || {
        let mut client = Client::connect(gateway.address(), "/").await;
        let at = client.backend().await;
        client.close().await;
        at == file.address
    })
    .await;
}

#[tokio::test]
async fn a_transaction_with_a_route_and_its_upstream_never_shows_half() {
    use etcd_client::{Txn, TxnOp};
    let backend = Backend::echo().await;
    let (etcd, gateway) = followed(&[&backend]).await;
    let mut client = etcd.client().await;
    let upstream = json!({ "backends": [backend.address.to_string()] }).to_string();
    for number in 0..40 {
        // The route first, so that applying it alone would leave it without its upstream.
        let (route, name) = (format!("/sessile/routes/r{number}"), format!("u{number}"));
        let value = json!({ "upstream": name, "path": format!("/{number}") }).to_string();
        let both = Txn::new().and_then([
            TxnOp::put(route, value, None),
            TxnOp::put(format!("/sessile/upstreams/{name}"), upstream.clone(), None),
        ]);
        client.txn(both).await.unwrap();
        let status = etcd_status(&gateway);
        assert_eq!(
            (&status["waiting"], &status["refused"]),
            (&json!(0), &json!(0))
        );
    }
    eventually("the last route", async || {
        gateway.get("/v1/routes?limit=1000")["items"]
            .as_array()
            .unwrap()
            .len()
            == 41
    })
    .await;
    assert!(!gateway.log().contains("waits"), "{}", gateway.log());
}

#[tokio::test]
async fn i4_a_bad_document_is_refused_alone_and_its_last_good_version_stays() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    for bad in ["nonsense", r#"{"upstream":7}"#, r#"{"upstrem":"echo"}"#] {
        etcd.ctl(&["put", "/sessile/routes/all", bad]);
        eventually("it is refused", async || {
            etcd_status(&gateway)["refused"] == 1
        })
        .await;
        etcd.put(&key_of(&second), &member(&second)).await;
        has_members(&gateway, &[&first, &second]).await;
        etcd.delete(&key_of(&second)).await;
        has_members(&gateway, &[&first]).await;
    }
    assert!(gateway.metric("sessile_etcd_documents_refused", &[]) > 0.0);
    etcd.put(
        "routes/all",
        &json!({ "upstream": "echo", "affinity": ["query:k"] }),
    )
    .await;
    eventually("nothing is refused", async || {
        etcd_status(&gateway)["refused"] == 0
    })
    .await;
    traffic.end().await;
}

#[tokio::test]
async fn a_document_that_names_something_missing_waits_for_it() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let gateway = follow(&etcd).await;
    etcd.put("routes/all", &json!({ "upstream": "echo" })).await;
    eventually("it waits", async || etcd_status(&gateway)["waiting"] == 1).await;
    let why = "waits for upstream `echo`";
    let output = sessile(&["status"], gateway.directory());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains(&format!("routes/all {why}")), "{printed}");
    assert!(gateway.log().contains(why), "{}", gateway.log());
    etcd.put(&key_of(&backend), &member(&backend)).await;
    etcd.put("upstreams/echo", &json!({})).await;
    eventually("it waits no more", async || {
        etcd_status(&gateway)["waiting"] == 0
    })
    .await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("here").await;
    client.close().await;
}

#[tokio::test]
async fn a_reload_checks_again_the_routes_that_ask_what_it_changed() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let route = json!({ "upstream": "echo", "authenticate": ["users"] });
    etcd.put("routes/all", &route).await;
    let file = |from: &str| {
        format!(
            "{}\n[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nfrom = [\"{from}\"]\n\n\
             [upstreams.echo]\n{}\n",
            following(&[etcd.url()], ""),
            config::members(&[backend.address])
        )
    };
    let gateway = Gateway::start(&file("header:authorization")).await;
    let token = token(&claims("ann"));
    let from_elsewhere = Dial::new("/").header("origin", "https://elsewhere.example");
    let dial = from_elsewhere.header("authorization", &format!("Bearer {token}"));
    let client = dial.connect(gateway.address()).await.unwrap();
    client.close().await;
    // A browser sends a cookie whichever page asks; so now it matters which one does.
    gateway.write_config(&file("cookie:session"));
    assert_eq!(gateway.reload().status, 200);
    let cookie = format!("session={token}");
    let from_elsewhere = Dial::new("/").header("origin", "https://elsewhere.example");
    let dial = from_elsewhere.header("cookie", &cookie);
    let refused = dial.connect(gateway.address()).await.err();
    assert_eq!(refused.map(|answer| answer.status), Some(403));
    let dial = Dial::new("/").header("cookie", &cookie);
    dial.connect(gateway.address()).await.unwrap().close().await;
}

#[tokio::test]
async fn more_documents_than_one_answer_holds_are_read() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    let put = |number: u32| {
        let key = format!(
            "/sessile/backends/echo/10.0.{}.{}:80",
            number / 250,
            number % 250
        );
        let text = format!(
            "{{\"address\":\"10.0.{}.{}:80\"}}",
            number / 250,
            number % 250
        );
        TxnOp::put(key, text, None)
    };
    for part in 0..21 {
        let ops: Vec<_> = (part * 100..(part + 1) * 100).map(put).collect();
        client.txn(Txn::new().and_then(ops)).await.unwrap();
    }
    etcd.put("upstreams/echo", &json!({})).await;
    let gateway = follow(&etcd).await;
    assert_eq!(etcd_status(&gateway)["documents"], 2_101);
    assert_eq!(members(&gateway, "echo").len(), 2_100);
}

#[tokio::test]
async fn what_a_reload_brings_is_waited_for_no_longer() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let gateway = follow(&etcd).await;
    etcd.put("routes/all", &json!({ "upstream": "echo" })).await;
    eventually("it waits", async || etcd_status(&gateway)["waiting"] == 1).await;
    let source = following(&[etcd.url()], "");
    let upstream = config::members(&[backend.address]);
    gateway.write_config(&format!("{source}\n[upstreams.echo]\n{upstream}\n"));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(etcd_status(&gateway)["waiting"], 0);
    let waiting = gateway.metric("sessile_etcd_documents_waiting", &[]);
    assert!(waiting.abs() < 0.5, "{waiting}");
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("here").await;
    gateway.write_config(&source);
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(etcd_status(&gateway)["waiting"], 1);
    client.echo("and still here").await;
    client.close().await;
}

#[tokio::test]
async fn a_key_of_no_kind_is_ignored_and_shown() {
    let etcd = Etcd::start().await;
    etcd.put("rutes/all", &json!({})).await;
    let gateway = follow(&etcd).await;
    eventually("it is shown", async || {
        etcd_status(&gateway)["ignored"] == json!(["rutes/all"])
    })
    .await;
    etcd.delete("rutes/all").await;
    eventually("it is gone", async || {
        etcd_status(&gateway)["ignored"] == json!([])
    })
    .await;
}

/// Backends of 10,000 keys.
fn placement(gateway: &Gateway) -> Vec<Value> {
    let place = |number: usize| {
        let body = json!({ "url": format!("ws://localhost/?k=key-{number}") }).to_string();
        let answer = gateway.admin("POST", "/v1/resolve", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["choice"]["backend"].clone()
    };
    (0..10_000).map(place).collect()
}

#[tokio::test]
async fn i2_two_gateways_on_one_etcd_place_10_000_keys_alike_after_a_restart_too() {
    let etcd = Etcd::start().await;
    etcd.put("upstreams/echo", &json!({})).await;
    let route = json!({ "upstream": "echo", "affinity": ["query:k"] });
    etcd.put("routes/all", &route).await;
    for number in 1..=7 {
        let address = format!("127.0.0.1:{}", 10_000 + number);
        let document = json!({ "address": address, "weight": number });
        etcd.put(&format!("backends/echo/b{number}"), &document)
            .await;
    }
    let first = follow(&etcd).await;
    let second = follow(&etcd).await;
    for gateway in [&first, &second] {
        eventually("seven members", async || {
            members(gateway, "echo").len() == 7
        })
        .await;
    }
    let places = placement(&first);
    assert_eq!(places, placement(&second));
    assert!(
        places.iter().any(|place| *place != places[0]),
        "{}",
        places[0]
    );
    drop(second);
    // One whose members came one after the other and in another order than they now stand in.
    etcd.delete("backends/echo/b3").await;
    etcd.put(
        "backends/echo/b3",
        &json!({ "address": "127.0.0.1:10003", "weight": 3 }),
    )
    .await;
    let again = follow(&etcd).await;
    let digest = |gateway: &Gateway| gateway.get("/v1/status")["digest"].clone();
    eventually("equal digests", async || digest(&first) == digest(&again)).await;
    assert_eq!(places, placement(&again));
}

#[tokio::test]
async fn check_looks_at_every_document_as_a_gateway_would() {
    let etcd = Etcd::start().await;
    etcd.put("upstreams/echo", &json!({})).await;
    etcd.put("routes/bad", &json!({ "upstrem": "echo" })).await;
    etcd.put("routes/early", &json!({ "upstream": "later" }))
        .await;
    let directory = tempfile::tempdir().unwrap();
    let text = following(&[etcd.url()], "");
    let path = directory.path().join("gateway.toml");
    std::fs::write(&path, config::complete(&text, directory.path())).unwrap();
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sessile"));
        let output = command
            .args(["check", "--etcd", "--config"])
            .arg(&path)
            .output();
        let output = output.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            printed + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, printed) = check();
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("did you mean `upstream`"), "{printed}");
    assert!(
        printed.contains("routes/early waits for upstream `later`"),
        "{printed}"
    );
    assert!(printed.contains("3 documents, 1 refused"), "{printed}");
    etcd.delete("routes/bad").await;
    let (code, printed) = check();
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn i4_a_refused_file_is_shown_as_refused_whatever_etcd_says_meanwhile() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first]).await;
    std::fs::write(gateway.config_path(), "[node]\nwokers = 1\n").unwrap();
    assert_eq!(gateway.reload().status, 422);
    let loaded = gateway.get("/v1/status")["sources"]["file"]["loaded"].clone();
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    let refused = &gateway.get("/v1/config")["refused"];
    assert!(
        refused.to_string().contains("did you mean `workers`"),
        "{refused}"
    );
    assert_eq!(
        gateway.get("/v1/status")["sources"]["file"]["loaded"],
        loaded
    );
}
