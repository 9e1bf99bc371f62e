//! `?scope=fleet`: one gateway answers for all that are registered, and asks no address that only
//! stands in etcd.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::operations::first_hour::run;
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{following, seed};
use crate::support::{Backend, Client, Gateway, admin, eventually};

/// A gateway that follows `etcd`, and the TCP address that it registers.
pub async fn advertising(name: &str, etcd: &Etcd, more: &str) -> (Gateway, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let more = format!("# admin: fleet.advertise = \"{address}\"\n{more}");
    let gateway = Gateway::start_named(name, &following(&[etcd.url()], &more)).await;
    admin::expose(listener, gateway.directory().join("admin.sock"));
    (gateway, address)
}

fn fault<'a>(page: &'a Value, node: &str) -> &'a str {
    let nodes = page["nodes"].as_array().unwrap();
    let one = nodes.iter().find(|one| one["node"] == node);
    let one = one.unwrap_or_else(|| panic!("{node} is not in {page}"));
    one["fault"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn one_gateway_answers_for_all_and_asks_no_address_of_a_stranger() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let networks = "# admin: fleet.networks = [\"127.0.0.1\"]\n";
    let (one, _) = advertising("edge-1", &etcd, networks).await;
    let (two, address) = advertising("edge-2", &etcd, "").await;
    let hidden = Gateway::start_named("edge-3", &following(&[etcd.url()], "")).await;
    // What a tenant of etcd may write: an address outside the networks, another's address.
    let stranger = TcpListener::bind("127.0.0.2:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    for (name, admin) in [("trap", stranger.local_addr().unwrap()), ("liar", address)] {
        let entry = json!({ "node": name, "instance": name, "admin": admin.to_string() });
        etcd.put(&format!("gateways/{name}"), &entry).await;
    }
    let mut clients = Vec::new();
    for (gateway, count) in [(&one, 1), (&two, 2), (&hidden, 1)] {
        for _ in 0..count {
            clients.push(Client::connect(gateway.address(), "/?k=1").await);
        }
    }
    let ask = |target: &str| one.get(target);
    eventually("all are known", async || {
        let page = ask("/v1/sessions?scope=fleet&limit=1");
        page["nodes"].as_array().unwrap().len() == 5
    })
    .await;
    let page = ask("/v1/sessions?scope=fleet&limit=1");
    assert_eq!(page["partial"], true, "{page}");
    assert_eq!(fault(&page, "edge-1"), "");
    assert_eq!(fault(&page, "edge-2"), "");
    assert!(
        fault(&page, "edge-3").contains("admin.fleet.advertise"),
        "{page}"
    );
    assert!(
        fault(&page, "trap").contains("admin.fleet.networks"),
        "{page}"
    );
    assert!(
        fault(&page, "liar").contains("another gateway answers there"),
        "{page}"
    );
    let refused = stranger
        .accept()
        .expect_err("nothing connects to a stranger");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let of = |page: &Value, node: &str| {
        let items = page["items"].as_array().unwrap();
        items.iter().filter(|item| item["node"] == node).count()
    };
    assert_eq!((of(&page, "edge-1"), of(&page, "edge-2")), (1, 1), "{page}");
    // The next page is that of the one gateway that has more.
    let next = page["next"].as_str().unwrap();
    let rest = ask(&format!("/v1/sessions?scope=fleet&limit=1&cursor={next}"));
    assert_eq!((of(&rest, "edge-1"), of(&rest, "edge-2")), (0, 1), "{rest}");
    assert_eq!(rest["next"], Value::Null);
    let id = rest["items"][0]["id"].as_str().unwrap();
    let found = ask(&format!("/v1/sessions/{id}?scope=fleet"));
    assert_eq!(found["items"][0]["node"], "edge-2", "{found}");
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    // Orders are for one gateway, and a misspelt scope orders nothing.
    let target = format!("/v1/sessions/{id}?scope=fleet");
    assert_eq!(two.admin("DELETE", &target, "").status, 400);
    assert_eq!(one.admin("GET", "/v1/sessions?scope=all", "").status, 400);
    for client in &mut clients {
        client.echo("still here").await;
    }
    found_from_the_shell(&one, id, address).await;
}

/// The same from the shell of `edge-1`, about a session of `edge-2`.
async fn found_from_the_shell(one: &Gateway, id: &str, two: SocketAddr) {
    // The doctor explains it, with an exit code for scripts.
    let printed = run(one.directory(), &["doctor", "--fleet"]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(
        printed.out.contains("edge-3 does not answer"),
        "{printed:?}"
    );
    // From the shell of any gateway a user is found on all of them.
    let printed = run(one.directory(), &["why", id, "--fleet"]).await;
    assert!(printed.out.contains(&format!("{id} ")), "{printed:?}");
    assert!(printed.out.contains(" on edge-2  "), "{printed:?}");
    let printed = run(one.directory(), &["sessions", "--fleet"]).await;
    let of = |node: &str| {
        let lines = printed.out.lines();
        lines.filter(|line| line.starts_with(node)).count()
    };
    assert!(printed.out.starts_with("GATEWAY  ID "), "{printed:?}");
    // The last one is the line about who does not answer.
    let counts = [of("edge-1 "), of("edge-2 "), of("edge-3 ")];
    assert_eq!(counts, [1, 2, 1], "{printed:?}");
    let top = ["top", "--once", "--interval", "100ms", "--fleet"];
    let printed = run(one.directory(), &top).await;
    assert!(
        printed.out.starts_with("3 sessions on 2 gateways, "),
        "{printed:?}"
    );
    let head = printed.out.lines().find(|line| line.contains("MSG/S"));
    assert!(
        head.is_some_and(|head| head.starts_with("GATEWAY  MSG/S")),
        "{printed:?}"
    );
    let rows = printed
        .out
        .lines()
        .filter(|line| line.starts_with("edge-2 "));
    assert_eq!(rows.count(), 2, "{printed:?}");
    // An order for a session elsewhere is refused with the place of the session.
    for order in [
        &["kick", id][..],
        &["move", id],
        &["send", id, "hello"],
        &["tap", id],
    ] {
        let printed = run(one.directory(), order).await;
        let all = format!("{}{}", printed.out, printed.err);
        assert_eq!(printed.code, Some(1), "{printed:?}");
        let place = format!("it is on edge-2: add --admin {}", two);
        assert!(all.contains(&place), "{order:?}: {all}");
    }
    let alone = run(one.directory(), &["why", "nobody-of-this-name"]).await;
    assert!(
        alone.err.contains("--fleet asks the other gateways too"),
        "{alone:?}"
    );
}

#[tokio::test]
async fn the_doctor_finds_the_same_fault_on_every_gateway() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let (one, _) = advertising("edge-1", &etcd, "").await;
    let (_two, _) = advertising("edge-2", &etcd, "").await;
    let empty = json!({ "backends": [], "probe": { "type": "tcp" } });
    etcd.put("upstreams/more", &empty).await;
    eventually(
        "the upstream without backends is found on both",
        async || {
            let printed = run(one.directory(), &["doctor", "--fleet"]).await;
            let both = ["CRIT  edge-1 upstream more", "CRIT  edge-2 upstream more"];
            printed.code == Some(2) && both.iter().all(|line| printed.out.contains(line))
        },
    )
    .await;
}
