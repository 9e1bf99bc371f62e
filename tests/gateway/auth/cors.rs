//! Pages of other origins ask the gateway's own endpoints for tickets and renewals.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use crate::support::http::{self, Whole};
use crate::support::peers::{Language, run_client};
use crate::support::service::Service;
use crate::support::tokens::{SECRET, claims, in_seconds, token};
use crate::support::{Backend, Dial, Gateway, config};

const APP: &str = "https://app.example";

/// A route with `renew`, tickets with `mint`: both for pages of `origin`, by a token in a header.
fn text(backend: &Backend, origin: &str) -> String {
    let tickets = |name: &str, path: &str, origin: &str| {
        format!(
            "[authenticators.{name}]\ntype = \"signed_url\"\nsecret = \"{SECRET}{SECRET}\"\n\
             mint = \"{path}\"\nmint_for = [\"users\"]\nmint_origins = [\"{origin}\"]\n\n"
        )
    };
    format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n")
        + &tickets("tickets", "/mint", origin)
        + &tickets("others", "/others", "https://other.example")
        + &config::echo(&[backend.address], "", "path = \"/page\"\n")
        + &format!(
            "\n[[routes]]\nname = \"live\"\npath = \"/live\"\nupstream = \"echo\"\n\
             authenticate = [\"users\"]\nrenew = \"/renew\"\norigins = [\"{origin}\"]\n\
             \n[[routes]]\nname = \"ticket\"\npath = \"/ticket\"\nupstream = \"echo\"\n\
             authenticate = [\"tickets\"]\n"
        )
}

async fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Whole {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers.iter().chain(&[("host", "edge.example")]) {
        request = request.header(*name, *value);
    }
    http::send(
        gateway.address(),
        request.body(Full::<Bytes>::default()).unwrap(),
    )
    .await
}

fn bearer() -> String {
    format!("Bearer {}", token(&claims("ann")))
}

/// Pages of other origins get no answer that they could read.
async fn foreign_pages_are_refused(gateway: &Gateway, path: &str, bearer: &str) {
    for foreign in ["https://evil.example", "http://app.example", "null"] {
        let with = [("origin", foreign), ("authorization", bearer)];
        let preflight = [
            ("origin", foreign),
            ("access-control-request-method", "POST"),
        ];
        for (method, headers) in [("POST", with), ("OPTIONS", preflight)] {
            let answer = ask(gateway, method, path, &headers).await;
            assert_eq!(answer.status, 403, "{method} {path} from {foreign}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
    }
}

#[tokio::test]
async fn i7_only_pages_of_allowed_origins_ask_for_tickets_and_renewals() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&text(&backend, APP)).await;
    let bearer = bearer();
    let session = Dial::new("/live")
        .header("authorization", &bearer)
        .header("origin", APP)
        .connect(gateway.address())
        .await
        .unwrap();
    for path in ["/mint", "/renew"] {
        let preflight = [
            ("origin", APP),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        let answer = ask(&gateway, "OPTIONS", path, &preflight).await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
        let field = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        assert_eq!(field("access-control-allow-origin"), APP, "{path}");
        assert_eq!(field("access-control-allow-credentials"), "true", "{path}");
        assert_eq!(field("access-control-allow-methods"), "POST", "{path}");
        assert_eq!(
            field("access-control-allow-headers"),
            "authorization, content-type",
            "{path}"
        );
        assert_eq!(field("vary"), "Origin", "{path}");

        let with = [("origin", APP), ("authorization", &bearer)];
        let answer = ask(&gateway, "POST", path, &with).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(
            (allowed, answer.header("vary")),
            (Some(APP), Some("Origin"))
        );
        // A script sees why it is refused, too.
        let answer = ask(&gateway, "POST", path, &with[..1]).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));

        foreign_pages_are_refused(&gateway, path, &bearer).await;
        // Programs that are no browsers send no origin.
        let answer = ask(&gateway, "POST", path, &with[1..]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), None);
        let answer = ask(&gateway, "GET", path, &with).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("POST, OPTIONS"))
        );
    }
    session.close().await;
    let records = gateway.wait_for_requests(22).await;
    let count = |status: u64| {
        let of = |record: &&Value| record["status"] == status;
        records.iter().filter(of).count()
    };
    assert_eq!(
        (count(204), count(403), count(401)),
        (2, 12, 2),
        "{records:?}"
    );
}

