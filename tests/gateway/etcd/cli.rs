//! `sessile etcd` against a real etcd: what is written is what was checked and shown.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::etcd::Etcd;
use crate::support::{Backend, Client, Gateway, eventually, soon};

const FILE: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:0"]

[upstreams.chat]
backends = ["10.0.0.1:9000", "10.0.0.2:9000", { address = "10.0.0.3:9000", id = "three" }]

[[routes]]
name = "chat"
path = "/ws/{room}"
upstream = "chat"
affinity = ["path:room"]
"#;

/// An etcd, and a directory with files.
struct Bench {
    etcd: Etcd,
    directory: TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self {
            etcd: Etcd::start().await,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// `sessile etcd …`: exit code and output.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
        command
            .arg("etcd")
            .args(arguments)
            .args(["--etcd", &self.etcd.url()])
            .current_dir(self.path())
            .stdin(Stdio::null());
        let output = command.output().expect("the binary starts");
        (output.status.code().unwrap(), out(&output))
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, out) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}");
        out
    }

    async fn json(&self, key: &str) -> Value {
        let text = self.etcd.get(&format!("/sessile/{key}")).await;
        text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }
}

fn out(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

#[tokio::test]
async fn a_file_is_seeded_read_back_and_differs_from_nothing() {
    let bench = Bench::new().await;
    bench.write("gateway.toml", FILE);
    // There is no terminal to ask at.
    let (code, out) = bench.run(&["seed"]);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("--yes"), "{out}");
    let out = bench.succeeds(&["seed", "--dry-run"]);
    assert!(out.contains("+ routes/chat"), "{out}");
    assert!(bench.json("routes/chat").await.is_null(), "{out}");

    let out = bench.succeeds(&["seed", "--yes"]);
    assert!(out.contains("5 documents in 1 transaction"), "{out}");
    assert_eq!(bench.json("upstreams/chat").await, json!({}));
    assert_eq!(
        bench.json("backends/chat/three").await,
        json!({ "address": "10.0.0.3:9000" })
    );
    assert_eq!(
        bench.json("routes/chat").await,
        json!({ "path": "/ws/{room}", "upstream": "chat", "affinity": ["path:room"] })
    );
    assert!(
        bench
            .succeeds(&["seed", "--yes"])
            .contains("etcd has all of it already")
    );
    assert!(
        bench
            .succeeds(&["diff", "gateway.toml"])
            .contains("all of it already")
    );

    let text = bench.succeeds(&["get"]);
    bench.write("again.toml", &text);
    assert!(
        bench
            .succeeds(&["put", "again.toml"])
            .contains("all of it already")
    );
    assert!(
        bench
            .succeeds(&["diff", "again.toml", "--prune"])
            .contains("all of it already")
    );
    let json: Value = serde_json::from_str(&bench.succeeds(&["get", "routes", "--json"])).unwrap();
    assert_eq!(
        json.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["routes/chat"]
    );
    assert_eq!(bench.run(&["get", "routes/none"]).0, 1);
}

