//! Questions about gateways, backends and what is about to happen.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::CertificateParams;
use serde_json::{Value, json};

use super::{RECONNECT, answer, gateway, run};
use crate::operations::first_hour;
use crate::support::certificates::Authority;
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{follow, seed};
use crate::support::peers::Language;
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::service::Service;
use crate::support::tokens::{self, SECRET, claims, in_seconds, token, wanted};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// 6. "Is etcd well, is this node behind the others, since when?"
#[tokio::test]
async fn q06_is_etcd_well_and_is_this_node_behind() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let gateway = follow(&etcd).await;
    eventually("the documents are in force", async || {
        let status = run(&gateway, &["status"]);
        let line = status.lines().find(|line| line.starts_with("etcd "));
        line.is_some_and(|line| line.contains("revision") && line.contains("documents"))
    })
    .await;
    assert_eq!(answer(&gateway, &["doctor"]).0, Some(0));
    drop(etcd);
    eventually("the doctor finds that etcd is gone", async || {
        let (code, found, _) = answer(&gateway, &["doctor"]);
        code == Some(1) && found.contains("WARN  etcd: ")
    })
    .await;
}

/// 7. "Who would end or move if backend B went, or if this file came into force?"
#[tokio::test]
async fn q07_who_would_end_or_move_without_a_backend() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let addresses = [backends[0].address, backends[1].address];
    let gateway = gateway(&addresses, "").await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let at = client.backend().await.to_string();
    let who = run(&gateway, &["drain", "echo", &at, "--who"]);
    let expected = format!("{at}: 1 live session, 0 would move, 1 would be closed with 1012");
    assert!(who.starts_with(&expected), "{who}");
    let other = addresses.into_iter().find(|one| one.to_string() != at);
    let candidate = config::echo(&[other.expect("the other one")], "", "");
    let candidate = config::complete(&candidate, gateway.directory());
    fs::write(gateway.directory().join("new.toml"), candidate).unwrap();
    let socket = format!("unix:{}", gateway.directory().join("admin.sock").display());
    let preview = run(&gateway, &["preview", "new.toml", "--admin", &socket]);
    assert!(preview.contains(&at), "{preview}");
    // Nothing was ordered.
    client.echo("still here").await;
}

/// 11. "Take B out, watch it, undo it, see who is not home yet and why."
#[tokio::test]
async fn q11_take_a_backend_out_watch_it_and_undo_it() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = gateway(&[backends[0].address, backends[1].address], RECONNECT).await;
    let mut clients = Vec::new();
    for key in 0..6 {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    // The backends are in this process and go on.
    let order = async |arguments: &[&str]| {
        let said = first_hour::run(gateway.directory(), arguments).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    let at = clients[0].backend().await.to_string();
    let drained = order(&["drain", "echo", &at, "--pace", "100/s", "--watch"]).await;
    assert!(drained.contains("done"), "{drained}");
    let shown = order(&["drain", "echo", &at, "--status"]).await;
    assert!(shown.contains("0 live"), "{shown}");
    let undone = order(&["drain", "echo", &at, "--undo"]).await;
    assert!(undone.contains(&at), "{undone}");
    let state = gateway.get("/v1/upstreams/echo")["backends"].clone();
    let active = |one: &Value| one["state"] == "active" && one["ordered"].is_null();
    assert!(state.as_array().unwrap().iter().all(active), "{state}");
    for client in &mut clients {
        client.echo("still here").await;
    }
    // Sessions that are not on their own backend yet.
    let away = order(&["rebalance", "echo", "--dry-run"]).await;
    assert!(away.contains("session"), "{away}");
}

/// 13. "p99 of handshakes per upstream and backend." The page is that of upstreams in Grafana.
#[tokio::test]
async fn q13_p99_of_handshakes_per_upstream_and_backend() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/upstreams.json");
    let page: Value = serde_json::from_str(&fs::read_to_string(page).unwrap()).unwrap();
    let panels = page["panels"].as_array().unwrap();
    for title in ["p99 by upstream", "p99 by backend"] {
        let panel = panels
            .iter()
            .find(|one| one["title"] == title)
            .expect(title);
        let expression = panel["targets"][0]["expr"].as_str().unwrap();
        let expression = expression.replace("$__rate_interval", "10s");
        let expression = expression
            .replace("$instance", ".*")
            .replace("$upstream", ".*");
        eventually(title, async || {
            let client = Client::connect(gateway.address(), "/?k=1").await;
            client.close().await;
            let rows = prometheus.query(&expression).await.unwrap();
            let of_echo = |row: &Value| row["metric"]["upstream"] == "echo";
            let seconds = |row: &Value| row["value"][1].as_str()?.parse::<f64>().ok();
            rows.iter()
                .any(|row| of_echo(row) && seconds(row) > Some(0.0))
        })
        .await;
    }
}

/// 15. "Upgrade the binary unnoticed."
#[tokio::test]
async fn q15_upgrade_the_binary_unnoticed() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let mut gateway = Gateway::start_with_handover(&text).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let status = run(&next, &["status"]);
    let taken = format!("taken     1 sessions over from process {}", gateway.pid());
    assert!(status.contains(&taken), "{status}");
    client.echo("still here").await;
    drop(client);
}

