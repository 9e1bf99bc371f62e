//! How a script in a real browser can authenticate, and what it can read when that is not
//! enough.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::peers::{Language, run_client};
use crate::support::tokens::{SECRET, claims, in_seconds, token};
use crate::support::{Backend, Gateway, config};

/// A page of the gateway's own, and everything that it may ask for.
fn routes(backend: &Backend) -> String {
    let mut text = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\
         from = [\"subprotocol:bearer\"]\n\n\
         [authenticators.pages]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nfrom = [\"cookie:login\"]\n\n\
         [authenticators.tickets]\ntype = \"signed_url\"\nsecret = \"{SECRET}{SECRET}\"\n\
         mint = \"/mint\"\nmint_for = [\"pages\"]\nstrip = true\n\n"
    ) + &config::echo(&[backend.address], "", "path = \"/page\"\n");
    for (name, asks, more) in [
        ("status", "users", "authorize = [\"claim:role == admin\"]"),
        (
            "close",
            "users",
            "authorize = [\"claim:role == admin\"]\nreject_with = \"close\"",
        ),
        ("cookie", "pages", "reject_with = \"close\""),
        ("ticket", "tickets", "reject_with = \"close\""),
    ] {
        text += &format!(
            "\n[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"echo\"\n\
             authenticate = [\"{asks}\"]\n{more}\n"
        );
    }
    text
}

/// What the script sees of these, on a page at `host`.
async fn sockets(gateway: &Gateway, host: &str, wanted: Value) -> Vec<Value> {
    let page = format!("http://{host}:{}/page", gateway.address().port());
    let arguments = vec![page, wanted.to_string()];
    let result = run_client(Language::Node, "sockets", arguments).await;
    result["sockets"].as_array().unwrap().clone()
}

fn echoed(protocol: &str) -> Value {
    json!({
        "opened": true, "protocol": protocol, "echoed": "grüße",
        "code": 1000, "reason": "", "wasClean": true,
    })
}

fn closed(protocol: &str, code: u16, reason: &str) -> Value {
    json!({
        "opened": true, "protocol": protocol,
        "code": code, "reason": reason, "wasClean": true,
    })
}

#[tokio::test]
async fn a_script_sends_its_credential_as_a_subprotocol() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&routes(&backend)).await;
    let with = |role: &str, expires: i64| {
        token(&json!({ "sub": "ann", "role": role, "exp": in_seconds(expires) }))
    };
    let (admin, guest, old) = (with("admin", 60), with("guest", 60), with("admin", -60));
    let k8s = |token: &str| {
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(token);
        format!("base64url.bearer.authorization.k8s.io.{encoded}")
    };
    let (good, bad) = (k8s(&admin), k8s(&old));
    let unseen = json!({ "opened": false, "code": 1006, "reason": "", "wasClean": false });
    let (expired, forbidden, missing) = (
        "the credential is not accepted",
        "the credential does not allow this",
        "no credential was presented",
    );
    let cases = [
        ("close", json!(["bearer", admin]), echoed("bearer")),
        ("status", json!(["bearer", admin]), echoed("bearer")),
        (
            "close",
            json!(["chat.v2", "bearer", admin]),
            echoed("chat.v2"),
        ),
        ("close", json!([good]), echoed(&good)),
        ("close", json!([good, "chat.v1"]), echoed("chat.v1")),
        (
            "close",
            json!(["bearer", old]),
            closed("bearer", 3000, expired),
        ),
        ("close", json!([bad]), closed(&bad, 3000, expired)),
        ("close", json!([]), closed("", 3000, missing)),
        (
            "close",
            json!(["chat.v1"]),
            closed("chat.v1", 3000, missing),
        ),
        (
            "close",
            json!(["bearer", guest]),
            closed("bearer", 3003, forbidden),
        ),
        // Without it a script learns nothing at all.
        ("status", json!(["bearer", old]), unseen.clone()),
        ("status", json!(["bearer", guest]), unseen),
    ];
    let wanted: Vec<_> = cases
        .iter()
        .map(|(route, protocols, _)| {
            let url = format!("ws://{}/{route}", gateway.address());
            json!({ "url": url, "protocols": protocols })
        })
        .collect();
    let seen = sockets(&gateway, "127.0.0.1", json!(wanted)).await;
    for (seen, (route, protocols, expected)) in seen.iter().zip(&cases) {
        assert_eq!(seen, expected, "{route} {protocols}");
    }
    assert_eq!(seen.len(), cases.len());
    for request in backend.seen() {
        let offered = request.header("sec-websocket-protocol").unwrap_or_default();
        assert!(!offered.contains("bearer"), "a backend saw {offered}");
    }
}

#[tokio::test]
async fn a_page_that_is_logged_in_opens_with_its_cookie_or_with_a_ticket_of_it() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&routes(&backend)).await;
    let port = gateway.address().port();
    let login = format!("login={}; path=/", token(&claims("ann")));
    // Cookies go by the host without its port: of two that are alike to them, two pages.
    let at = |host: &str, path: &str| format!("ws://{host}:{port}/{path}");
    let seen = sockets(
        &gateway,
        "127.0.0.1",
        json!([
            { "url": at("127.0.0.1", "cookie") },
            { "url": at("127.0.0.1", "ticket"), "mint": "/mint" },
            { "url": at("127.0.0.1", "cookie"), "cookie": login },
            { "url": at("127.0.0.1", "ticket"), "mint": "/mint" },
            { "url": at("127.0.0.1", "ticket") },
            { "url": at("localhost", "cookie") },
        ]),
    )
    .await;
    let missing = closed("", 3000, "no credential was presented");
    assert_eq!(seen[0], missing);
    assert_eq!(seen[1], json!({ "minted": 401 }));
    assert_eq!(seen[2], echoed(""));
    let mut once = echoed("");
    once["again"] = closed("", 3000, "the credential is not accepted");
    assert_eq!(seen[3], once);
    assert_eq!(seen[4], missing);
    // A page of another host is kept out before anybody looks at a cookie.
    assert_eq!(seen[5]["code"], 3003, "{}", seen[5]);
    let subjects: Vec<_> = backend
        .seen()
        .iter()
        .filter_map(|request| request.header("sessile-subject").map(str::to_owned))
        .collect();
    assert_eq!(subjects, ["ann", "ann"]);
}