#[tokio::test]
async fn a_change_is_shown_with_what_it_moves_and_then_made() {
    let bench = Bench::new().await;
    bench.write("gateway.toml", FILE);
    bench.succeeds(&["seed", "--yes"]);
    bench.write(
        "next.toml",
        "[upstreams.chat]\nattempts = 5\nbackends = [\"10.0.0.4:9000\"]\n",
    );
    let out = bench.succeeds(&["diff", "next.toml"]);
    for line in [
        "~ upstreams/chat",
        "attempts: (not given) -> 5",
        "+ backends/chat/10.0.0.4:9000",
        "of the keys of upstream `chat`",
        "10.0.0.4:9000  -         2",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    bench.succeeds(&["put", "next.toml", "--yes"]);
    assert_eq!(bench.json("upstreams/chat").await, json!({ "attempts": 5 }));
    assert!(
        !bench.json("backends/chat/three").await.is_null(),
        "what is not named stays"
    );

    let out = bench.succeeds(&["rm", "backends/chat/three", "--yes"]);
    assert!(out.contains("three"), "{out}");
    assert!(bench.json("backends/chat/three").await.is_null());
    // Its route needs it.
    let (code, out) = bench.run(&["rm", "upstreams/chat", "--yes"]);
    bench.succeeds(&["rm", "routes/chat", "--yes"]);
    assert_eq!(
        code, 0,
        "the file still has an upstream of that name: {out}"
    );
    let (code, out) = bench.run(&["rm", "routes/none", "--yes"]);
    assert_eq!(code, 1, "{out}");
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_place_before_anything_is_written() {
    let bench = Bench::new().await;
    let check = |text: &str, wanted: &[&str]| {
        bench.write("next.toml", text);
        let (code, out) = bench.run(&["put", "next.toml", "--yes"]);
        assert_eq!(code, 2, "{out}");
        for wanted in wanted {
            assert!(out.contains(wanted), "{wanted}: {out}");
        }
    };
    check(
        "[upstreams.chat]\npolcy = \"maglev\"\n",
        &["next.toml:2:1", "did you mean `policy`?"],
    );
    check(
        "[[routes]]\nname = \"a\"\nupstream = \"chat\"\n",
        &["next.toml:3:12", "chat"],
    );
    check(
        "[upstreams.chat]\nbackends = [\"10.0.0.1\"]\n",
        &["next.toml:2:"],
    );
    check("[upstreams.chat\n", &["next.toml:1:"]);
    check(
        "[node]\nname = \"edge\"\n",
        &["[node]", "does not live in etcd"],
    );
    assert_eq!(bench.succeeds(&["get", "--json"]).trim(), "{}");

    // Taking away what is named elsewhere is as wrong.
    bench.write(
        "next.toml",
        "[upstreams.chat]\n[[routes]]\nname = \"a\"\nupstream = \"chat\"\n",
    );
    bench.succeeds(&["put", "next.toml", "--yes"]);
    let (code, out) = bench.run(&["rm", "upstreams/chat", "--yes"]);
    assert_eq!(code, 2, "{out}");
    assert!(!bench.json("upstreams/chat").await.is_null());
}

#[tokio::test]
async fn many_documents_take_several_transactions_and_prune_takes_the_rest_away() {
    let bench = Bench::new().await;
    let members: Vec<_> = (0..300)
        .map(|n| format!("\"10.0.{}.{}:9000\"", n / 250, n % 250))
        .collect();
    bench.write(
        "many.toml",
        &format!("[upstreams.chat]\nbackends = [{}]\n", members.join(", ")),
    );
    let out = bench.succeeds(&["put", "many.toml", "--yes"]);
    assert!(out.contains("301 documents in 3 transactions"), "{out}");

    // A backend that somebody keeps alive is not this file's to take away, and stays under its
    // lease when it is written.
    let mut client = bench.etcd.client().await;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let options = etcd_client::PutOptions::new().with_lease(lease);
    let value = json!({ "address": "10.9.9.9:9000" }).to_string();
    let key = "/sessile/backends/chat/leased";
    client.put(key, value, Some(options)).await.unwrap();
    bench.write(
        "few.toml",
        "[upstreams.chat]\nbackends = [\"10.0.0.1:9000\"]\n",
    );
    bench.succeeds(&["put", "few.toml", "--prune", "--yes"]);
    let json: Value = serde_json::from_str(&bench.succeeds(&["get", "--json"])).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "backends/chat/10.0.0.1:9000",
            "backends/chat/leased",
            "upstreams/chat"
        ]
    );
    bench.write(
        "leased.toml",
        "[upstreams.chat]\nbackends = [{ address = \"10.9.9.9:9000\", id = \"leased\", weight = 3 }]\n",
    );
    bench.succeeds(&["put", "leased.toml", "--yes"]);
    let found = client.get(key, None).await.unwrap();
    assert_eq!(found.kvs()[0].lease(), lease);
    assert!(found.kvs()[0].value_str().unwrap().contains("\"weight\":3"));
}

/// Runs what docs/etcd.md shows with `etcdctl`, each line as it stands there.
#[tokio::test]
async fn the_recipes_of_the_manual_work() {
    let bench = Bench::new().await;
    let manual = include_str!("../../../docs/etcd.md");
    let recipes = manual.split("## Recipes for etcdctl\n").nth(1).unwrap();
    let recipes = recipes.split("\n## ").next().unwrap();
    let commands: Vec<_> = recipes
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert!(commands.len() >= 5, "{commands:?}");
    let mut all = String::new();
    for command in commands {
        let output = Command::new("sh")
            .args(["-c", command])
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", bench.etcd.url())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", out(&output));
        all += &out(&output);
    }
    assert!(all.contains("/sessile/routes/chat"), "{all}");
    assert_eq!(bench.json("backends/chat/a").await["state"], "draining");
    assert!(bench.json("routes/old").await.is_null());
    // What they left is what a gateway takes.
    bench.write(
        "gateway.toml",
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n",
    );
    let text = bench.succeeds(&["get"]);
    bench.write("again.toml", &text);
    assert!(
        bench
            .succeeds(&["put", "again.toml"])
            .contains("all of it already")
    );
}

