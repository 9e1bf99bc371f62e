//! What commands say of a gateway, and of what is wrong with the question.

use std::fs;

use serde_json::Value;

use super::{Printed, run, sessile};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

#[tokio::test]
async fn status_lists_every_backend_and_fails_where_something_is_not_well() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let probe = "probe = { type = \"tcp\", interval = \"50ms\", timeout = \"200ms\", fall = 1 }";
    let text = config::echo(&[one.address, two.address], probe, "");
    let gateway = Gateway::start(&text).await;
    let here = gateway.directory();
    gateway
        .wait_for_health("echo", one.address, "healthy")
        .await;
    gateway
        .wait_for_health("echo", two.address, "healthy")
        .await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let at = client.backend().await;
    let row = |printed: &Printed, of: &str| {
        let found = printed
            .out
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(of));
        let found = found.unwrap_or_else(|| panic!("{of} is not in {printed:?}"));
        found
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let printed = run(here, &["status"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(
        row(&printed, &at.to_string()),
        format!("echo {at} healthy active 1")
    );
    client.close().await;

    let printed = run(
        here,
        &["drain", "echo", &one.address.to_string(), "--pace", "1/h"],
    )
    .await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let (going, other) = (one.address, two.address);
    two.stop().await;
    gateway.wait_for_health("echo", other, "unhealthy").await;
    let printed = run(here, &["status"]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    let drained = row(&printed, &going.to_string());
    assert!(drained.contains("draining"), "{drained}");
    assert!(
        drained.contains("ordered draining, configured active; drain "),
        "{drained}"
    );
    let unwell = row(&printed, &other.to_string());
    assert!(
        unwell.starts_with(&format!("echo {other} unhealthy active")),
        "{unwell}"
    );
    assert!(unwell.contains("refused"), "the probe's reason: {unwell}");
    // What is wrong comes first.
    let first = printed.out.lines().next().unwrap();
    let expected = "CRIT  upstream echo: 0 of 2 backends ";
    assert!(first.starts_with(expected), "{first}");
    let printed = run(here, &["status", "--json"]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    let json: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(json["backends"].as_array().unwrap().len(), 2, "{json}");
}

#[tokio::test]
async fn status_fails_where_the_file_is_refused_and_finds_its_gateway_all_the_same() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start_with_admin_token(&text, "s3cret").await;
    let path = gateway.config_path();
    let here = gateway.directory();
    let arguments = ["status", "--config", path.to_str().unwrap()];
    assert_eq!(run(here, &arguments).await.code, Some(0));
    let good = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        format!("{good}\n[upstreams.echo2]\npolicy = \"none\"\n"),
    )
    .unwrap();
    assert_eq!(gateway.reload().status, 422);
    let printed = run(here, &arguments).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(
        printed.out.starts_with("WARN  file ") && printed.out.contains("gateway.toml:"),
        "{printed:?}"
    );
}

#[tokio::test]
async fn no_token_and_a_wrong_token_have_different_answers() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start_with_admin_token(&text, "s3cret").await;
    let here = gateway.directory();
    let admin = format!("unix:{}", here.join("admin.sock").display());
    let file = |name: &str, token: &str| {
        let path = here.join(name);
        fs::write(&path, token).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right", "s3cret\n"), file("wrong", "guess\n"));
    let status = async |variable: Option<&str>, more: &[&str]| -> Printed {
        let mut command = sessile(here);
        command.args(["status", "--admin", &admin]).args(more);
        command.envs(variable.map(|token| ("SESSILE_TOKEN", token)));
        let output = tokio::task::spawn_blocking(move || command.output());
        output.await.unwrap().unwrap().into()
    };
    for (variable, more, code, error) in [
        (
            None,
            &[][..],
            1,
            "needs its admin token, and none was sent: set SESSILE_TOKEN",
        ),
        (Some(""), &[], 1, "none was sent"),
        (Some("guess"), &[], 1, "refuses the token of SESSILE_TOKEN"),
        (None, &["--token-file", &wrong], 1, "/wrong`"),
        (Some("s3cret"), &[], 0, ""),
        (Some("guess"), &["--token-file", &right], 0, ""),
    ] {
        let printed = status(variable, more).await;
        assert_eq!(
            printed.code,
            Some(code),
            "{variable:?} {more:?}: {printed:?}"
        );
        assert!(
            printed.err.contains(error),
            "{variable:?} {more:?}: {printed:?}"
        );
        assert!(
            !printed.err.contains("s3cret") && !printed.err.contains("guess"),
            "{printed:?}"
        );
    }
    // A file that is no TOML has neither an address nor a token.
    let broken = file("broken.toml", "[admin\n");
    let printed = run(here, &["status", "--config", &broken]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(
        printed
            .err
            .contains("the configuration has faults: `sessile check`"),
        "{printed:?}"
    );
}

#[tokio::test]
async fn a_request_for_an_unknown_name_lists_the_known_ones() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let here = gateway.directory();
    let data = gateway.address().to_string();
    for (arguments, code, error) in [
        (
            &["sessions", "--route", "nope"][..],
            1,
            "the gateway has no route `nope`: there is `all`",
        ),
        (&["sessions", "--route", "alll"], 1, "did you mean `all`?"),
        (
            &["sessions", "--upstream", "nope"],
            1,
            "no upstream `nope`: there is `echo`",
        ),
        (
            &["sessions", "--upstream", "echo", "--backend", "x"],
            1,
            "no backend `x`",
        ),
        (
            &["drain", "nochat", "x"],
            1,
            "no upstream `nochat`: there is `echo`",
        ),
        (
            &["drain", "echo", "x"],
            1,
            "no backend of `echo` named `x`: there is `127.0.0.1:",
        ),
        (
            &["status", "--admin", &data],
            1,
            "is not the admin API of a gateway",
        ),
        (
            &["sessions", "--admin", &data],
            1,
            "is it a port for clients?",
        ),
        (
            &["drain", "echo", "x", "--admin", &data],
            1,
            "is not the admin API",
        ),
        (
            &["resolve", "ftp://chat.example.com/ws/7"],
            2,
            "ws:, wss:, http: or https:",
        ),
    ] {
        let printed = run(here, arguments).await;
        assert_eq!(printed.code, Some(code), "{arguments:?}: {printed:?}");
        assert!(printed.err.contains(error), "{arguments:?}: {printed:?}");
    }
    let printed = run(here, &["sessions", "--route", "all"]).await;
    assert_eq!(
        (printed.code, printed.out.lines().count()),
        (Some(0), 1),
        "{printed:?}"
    );
}

/// What a client writes into a request is shown by several commands, as text and as JSON.
#[tokio::test]
async fn nothing_that_a_client_sent_steers_the_terminal() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let here = gateway.directory();
    // CSI as C1, a right-to-left override, an isolate and a mark.
    let hostile = "\u{9b}31m\u{202e}txt\u{2067}\u{200f}";
    let dial = Dial::new("/?k=1")
        .header("x-request-id", "plain")
        .host("a.test");
    let client = dial.connect(gateway.address()).await.unwrap();
    eventually("a session", async || gateway.sessions_live() == 1).await;
    let steers = |c: char| {
        let marks = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        marks || (c.is_control() && c != '\n')
    };
    let route = format!("nope{hostile}");
    for arguments in [
        &["sessions", "--json"][..],
        &["sessions", "--route", &route],
        &["sessions", "--route", &route, "--json"],
        &["resolve", "/ws", "-H", &format!("host: {hostile}")],
        &[
            "resolve",
            "/ws",
            "--json",
            "-H",
            &format!("host: {hostile}"),
        ],
        &["drain", "echo", hostile, "--status"],
        &["drain", hostile, "x"],
    ] {
        let printed = run(here, arguments).await;
        let shown = format!("{}{}", printed.out, printed.err);
        assert!(!shown.is_empty(), "{arguments:?}");
        assert!(!shown.chars().any(steers), "{arguments:?}: {shown:?}");
    }
    client.close().await;
}
