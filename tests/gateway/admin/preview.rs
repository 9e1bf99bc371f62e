//! What a change would do is known before it is made, and then it does just that.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, config, eventually};

/// The answer of `POST /v1/preview`.
fn preview(gateway: &Gateway, test_config: &str) -> Value {
    let config = config::complete(test_config, gateway.directory());
    let body = json!({ "config": config, "name": "next.toml" }).to_string();
    let answer = gateway.admin("POST", "/v1/preview", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// How much of a preview's sample is asked for; each key is a request.
const ASKED: u32 = 1_000;
/// Five standard deviations of a share that so many keys tell.
const NEAR: f64 = 0.08;

/// Where the first keys of a preview's sample go now.
fn owners(gateway: &Gateway) -> Vec<String> {
    let owner = |key: u32| {
        let body = json!({ "url": format!("/?k={key}") }).to_string();
        let answer = gateway.admin("POST", "/v1/resolve", &body).json();
        answer["choice"]["backend"].as_str().unwrap().to_owned()
    };
    (0..ASKED).map(owner).collect()
}

#[tokio::test]
async fn a_preview_predicts_the_moves_and_changes_nothing() {
    let mut backends = Vec::new();
    for _ in 0..5 {
        backends.push(Backend::echo().await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let gateway = Gateway::start(&config::echo(&addresses[..4], "", "")).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let mut others = Vec::new();
    for key in 2..40 {
        others.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    // Without a key nothing decides where it would come again.
    others.push(Client::connect(gateway.address(), "/").await);
    let status = gateway.get("/v1/status");
    // One comes, one leaves.
    let next = config::echo(&addresses[1..], "", "");

    let said = preview(&gateway, &next);
    let after = gateway.get("/v1/status");
    assert_eq!(after["generation"], status["generation"], "nothing changed");
    assert_eq!(said["swaps"], true);
    assert_eq!(said["digest"], status["digest"]);
    assert_eq!(said["upstreams"]["changed"], json!(["echo"]));
    assert_eq!(said["sessions"]["live"], 40);
    assert_eq!(said["sessions"]["keyed"], 39);
    assert_eq!(said["sessions"]["ended"], 0);

    let were = owners(&gateway);
    gateway.write_config(&next);
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.get("/v1/status")["digest"], said["digest_after"]);
    let are = owners(&gateway);
    let moved = were.iter().zip(&are).filter(|(one, other)| one != other);
    let moved = moved.count() as f64 / f64::from(ASKED);
    let of_live = (1..40).filter(|key| were[*key] != are[*key]).count();
    assert_eq!(said["sessions"]["moved"], of_live, "{said}");
    let share = said["moves"][0]["share"].as_f64().unwrap() * 100.0;
    let summary = format!(
        "this moves {share:.1} % of the keys of upstream `echo`, those of {of_live} of 39 live \
         sessions among them; 0 sessions end"
    );
    assert!(
        said["summary"].as_str().unwrap().starts_with(&summary),
        "{said}"
    );
    let move_ = &said["moves"][0];
    assert_eq!(move_["upstream"], "echo");
    assert!(
        (move_["share"].as_f64().unwrap() - moved).abs() < NEAR,
        "{said}"
    );
    let held = |owners: &[String]| {
        let mut held = BTreeMap::new();
        for owner in owners {
            *held.entry(owner.clone()).or_insert(0.0) += 1.0 / f64::from(ASKED);
        }
        held
    };
    let (before, after) = (held(&were), held(&are));
    for backend in move_["backends"].as_array().unwrap() {
        let id = backend["backend"].as_str().unwrap();
        for (said, is) in [(&backend["before"], &before), (&backend["after"], &after)] {
            let is = is.get(id).copied();
            let same = match (said.as_f64(), is) {
                (Some(said), Some(is)) => (said - is).abs() < NEAR,
                (said, is) => said == is,
            };
            assert!(same, "{backend}: {is:?}");
        }
    }
    client.echo("i1: still here").await;
}

#[tokio::test]
async fn sessions_that_would_end_and_backends_that_would_be_left_are_counted() {
    let (old, new) = (Backend::echo().await, Backend::echo().await);
    let route = "\n[[routes]]\nname = \"going\"\npath = \"/going\"\nupstream = \"echo\"\n\
                 on_removal = \"close\"\n";
    let first = config::echo(&[old.address], "", "");
    let gateway = Gateway::start(&format!("{first}{route}")).await;
    let mut clients = Vec::new();
    for target in ["/", "/", "/going"] {
        clients.push(Client::connect(gateway.address(), target).await);
    }
    let said = preview(&gateway, &config::echo(&[new.address], "", ""));
    assert_eq!(said["routes"]["removed"], json!(["going"]));
    assert_eq!(said["sessions"]["ended"], 1, "{said}");
    let leaving = json!([{
        "upstream": "echo", "backend": old.address.to_string(), "why": "removed", "sessions": 3
    }]);
    assert_eq!(said["leaving"], leaving);
    let removed = json!([{ "route": "going", "sessions": 1, "end": true }]);
    assert_eq!(said["removed_routes"], removed);
    let summary = said["summary"].as_str().unwrap();
    assert!(
        summary.contains(
            "; 1 session ends; 1 backend gets no new sessions any more, with 3 sessions live on it"
        ),
        "{summary}"
    );
    for client in &mut clients {
        client.echo("i1: nothing happened").await;
    }
}

#[tokio::test]
async fn a_candidate_with_faults_is_refused_with_their_places() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let bad = config::echo(&[backend.address], "polcy = \"maglev\"", "");
    let config = config::complete(&bad, gateway.directory());
    let body = json!({ "config": config, "name": "next.toml" }).to_string();
    let answer = gateway.admin("POST", "/v1/preview", &body);
    assert_eq!(answer.status, 422, "{}", answer.body);
    let fault = &answer.json()["diagnostics"][0];
    assert!(fault["file"] == "next.toml", "{fault}");
    assert!(fault["line"].as_u64() > Some(1), "{fault}");
    assert!(
        fault["help"].as_str().unwrap().contains("policy"),
        "{fault}"
    );
    assert_eq!(gateway.admin("POST", "/v1/preview", "{}").status, 400);
    // Nothing of it stands as refused: nobody tried to put it into force.
    assert!(gateway.get("/v1/config")["refused"].is_null());
}

#[tokio::test]
async fn the_shell_previews_with_a_gateway_and_without_one() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let gateway = Gateway::start(&config::echo(&[one.address], "", "")).await;
    let directory = gateway.directory();
    let both = config::complete(
        &config::echo(&[one.address, two.address], "", ""),
        directory,
    );
    fs::write(directory.join("next.toml"), &both).unwrap();
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();

    let asked = sessile(&["preview", "next.toml"], directory);
    let said = text(&asked);
    assert_eq!(asked.status.code(), Some(0), "{said}{:?}", asked.stderr);
    assert!(said.starts_with("this moves "), "{said}");
    assert!(said.contains("upstreams changed: echo"), "{said}");
    assert!(said.contains(&two.address.to_string()), "{said}");
    let alone = sessile(
        &["preview", "next.toml", "--against", "gateway.toml"],
        directory,
    );
    assert_eq!(alone.status.code(), Some(0));
    let share = |said: &str| said.split(" %").next().unwrap().to_owned();
    assert_eq!(share(&text(&alone)), share(&said));

    fs::write(
        directory.join("next.toml"),
        both.replace("upstream = ", "upstrm = "),
    )
    .unwrap();
    for more in [&[][..], &["--against", "gateway.toml"]] {
        let bad = sessile(&[&["preview", "next.toml"], more].concat(), directory);
        assert_eq!(bad.status.code(), Some(2), "{}", text(&bad));
        assert!(text(&bad).contains("next.toml:"), "{}", text(&bad));
    }
}

#[tokio::test]
async fn a_preview_counts_the_sessions_that_a_drain_of_removed_backends_ends() {
    let (gone, stays) = (Backend::echo().await, Backend::echo().await);
    let drain = "policy = \"round_robin\"\ndrain = { on_removal = \"drain\", within = \"1s\" }";
    let with = |backends: &[std::net::SocketAddr], reconnect: &str| {
        format!(
            "{}\n[[routes]]\nname = \"moves\"\npath = \"/moves\"\nupstream = \"echo\"\n{reconnect}\n",
            config::echo(backends, drain, "")
        )
    };
    let moves = "on_backend_loss = \"reconnect\"";
    let gateway = Gateway::start(&with(&[gone.address, stays.address], moves)).await;
    let mut clients = Vec::new();
    for n in 0..12 {
        let path = if n % 4 < 2 { "/stays" } else { "/moves" };
        clients.push(Client::connect(gateway.address(), path).await);
    }
    let next = with(&[stays.address], moves);
    let said = preview(&gateway, &next);
    let count = |why: &str| -> u64 {
        let endings = said["endings"].as_array().unwrap().iter();
        let endings = endings.filter(|one| one["why"] == why);
        endings.map(|one| one["sessions"].as_u64().unwrap()).sum()
    };
    assert_eq!((count("drained"), count("resumed")), (3, 3), "{said}");
    assert_eq!(said["sessions"]["ended"], 3, "{said}");
    assert_eq!(said["sessions"]["resumed"], 3, "{said}");
    let ending = &said["endings"][0];
    assert_eq!(ending["backend"], gone.address.to_string(), "{said}");
    assert_eq!(ending["ids"].as_array().map(Vec::len), Some(3), "{said}");
    assert!(
        said["summary"].as_str().unwrap().contains("3 sessions end"),
        "{said}"
    );

    // And then it does just that.
    gateway.write_config(&next);
    assert_eq!(gateway.reload().status, 200);
    let records = gateway.wait_for_records(3).await;
    assert!(
        records
            .iter()
            .all(|one| one.cause == "drained" && one.route == "all")
    );
    eventually("the others go on elsewhere", async || {
        let sessions = gateway.sessions();
        sessions.len() == 9
            && sessions
                .iter()
                .all(|one| one["backend"] == stays.address.to_string())
    })
    .await;
}

#[tokio::test]
async fn i8_a_preview_of_tables_without_end_is_refused_and_costs_nothing() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let maglev = |count: usize| {
        let mut text = config::echo(&[backend.address], "", "");
        for n in 0..count {
            text.push_str(&format!(
                "[upstreams.u{n}]\npolicy = \"maglev\"\nbackends = [\"10.0.0.1:1\"]\n"
            ));
        }
        text
    };
    let ask = |text: &str| {
        let config = config::complete(text, gateway.directory());
        gateway.admin(
            "POST",
            "/v1/preview",
            &json!({ "config": config }).to_string(),
        )
    };
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(ask(&maglev(50)).status, 200);
    let before = memory();
    let answer = ask(&maglev(500));
    assert_eq!(answer.status, 413, "{}", answer.body);
    let answer = ask(&maglev(5_000));
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(
        answer.body.contains("tables of all upstreams"),
        "{}",
        answer.body
    );
    // Rings of heavy members are as large.
    let heavy: String = (0..100)
        .map(|n| {
            let members: Vec<_> = (0..30)
                .map(|m| format!("{{ address = \"10.0.0.{m}:1\", weight = 1000 }}"))
                .collect();
            format!("[upstreams.h{n}]\nbackends = [{}]\n", members.join(", "))
        })
        .collect();
    let answer = ask(&format!(
        "{}{heavy}",
        config::echo(&[backend.address], "", "")
    ));
    assert_eq!(answer.status, 422, "{}", answer.body);
    // Thousands of faults are as many as a person reads.
    let faulty: String = (0..20_000)
        .map(|n| format!("[upstreams.z{n}]\npolcy = 1\n"))
        .collect();
    let answer = ask(&format!("{}\n{faulty}", maglev(1)));
    assert_eq!(answer.status, 422);
    assert!(answer.json()["diagnostics"].as_array().unwrap().len() < 300);
    let grown = memory() - before;
    assert!(grown < 128 << 10, "{grown} KiB");
}

#[tokio::test]
async fn a_preview_of_documents_is_made_with_the_file_and_the_documents_that_there_are() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    let ask = |documents: Value| {
        let body = json!({ "documents": documents }).to_string();
        gateway.admin("POST", "/v1/preview", &body)
    };
    let new = json!({ "upstreams/more": { "backends": ["10.0.0.1:1"] } });
    let said = ask(new).json();
    assert_eq!(said["upstreams"]["added"], json!(["more"]), "{said}");
    let drained = json!({ "state": "draining", "address": backend.address.to_string() });
    let key = format!("backends/echo/{}", backend.address);
    let said = ask(json!({ key: drained })).json();
    assert_eq!(said["endings"][0]["why"], "drained", "{said}");
    let refused = ask(json!({ "routes/bad": { "upstream": "echo", "pth": "/" } }));
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("routes/bad"), "{}", refused.body);
    assert_eq!(ask(json!({})).status, 400);
    client.echo("nothing happened").await;
}