#[tokio::test]
async fn i11_secrets_are_not_shown_in_differences() {
    let bench = Bench::new().await;
    let file = |secret: &str| {
        format!(
            "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{secret}\"\nalgorithms = [\"HS256\"]\n"
        )
    };
    for secret in [
        "correct-horse-battery-staple-0123",
        "tr0ub4dor-and-3-0123456789-0123",
    ] {
        bench.write("next.toml", &file(secret));
        let out = bench.succeeds(&["put", "next.toml", "--yes"]);
        assert!(!out.contains(secret) && out.contains("***"), "{out}");
    }
}

#[tokio::test]
async fn a_concurrent_write_is_not_overwritten() {
    let bench = Bench::new().await;
    bench.write("gateway.toml", FILE);
    bench.succeeds(&["seed", "--yes"]);
    let file = bench.path().join("next.toml");
    let made = Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let child = Command::new(env!("CARGO_BIN_EXE_sessile"))
        .args([
            "etcd",
            "put",
            "--yes",
            "next.toml",
            "--etcd",
            &bench.etcd.url(),
        ])
        .current_dir(bench.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the binary starts");
    // It opens its file when it has read etcd.
    let opened = tokio::task::spawn_blocking(move || fs::File::create(file));
    let mut pipe = soon("it reads its file", opened).await.unwrap().unwrap();
    let theirs = json!({ "policy": "rendezvous" });
    bench.etcd.put("upstreams/chat", &theirs).await;
    pipe.write_all(b"[upstreams.chat]\npolicy = \"maglev\"\n")
        .unwrap();
    drop(pipe);
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = soon("its end", output).await.unwrap().unwrap();
    let text = out(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another client changed"), "{text}");
    assert_eq!(bench.json("upstreams/chat").await, theirs);
}

#[tokio::test]
async fn a_removal_is_previewed_by_the_gateway_whose_sessions_it_ends() {
    let bench = Bench::new().await;
    let (gone, stays) = (Backend::echo().await, Backend::echo().await);
    let upstream = json!({
        "policy": "round_robin", "drain": { "on_removal": "drain", "within": "10m" }
    });
    bench.etcd.put("upstreams/chat", &upstream).await;
    for backend in [&gone, &stays] {
        let key = format!("backends/chat/{}", backend.address);
        let value = json!({ "address": backend.address.to_string() });
        bench.etcd.put(&key, &value).await;
    }
    bench
        .etcd
        .put("routes/chat", &json!({ "upstream": "chat" }))
        .await;
    // What is wrong elsewhere takes no preview away.
    bench
        .etcd
        .put("upstreams/bad", &json!({ "policy": 7 }))
        .await;
    let text = format!("[sources.etcd]\nendpoints = [\"{}\"]\n", bench.etcd.url());
    let gateway = Gateway::start(&text).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    let key = format!("backends/chat/{}", gone.address);
    let admin = format!("unix:{}", gateway.directory().join("admin.sock").display());
    let out = bench.succeeds(&["rm", &key, "--dry-run", "--admin", &admin]);
    assert!(out.contains("2 sessions end"), "{out}");
    let row = out.lines().find(|line| line.contains("drained"));
    let row = row.unwrap_or_else(|| panic!("{out}"));
    assert!(
        row.contains(&gone.address.to_string()) && row.starts_with("chat"),
        "{out}"
    );
    bench.write("next.toml", "[upstreams.chat]\npolicy = \"maglev\"\n");
    let out = bench.succeeds(&["diff", "next.toml", "--admin", &admin]);
    assert!(out.contains("0 sessions end"), "{out}");
    for mut client in clients {
        client.echo("still here").await;
    }
    // Without a gateway, only what the documents tell.
    drop(gateway);
    let out = bench.succeeds(&["rm", &key, "--dry-run", "--admin", "127.0.0.1:1"]);
    assert!(out.contains("live sessions are not counted"), "{out}");
    assert!(out.contains("1 backend gets no new sessions"), "{out}");
}

/// Two backends whose sessions are drained when they are removed.
async fn seed_fleet(bench: &Bench, backends: &[&Backend]) {
    let upstream = json!({
        "policy": "round_robin", "drain": { "on_removal": "drain", "within": "10m" }
    });
    bench.etcd.put("upstreams/chat", &upstream).await;
    for backend in backends {
        let key = format!("backends/chat/{}", backend.address);
        let value = json!({ "address": backend.address.to_string() });
        bench.etcd.put(&key, &value).await;
    }
    let route = json!({ "upstream": "chat" });
    bench.etcd.put("routes/chat", &route).await;
}

/// The admin API of a gateway, as `--admin` takes it.
fn admin(gateway: &Gateway) -> String {
    let socket = gateway.directory().join("admin.sock");
    format!("unix:{}", socket.display())
}

/// The part of the output that is about a gateway.
fn part(out: &str, node: &str) -> String {
    let after = out.split(&format!("gateway {node}:\n")).nth(1);
    let after = after.unwrap_or_else(|| panic!("{node}: {out}"));
    after.split("\ngateway ").next().unwrap().to_owned()
}

/// The line with the reason why a gateway did not answer.
fn missing(out: &str, node: &str) -> String {
    let line = out.lines().find(|line| line.trim().starts_with(node));
    line.unwrap_or_else(|| panic!("{node}: {out}")).to_owned()
}

#[tokio::test]
async fn a_removal_is_previewed_by_every_gateway_of_the_fleet() {
    let bench = Bench::new().await;
    let (gone, stays) = (Backend::echo().await, Backend::echo().await);
    seed_fleet(&bench, &[&gone, &stays]).await;
    let text = format!("[sources.etcd]\nendpoints = [\"{}\"]\n", bench.etcd.url());
    let one = Gateway::start_named("edge-1", &text).await;
    let two = Gateway::start_named("edge-2", &text).await;
    let guarded =
        Gateway::start_with_admin_token(&text, "an-admin-token-that-is-long-enough").await;
    let mut clients = Vec::new();
    for (gateway, count) in [(&one, 2), (&two, 4), (&guarded, 6)] {
        for _ in 0..count {
            clients.push(Client::connect(gateway.address(), "/").await);
        }
    }
    // Registered by a tenant, under an address where another gateway answers, or none.
    let stranger = |node: &str, admin: &str| json!({ "node": node, "admin": admin });
    let liar = stranger("liar", &admin(&one));
    bench.etcd.put("gateways/liar", &liar).await;
    bench
        .etcd
        .put("gateways/silent", &stranger("silent", "127.0.0.1:1"))
        .await;
    let key = format!("backends/chat/{}", gone.address);
    let all = ["edge-1", "edge-2", "under-test"];
    eventually("all are registered", async || {
        let mut there = true;
        for node in all {
            there &= bench.json(&format!("gateways/{node}")).await != Value::Null;
        }
        there
    })
    .await;
    let dry = |more: &[&str]| {
        let named = admin(&one);
        let arguments = [&["rm", &*key, "--dry-run", "--admin", &*named], more].concat();
        bench.succeeds(&arguments)
    };
    let out = dry(&[]);
    for (node, count) in [("edge-1", 1), ("edge-2", 2)] {
        let part = part(&out, node);
        let row = part.lines().find(|line| line.contains("drained"));
        let row = row.unwrap_or_else(|| panic!("{node}: {out}"));
        assert!(row.starts_with("chat"), "{row}");
        let cells: Vec<_> = row.split_whitespace().collect();
        assert!(cells.contains(&&*count.to_string()), "{row}");
    }
    assert!(out.contains("partial: 2 of 5 gateways answered"), "{out}");
    // The token goes to no address that stands in etcd alone, unless that is asked for.
    assert!(missing(&out, "under-test").contains("token"), "{out}");
    let lied = missing(&out, "liar");
    assert!(lied.contains("gateway `edge-1` answers there"), "{out}");
    assert!(missing(&out, "silent").contains("127.0.0.1:1"), "{out}");
    bench.write("token", "an-admin-token-that-is-long-enough");
    let out = dry(&["--token-file", "token", "--fleet"]);
    assert!(part(&out, "under-test").contains("3 sessions end"), "{out}");
    assert!(out.contains("partial: 3 of 5 gateways answered"), "{out}");
    // Documents that hold secrets are refused, too.
    bench.write(
        "next.toml",
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"0123456789-0123456789-0123456789\"\n",
    );
    let out = bench.succeeds(&["diff", "next.toml", "--admin", &admin(&one)]);
    assert!(missing(&out, "edge-2").contains("--fleet"), "{out}");
}
