//! Questions about what is over: ends, refusals, changes.

use serde_json::{Value, json};

use super::{answer, run};
use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// A gateway whose clients need a token.
async fn guarded(backend: &Backend) -> Gateway {
    Gateway::start(&configuration(&[backend])).await
}

fn configuration(backends: &[&Backend]) -> String {
    let users = format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n");
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    users + &config::echo(&addresses, "", "authenticate = [\"users\"]")
}

/// A handshake of ann, whose token ends then.
fn ann(seconds: i64) -> Dial {
    let token = token(&json!({ "sub": "ann", "exp": in_seconds(seconds) }));
    Dial::new("/").header("authorization", &format!("Bearer {token}"))
}

/// Waits until this list has an item; events come a moment after what they report.
async fn wait_for(gateway: &Gateway, target: &str) {
    eventually(target, async || {
        !gateway.get(target)["items"].as_array().unwrap().is_empty()
    })
    .await;
}

/// A session of ann that an operator has closed; returns its id.
async fn kicked(gateway: &Gateway) -> String {
    let mut client: Client = ann(60).connect(gateway.address()).await.expect("a session");
    let id = client.header("sessile-session").expect("an id to quote");
    let id = id.to_owned();
    run(gateway, &["kick", &id, "--reason", "test at 3"]);
    client.end().await.expect("a close frame");
    wait_for(gateway, "/v1/sessions/ended").await;
    id
}

/// 3. "Why did X's session end ten minutes ago, by whom, with what words?"
#[tokio::test]
async fn q03_why_did_a_session_end_by_whom_with_what_words() {
    let backend = Backend::echo().await;
    let gateway = guarded(&backend).await;
    let id = kicked(&gateway).await;
    let ended = run(&gateway, &["ended", "--principal", "ann", "--since", "1d"]);
    assert!(ended.contains(&id), "{ended}");
    let how = "kicked by gateway, 1008, ordered by local: test at 3";
    assert!(ended.contains(how), "{ended}");
}

/// 4. "Why is this client refused, by which rule?"
#[tokio::test]
async fn q04_why_is_a_client_refused_by_which_rule() {
    let backend = Backend::echo().await;
    let gateway = guarded(&backend).await;
    let refused = ann(-60).connect(gateway.address()).await.err();
    assert!(refused.is_some(), "it has expired");
    wait_for(&gateway, "/v1/refusals").await;
    let refused = run(&gateway, &["refusals", "--client", "127.0.0.1"]);
    for words in [
        "401 authenticator `users`: the credential expired 1m",
        "by reason: credential_expired 1",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
}

/// 5. "What changed in the last hour, what was the difference, who did it?"
#[tokio::test]
async fn q05_what_changed_what_was_the_difference_who_did_it() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = guarded(&backends[0]).await;
    let id = kicked(&gateway).await;
    gateway.write_config(&configuration(&[&backends[0], &backends[1]]));
    assert_eq!(gateway.reload().status, 200);
    wait_for(&gateway, "/v1/history?kind=configuration_changed").await;
    let history = run(&gateway, &["history", "--since", "1h", "--diff"]);
    let line_of = |word: &str| history.lines().find(|line| line.contains(word));
    let change = line_of("configuration_changed").expect("the change");
    for words in ["gen 2", "local"] {
        assert!(change.contains(words), "{history}");
    }
    let added = format!("+ upstreams.echo.backends[{}]", backends[1].address);
    assert!(history.contains(&added), "{history}");
    let order = line_of("  order ").expect("the kick");
    assert!(order.contains(&id), "{history}");
}

/// 14. "All sessions of X today, live ones too."
#[tokio::test]
async fn q14_all_sessions_of_a_user_today() {
    let backend = Backend::echo().await;
    let gateway = guarded(&backend).await;
    let over = kicked(&gateway).await;
    let mut client = ann(60).connect(gateway.address()).await.expect("a session");
    let live = client.session_id().await;
    let all = ["sessions", "--principal", "ann", "--all", "--since", "1d"];
    let shown = run(&gateway, &all);
    let lines: Vec<_> = shown.lines().collect();
    // The one that began last is first.
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(
        lines[1].starts_with("live ") && lines[1].contains(&live),
        "{shown}"
    );
    assert!(
        lines[2].starts_with("ended ") && lines[2].contains(&over),
        "{shown}"
    );
    let how = "kicked by gateway, 1008, ordered by local: test at 3";
    assert!(lines[2].ends_with(how), "{shown}");
    let both = run(&gateway, &[&all[..], &["--json"]].concat());
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["live"]["items"][0]["id"], live);
    assert_eq!(both["ended"]["items"][0]["session"], over);
    let none = run(&gateway, &["sessions", "--principal", "bob", "--all"]);
    assert!(
        none.starts_with("no session matches, live or ended"),
        "{none}"
    );
    drop(client);
}

/// 16. "I get 1006 / 1011 / 1012 / 3008": what is it, whose fault, which sessions?
#[tokio::test]
async fn q16_what_does_a_code_mean_and_whose_fault_is_it() {
    let backend = Backend::echo().await;
    let gateway = guarded(&backend).await;
    for (code, words) in [
        ("1006", "it is never sent"),
        ("1011", "backend"),
        ("1012", "drain"),
        ("3008", "silent"),
    ] {
        let explained = run(&gateway, &["explain", code]);
        assert!(explained.starts_with(&format!("{code}: ")), "{explained}");
        assert!(explained.contains(words), "{words}: {explained}");
        assert!(explained.contains("where it comes from"), "{explained}");
    }
    let id = kicked(&gateway).await;
    let explained = run(&gateway, &["explain", "1008", &id]);
    assert!(explained.contains("test at 3"), "{explained}");
    let (code, _, errors) = answer(&gateway, &["explain", "7"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("neither a close code"), "{errors}");
}
