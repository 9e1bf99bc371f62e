//! Every refusal, with a status and with a close frame, as docs/operations.md lists them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use tokio::net::TcpSocket;

use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// Each refusal as the page describes it: its status, and its close code where it can have one.
fn documented() -> BTreeMap<String, (u16, Option<u16>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, status, code, _, reasons, _] = cells[..] else {
            return None;
        };
        let status = status.parse::<u16>().ok()?;
        Some((status, code.parse::<u16>().ok(), reasons.to_owned()))
    });
    let mut found = BTreeMap::new();
    for (status, code, reasons) in rows {
        for reason in reasons.split(", ") {
            found.insert(reason.trim_matches('`').to_owned(), (status, code));
        }
    }
    assert!(found.len() > 25, "the table is not found: {found:?}");
    found
}

/// Somebody whose credential is good for everything that needs none more.
fn ann() -> String {
    token(&json!({ "sub": "ann", "exp": in_seconds(60) }))
}

/// One way to be refused: the route's lines, and whether a session has to be there already.
struct Case {
    reason: &'static str,
    says: &'static str,
    route: &'static str,
    upstream: &'static str,
    before: bool,
    token: Option<String>,
    origin: &'static str,
}

fn case(reason: &'static str, says: &'static str, route: &'static str) -> Case {
    Case {
        reason,
        says,
        route,
        upstream: "echo",
        before: false,
        token: Some(ann()),
        origin: "https://app.example.com",
    }
}

/// What a credential is refused for.
fn credentials() -> Vec<Case> {
    let users = "authenticate = [\"users\"]";
    let other = |reason, says, token| Case {
        token,
        ..case(reason, says, users)
    };
    let of = |claims| Some(token(&claims));
    vec![
        other("credential_missing", "no credential was presented", None),
        other(
            "credential_invalid",
            "the credential is not accepted",
            Some("a.b".to_owned()),
        ),
        other(
            "credential_expired",
            "the credential is not accepted",
            of(json!({ "sub": "ann", "exp": in_seconds(-60) })),
        ),
        other(
            "credential_invalid",
            "the credential is not accepted",
            of(json!({ "sub": "ann", "exp": in_seconds(90), "nbf": in_seconds(60) })),
        ),
        other(
            "credential_invalid",
            "the credential is not accepted",
            of(json!({ "exp": in_seconds(60) })),
        ),
        case(
            "forbidden",
            "the credential does not allow this",
            "authenticate = [\"users\"]\nauthorize = [\"claim:role == admin\"]",
        ),
        case(
            "forbidden",
            "the credential does not allow this",
            "authenticate = [\"admins\"]",
        ),
        case(
            "not_verified",
            "the client cannot be identified at the moment",
            "authenticate = [\"absent\"]\norigins = [\"*\"]",
        ),
    ]
}

/// What has nothing to do with a credential, or only counts it.
fn others() -> Vec<Case> {
    let plain = |reason, says, upstream| Case {
        upstream,
        ..case(reason, says, "timeouts = { handshake = \"500ms\" }")
    };
    let full = |reason, says, route| Case {
        before: true,
        ..case(reason, says, route)
    };
    vec![
        Case {
            origin: "https://evil.example",
            ..case(
                "origin",
                "pages of `https://evil.example` may not open sessions here",
                "origins = [\"https://app.example.com\"]",
            )
        },
        case(
            "address",
            "clients of this address may not use this route",
            "deny = [\"127.0.0.0/8\"]",
        ),
        full(
            "handshakes_per_address",
            "too many: handshakes from this address",
            "limits = { handshakes_per_address = \"1/h\" }",
        ),
        full(
            "sessions_per_address",
            "too many: sessions of this address",
            "limits = { sessions_per_address = 1 }",
        ),
        full(
            "handshakes_per_principal",
            "too many: handshakes of this user",
            "authenticate = [\"users\"]\nlimits = { handshakes_per_principal = \"1/h\" }",
        ),
        full(
            "sessions_per_principal",
            "too many: sessions of this user",
            "authenticate = [\"users\"]\nlimits = { sessions_per_principal = 1 }",
        ),
        full(
            "route_sessions_max",
            "too many: sessions of this route",
            "limits = { sessions_max = 1 }",
        ),
        plain("unreachable", "no backend could be reached", "absent"),
        plain(
            "invalid_answer",
            "the backend's 101 is not valid",
            "nonsense",
        ),
        plain("timed_out", "the backend did not answer in time", "silent"),
    ]
}