/// The cells of the line that begins so.
#[track_caller]
fn cells(printed: &str, name: &str) -> Vec<String> {
    let line = printed.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name}: {printed}"));
    line.split_whitespace().map(str::to_owned).collect()
}

/// A session whose token ends in so many days.
async fn user(gateway: &Gateway, days: i64) -> Client {
    let token = token(&json!({ "sub": "ann", "exp": in_seconds(days * 86_400) }));
    let dial = Dial::new("/").header("authorization", &format!("Bearer {token}"));
    dial.connect(gateway.address()).await.expect("a session")
}

/// 17. "Which certificates, keys and tokens end within 30 days, and whom would it hit?"
#[tokio::test]
async fn q17_which_certificates_keys_and_tokens_end_soon_and_whom_it_would_hit() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    for (file, days) in [("soon", 9), ("late", 90)] {
        let mut params = CertificateParams::new([format!("{file}.test")]).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
        authority.issue_as(file, params);
    }
    let backend = Backend::echo().await;
    let listeners = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\n\
         [[listeners]]\nname = \"edge-tls\"\nlisten = [\"127.0.0.1:0\"]\ntls.certificates = [\
         { cert = \"soon.crt\", key = \"soon.key\" }, \
         { cert = \"late.crt\", key = \"late.key\" }]\n\n";
    let minted = tokens::mint(Language::Python, &[wanted("ES256", "p256", claims("ann"))]).await;
    let issuer = Service::issuer(None, minted.jwks()).await;
    let users = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n\
         [authenticators.partners]\ntype = \"jwt\"\n\
         jwks = \"http://{}/keys.json\"\nplain_http = true\n\n",
        issuer.address
    );
    let echo = config::echo(
        &[backend.address],
        "",
        "authenticate = [\"users\", \"partners\"]",
    );
    let gateway = Gateway::start_in(directory, &format!("{listeners}{users}{echo}")).await;
    let clients = [
        user(&gateway, 1).await,
        user(&gateway, 2).await,
        user(&gateway, 90).await,
    ];
    eventually("the keys of the issuer were read", async || {
        let page = gateway.get("/v1/credentials");
        let mut items = page["items"].as_array().unwrap().iter();
        items.any(|one| one["authenticator"] == "partners" && one["keys"].as_u64() > Some(0))
    })
    .await;
    let soon = run(&gateway, &["certs", "--within", "30"]);
    assert!(
        soon.contains("edge-tls") && soon.contains("soon.test"),
        "{soon}"
    );
    assert!(
        soon.contains("CONNECTIONS") && !soon.contains("late.test"),
        "{soon}"
    );
    // Tokens, by the authenticator that accepted them, and the keys of an issuer.
    let users = cells(&soon, "users ");
    let (counts, first, routes) = (&users[1..3], &users[3], users.last().unwrap());
    assert_eq!(counts, ["3", "2"], "sessions, and those that end");
    assert!(first.starts_with("20") && routes == "all", "{soon}");
    let partners = cells(&soon, "partners ");
    assert_eq!(partners[1..3], ["0", "0"], "{soon}");
    let read = partners[4].parse::<u64>().is_ok_and(|keys| keys > 0);
    assert!(read && partners[6] == "ago", "{soon}");
    drop(clients);
    let (code, found, _) = answer(&gateway, &["doctor"]);
    assert_eq!(code, Some(1), "{found}");
    assert!(
        found.starts_with("WARN  certificate of edge-tls for soon.test"),
        "{found}"
    );
}

/// 18. "Is anything wrong anywhere in the fleet?" One command, an exit code for scripts.
#[tokio::test]
async fn q18_is_anything_wrong_anywhere_in_the_fleet() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let gateway = follow(&etcd).await;
    eventually("nothing is wrong", async || {
        let (code, found, _) = answer(&gateway, &["doctor", "--fleet"]);
        code == Some(0) && found.starts_with("nothing is wrong on 1 gateway")
    })
    .await;
    let empty = json!({ "backends": [], "probe": { "type": "tcp" } });
    etcd.put("upstreams/more", &empty).await;
    eventually("the upstream without backends is critical", async || {
        let (code, found, _) = answer(&gateway, &["doctor", "--fleet"]);
        code == Some(2) && found.starts_with("CRIT  under-test upstream more")
    })
    .await;
}

/// 19. "Is a restart pending, and what would it change?"
#[tokio::test]
async fn q19_is_a_restart_pending_and_what_would_it_change() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    assert_eq!(run(&gateway, &["doctor"]), "nothing is wrong\n");
    let file = fs::read_to_string(gateway.config_path()).unwrap();
    let changed = file.replacen("workers = 2", "workers = 3", 1);
    fs::write(gateway.config_path(), changed).unwrap();
    assert_eq!(gateway.reload().status, 200);
    let found = run(&gateway, &["doctor"]);
    let change = "in force after a restart: node.workers: 2 -> 3\n";
    assert!(found.contains(change), "{found}");
    assert!(
        found.contains("-> start the new process with `sessile run --take-over`"),
        "{found}"
    );
}
