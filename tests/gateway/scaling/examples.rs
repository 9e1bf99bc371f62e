//! The examples of autoscaling, as far as they run here: the script with a real gateway, the rules
//! with promtool, and what KEDA and the adapter would ask for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{clients, close, scaling, world};
use crate::support::admin::exposed;
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::{Gateway, eventually};

fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("examples/autoscaling").join(name)
}

/// The value of a key in a file of YAML whose values stand on one line.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().map(str::trim_start);
    let mut values = line.filter_map(|line| {
        let line = line.trim_start_matches("- ");
        line.strip_prefix(key)?.strip_prefix(": ")
    });
    values
        .next()
        .unwrap_or_else(|| panic!("{key} in {text}"))
        .trim_matches('"')
        .to_owned()
}

/// Runs the script once; what it printed, and the numbers that the command was called with.
fn scale(gateway: &Gateway, upstream: &str) -> (String, String) {
    let directory = gateway.directory();
    let (command, calls) = (directory.join("set-backends"), directory.join("calls"));
    fs::write(
        &command,
        format!("#!/bin/sh\necho \"$1\" >> {}\n", calls.display()),
    )
    .unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    let admin = format!("http://{}", exposed(directory));
    let mut script = Command::new("sh");
    script
        .arg(example("scale.sh"))
        .args([upstream, &admin])
        .arg(&command);
    let output = script.output().expect("sh");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (said, fs::read_to_string(calls).unwrap_or_default())
}

#[tokio::test]
async fn the_script_starts_backends_and_drains_the_emptiest() {
    let (backends, gateway) = world(2, &scaling(3, "1s", "")).await;
    let mut live = clients(&gateway, 9).await;
    let (said, calls) = scale(&gateway, "echo");
    assert_eq!(calls, "3\n", "{said}");
    let gone = live.split_off(1);
    close(gone).await;
    eventually("one is enough", async || {
        gateway.get("/v1/scaling/echo")["backends_desired"] == 1
    })
    .await;
    let (said, calls) = scale(&gateway, "echo");
    assert_eq!(calls, "3\n", "it starts none: {said}");
    assert!(said.contains("1 of 2 backends drain"), "{said}");
    let states = backends
        .iter()
        .map(|one| gateway.backend("echo", one.address)["state"].clone());
    assert_eq!(states.filter(|state| state == "draining").count(), 1);
    let (said, _) = scale(&gateway, "echo");
    assert!(!said.contains("drain"), "it is done: {said}");
    close(live).await;
}

#[tokio::test]
async fn keda_finds_its_number_where_the_example_says() {
    let (_backends, gateway) = world(1, &scaling(3, "1h", "")).await;
    let live = clients(&gateway, 7).await;
    let text = fs::read_to_string(example("keda.yaml")).unwrap();
    let url = value(&text, "url");
    let path = url.split_once("/v1/").expect("a path of the API").1;
    // The example's upstream is called otherwise.
    let path = format!("/v1/{}", path.replace("chat", "echo"));
    let shown: Value = gateway.get(&path);
    assert_eq!(shown[value(&text, "valueLocation")], 3, "{shown}");
    close(live).await;
}

#[tokio::test]
async fn the_rules_record_what_the_hpa_asks_for() {
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(example("rules.test.yml"))
        .output()
        .expect("promtool: apt-get install prometheus");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");

    // The adapter offers the recorded series under the name that the HPA asks for.
    let [rules, adapter, hpa] = ["rules.yml", "adapter.yaml", "hpa.yaml"]
        .map(|name| fs::read_to_string(example(name)).unwrap());
    let record = value(&rules, "record");
    assert_eq!(value(&adapter, "matches"), record);
    assert!(
        adapter.contains(&format!("max by (upstream) ({record}{{")),
        "{adapter}"
    );
    assert!(
        hpa.contains(&format!("name: {}\n", value(&adapter, "as"))),
        "{hpa}"
    );

    // By the metrics of a real gateway.
    let (_backends, gateway) = world(2, &scaling(3, "1h", "")).await;
    let live = clients(&gateway, 7).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let start = rules.find("max by").expect("an expression");
    let expression = rules[start..]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    eventually("it is recorded", async || {
        let found = prometheus.query(&expression).await.unwrap_or_default();
        let found = found.first().map(|one| one["value"][1].clone());
        found.is_some_and(|found| found == "3")
    })
    .await;
    close(live).await;
}