#[tokio::test]
async fn without_a_list_no_credential_of_the_browsers_own_is_used_from_elsewhere() {
    let backend = Backend::echo().await;
    let tickets = |name: &str, from: &str| {
        format!(
            "[authenticators.{name}]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nfrom = [\"{from}\"]\n\n\
             [authenticators.{name}-tickets]\ntype = \"signed_url\"\n\
             secret = \"{SECRET}{SECRET}\"\nmint = \"/{name}\"\nmint_for = [\"{name}\"]\n\n"
        )
    };
    let text = tickets("cookies", "cookie:login")
        + &tickets("headers", "header:authorization")
        + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let token = token(&claims("ann"));
    let cookie = format!("login={token}");
    let with = |origin| [("origin", origin), ("cookie", &*cookie)];
    // A page of the same host, whatever the scheme in front of the gateway is.
    let answer = ask(&gateway, "POST", "/cookies", &with("https://edge.example")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = ask(&gateway, "POST", "/cookies", &with(APP)).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let bearer = format!("Bearer {token}");
    let headers = [("origin", APP), ("authorization", &*bearer)];
    let answer = ask(&gateway, "POST", "/headers", &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_page_in_a_real_browser_gets_a_ticket_from_another_origin() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&text(&backend, APP)).await;
    let port = gateway.address().port();
    gateway.write_config(&text(&backend, &format!("http://localhost:{port}")));
    assert_eq!(gateway.reload().status, 200);
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let url = format!("ws://127.0.0.1:{port}/ticket");
    let old = token(&json!({ "sub": "ann", "exp": in_seconds(-60) }));
    let wanted = json!([
        { "url": url, "mint": at("/mint"), "token": token(&claims("ann")) },
        { "url": url, "mint": at("/mint"), "token": old },
        { "url": url, "mint": at("/others"), "token": token(&claims("ann")) },
    ]);
    let page = format!("http://localhost:{port}/page");
    let arguments = vec![page, wanted.to_string()];
    let seen = run_client(Language::Node, "sockets", arguments).await;
    let seen = seen["sockets"].as_array().unwrap();
    assert_eq!(seen[0]["echoed"], "grüße", "{}", seen[0]);
    assert_eq!(seen[1], json!({ "minted": 401 }));
    assert_eq!(seen[2], json!({ "minted": "blocked" }));
}

#[tokio::test]
async fn every_401_of_an_own_endpoint_names_what_it_would_accept() {
    let backend = Backend::echo().await;
    let service = Service::start(None, |_| ("401 No".to_owned(), String::new())).await;
    let hash = "0".repeat(64);
    let kinds = [
        (
            "cookies",
            format!("type = \"jwt\"\nsecret = \"{SECRET}\"\nfrom = [\"cookie:login\"]"),
        ),
        (
            "keys",
            format!("type = \"api_key\"\nkeys = [{{ subject = \"bot\", sha256 = \"{hash}\" }}]"),
        ),
        (
            "asked",
            format!("type = \"forward\"\nurl = \"http://{}/\"", service.address),
        ),
    ];
    let mut text = config::echo(&[backend.address], "", "");
    for (name, lines) in &kinds {
        text += &format!(
            "\n[authenticators.{name}]\n{lines}\n\n[authenticators.{name}-tickets]\n\
             type = \"signed_url\"\nsecret = \"{SECRET}{SECRET}\"\nmint = \"/mint-{name}\"\n\
             mint_for = [\"{name}\"]\n\n[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\n\
             upstream = \"echo\"\nauthenticate = [\"{name}\"]\nrenew = \"/renew-{name}\"\n"
        );
    }
    let gateway = Gateway::start(&text).await;
    for (name, _) in &kinds {
        for path in [format!("/mint-{name}"), format!("/renew-{name}")] {
            let credential = [("authorization", "Bearer wrong"), ("cookie", "login=wrong")];
            for headers in [&credential[..], &[]] {
                let answer = ask(&gateway, "POST", &path, headers).await;
                assert_eq!(answer.status, 401, "{path}: {}", answer.text());
                assert!(answer.header("www-authenticate").is_some(), "{path}");
            }
        }
    }
}
