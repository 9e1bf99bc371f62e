//! Ends of tokens that the configuration gives to operators and publishers.

use std::fs;
use std::time::{Duration, SystemTime};

use super::*;
use crate::support::{Backend, admin};

const DAY: Duration = Duration::from_secs(86_400);

/// 17. "Which certificates, keys and tokens end within 30 days?": those of the configuration.
#[tokio::test]
async fn q17_tokens_of_the_configuration_end_as_announced() {
    // Answers have milliseconds, too.
    let at = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let now = SystemTime::now();
    let (soon, over) = (at(now + 10 * DAY + DAY / 2), at(now - DAY));
    let [shown_soon, shown_over] = [&soon, &over].map(|time| time.trim_end_matches('Z'));
    let directory = tempfile::tempdir().unwrap();
    for name in ["admin", "reader"] {
        fs::write(directory.path().join(name), format!("token-of-{name}")).unwrap();
    }
    let socket = directory.path().join("publish.sock");
    let publish = format!(
        "[publish]\nlisten = \"unix:{}\"\ntokens = [\
         {{ name = \"app\", token = \"token-of-the-app\", targets = [\"*\"], expires = \"{soon}\" }}, \
         {{ name = \"old\", token = \"token-of-old\", targets = [\"*\"], expires = \"{over}\" }}]\n\n",
        socket.display()
    );
    let backend = Backend::echo().await;
    let echo = config::echo(&[backend.address], "", "");
    let admin_keys = format!(
        "token = {{ file = \"admin\" }}\n\
         read_token = {{ file = \"reader\", expires = \"{over}\" }}\n"
    );
    let gateway = Gateway::start_with_admin_keys(
        directory,
        &(publish + &echo),
        &admin_keys,
        "token-of-admin",
    )
    .await;

    let shown = run(&gateway, &["certs", "--within", "30"]);
    let row = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {shown}"))
    };
    let app = row("publish.tokens.app ");
    assert!(app.contains(shown_soon) && app.contains(" 10d"), "{shown}");
    for name in ["publish.tokens.old ", "admin.read_token "] {
        assert!(row(name).contains("ENDED"), "{shown}");
    }
    assert!(!shown.contains("admin.token"), "it has no end: {shown}");
    let (code, found, _) = answer(&gateway, &["doctor"]);
    assert_eq!(code, Some(2), "{found}");
    for line in [
        "CRIT  token admin.read_token: it expired at ",
        "CRIT  token publish.tokens.old: it expired at ",
        "WARN  token publish.tokens.app: it expires in 10days",
    ] {
        assert!(found.contains(line), "{line}: {found}");
    }

    // They are refused, with the reason.
    let send = |token: &str| {
        let body = "{\"to\":[\"all\"],\"text\":\"x\"}";
        admin::request(&socket, Some(token), "POST", "/v1/messages", body).expect("an answer")
    };
    assert_eq!(send("token-of-the-app").status, 200);
    let refused = send("token-of-old");
    assert_eq!(refused.status, 401);
    let why = format!("the token of `old` expired at {shown_over}");
    assert!(refused.body.contains(&why), "{}", refused.body);
    let reader = gateway.admin_as(Some("token-of-reader"), "GET", "/v1/status", "");
    assert_eq!(reader.status, 401);
    let why = format!("this is the admin API's `read_token`, and it expired at {shown_over}");
    assert!(reader.body.contains(&why), "{}", reader.body);
    let error = fails(&gateway, &["status", "--token-file", "reader"], 1);
    assert!(error.contains(&why), "{error}");
}