/// Refused by status, and by close.
async fn check(gateway: &Gateway, number: usize, case: &Case) {
    let (status, code) = documented()[case.reason];
    let dial = |how: &str| {
        let dial = Dial::new(&format!("/{how}/{number}")).header("origin", case.origin);
        match &case.token {
            Some(token) => dial.header("authorization", &format!("Bearer {token}")),
            None => dial,
        }
    };
    for how in ["status", "close"] {
        let held = match case.before {
            true => Some(dial(how).connect(gateway.address()).await.unwrap()),
            false => None,
        };
        let label = format!("reason=\"{}\"", case.reason);
        let refusals = || gateway.metric("sessile_refusals_total", &[&label]);
        let before = refusals();
        let answer = dial(how).connect(gateway.address()).await;
        match (how, answer) {
            ("status", Err(refused)) => {
                assert_eq!(refused.status, status, "{}: {refused:?}", case.reason);
                assert!(refused.body.contains(case.says), "{}", refused.body);
            }
            ("close", Ok(mut client)) => {
                let (sent, reason) = client.end().await.expect("a close frame");
                assert_eq!(Some(sent), code, "{}", case.reason);
                assert!(reason.starts_with(case.says), "{reason}");
            }
            (_, Ok(_)) => panic!("{} is let in", case.reason),
            (_, Err(refused)) => panic!("{}: {refused:?}", case.reason),
        }
        assert_eq!(refusals() - before, 1.0, "{} by {how}", case.reason);
        if let Some(held) = held {
            held.close().await;
        }
    }
}

#[tokio::test]
async fn every_refusal_has_its_documented_status_and_close_code() {
    let backend = Backend::echo().await;
    let nonsense = Backend::scripted(|mut stream| async move {
        crate::support::backend::read_head(&mut stream).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                      connection: upgrade\r\nsec-websocket-accept: bm90IHRoaXM=\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes())
            .await
            .ok();
    })
    .await;
    let silent = Backend::scripted(|stream| async move {
        crate::support::backend::wait_for_end(&mut { stream }).await;
    })
    .await;
    // Bound but not listening: connections to it are refused.
    let absent = TcpSocket::new_v4().unwrap();
    absent.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed_port = absent.local_addr().unwrap();
    let mut text = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n\
         [authenticators.admins]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nscopes = [\"admin\"]\n\n\
         [authenticators.absent]\ntype = \"forward\"\nurl = \"http://{closed_port}/\"\n\n"
    ) + &config::echo(&[backend.address], "", "path = \"/unused\"");
    for (name, address) in [
        ("absent", closed_port),
        ("nonsense", nonsense.address),
        ("silent", silent.address),
    ] {
        text += &format!("\n[upstreams.{name}]\nbackends = [\"{address}\"]\n");
    }
    let cases: Vec<_> = credentials().into_iter().chain(others()).collect();
    for (number, case) in cases.iter().enumerate() {
        for how in ["status", "close"] {
            text += &format!(
                "\n[[routes]]\nname = \"{how}-{number}\"\npath = \"/{how}/{number}\"\n\
                 upstream = \"{}\"\nreject_with = \"{how}\"\n{}\n",
                case.upstream, case.route
            );
        }
    }
    let gateway = Gateway::start(&text).await;
    for (number, case) in cases.iter().enumerate() {
        check(&gateway, number, case).await;
    }
}

#[tokio::test]
async fn a_full_node_asks_scripts_to_retry_later() {
    let backend = Backend::echo().await;
    let case = |number: usize| {
        format!(
            "\n[[routes]]\nname = \"close-{number}\"\npath = \"/close/{number}\"\n\
             upstream = \"echo\"\nreject_with = \"close\"\n"
        )
    };
    let text = "# node: sessions_max = 1\n".to_owned()
        + &config::echo(&[backend.address], "", "")
        + &case(0);
    let gateway = Gateway::start(&text).await;
    let held = Client::connect(gateway.address(), "/").await;
    let says = "the gateway has as many sessions as it may";
    let overloaded = self::case("sessions_max", says, "");
    check(&gateway, 0, &overloaded).await;
    held.close().await;
    eventually("there is room again", async || {
        match Dial::new("/close/0").connect(gateway.address()).await {
            Ok(mut client) => {
                client.try_send("in").await;
                let answer = client.text_or_end().await;
                if answer.is_ok() {
                    client.close().await;
                    return true;
                }
                false
            }
            Err(_) => false,
        }
    })
    .await;
}
