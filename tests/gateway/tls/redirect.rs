//! One gateway sends `http` to `https`, and has browsers stay there (HSTS).

use std::fs;

use serde_json::json;

use crate::support::certificates::Authority;
use crate::support::{Backend, Dial, Gateway, config, http};

use super::listener;

/// The example of docs/tls.md, on free ports and over this backend.
fn example(backend: &Backend) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tls.md");
    let page = fs::read_to_string(page).expect("a page");
    let section = page
        .split("## From http to https")
        .nth(1)
        .expect("a section");
    let block = section.split("```toml\n").nth(1).expect("an example");
    let text = block.split("```").next().expect("its end");
    for wanted in ["0.0.0.0:80", "0.0.0.0:443", "127.0.0.1:9101"] {
        assert!(text.contains(&format!("\"{wanted}\"")), "{wanted}");
    }
    text.replace("0.0.0.0:80", "127.0.0.1:0")
        .replace("0.0.0.0:443", "127.0.0.1:0")
        .replace("127.0.0.1:9101", &backend.address.to_string())
}

#[tokio::test]
async fn the_example_sends_all_of_http_to_https_and_serves_sessions_over_tls_alone() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let backend = Backend::echo().await;
    let gateway = Gateway::start_in(directory, &example(&backend)).await;
    let (plain, secure) = (gateway.listener("http"), gateway.listener("https"));

    for target in ["/ws/7", "/", "/elsewhere?a=b"] {
        let answer = http::get(plain, target, &[]).await;
        let location = format!("https://localhost{target}");
        assert_eq!(answer.status, 308, "{target}");
        assert_eq!(answer.header("location"), Some(location.as_str()));
        // A field that came without TLS would not count (RFC 6797, section 8.1).
        assert_eq!(answer.header("strict-transport-security"), None);
    }
    let refused = Dial::new("/ws/7").host("edge.test").connect(plain).await;
    assert_eq!(refused.err().unwrap().status, 308, "an upgrade, too");
    assert_eq!(backend.seen().len(), 0);

    let dial = |target: &str| Dial::new(target).host("edge.test");
    let client = dial("/ws/7").connect_tls(secure, authority.client()).await;
    let mut client = client.unwrap();
    let field = client.header("strict-transport-security");
    assert_eq!(
        field,
        Some("max-age=31536000; includeSubDomains"),
        "of the 101"
    );
    client.echo("over TLS").await;
    client.close().await;
    let refused = dial("/elsewhere")
        .connect_tls(secure, authority.client())
        .await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.status, 404, "the redirect does not apply over TLS");
    assert_eq!(
        refused.headers["strict-transport-security"],
        "max-age=31536000; includeSubDomains"
    );

    for (url, route) in [
        ("wss://edge.test/ws/7", "rooms"),
        ("ws://edge.test/ws/7", "to-https"),
    ] {
        let body = json!({ "url": url }).to_string();
        let answer = gateway.admin("POST", "/v1/resolve", &body);
        assert_eq!(answer.json()["route"], route, "{}", answer.body);
    }
    let resolved = gateway.admin("POST", "/v1/resolve", r#"{"url":"ws://edge.test/ws/7"}"#);
    assert!(
        resolved.body.contains("the request did not come by https"),
        "{}",
        resolved.body
    );
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_scheme_is_the_forwarded_one() {
    let backend = Backend::echo().await;
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\n{}",
        config::echo(&[backend.address], "", "scheme = \"https\"")
    );
    let gateway = Gateway::start(&text).await;
    let with = |proto: &str| Dial::new("/").header("x-forwarded-proto", proto);
    let client = with("https").connect(gateway.address()).await.unwrap();
    client.close().await;
    for refused in [with("http"), Dial::new("/")] {
        let refused = refused.connect(gateway.address()).await;
        assert_eq!(refused.err().unwrap().status, 404);
    }
}

#[tokio::test]
async fn every_answer_over_tls_has_the_field_once() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let text = listener(&["edge"], "tls.hsts = { max_age = \"5m\" }")
        + "[[routes]]\nname = \"moved\"\nredirect = { host = \"other.test\" }\n";
    let gateway = Gateway::start_in(directory, &text).await;
    let moved = Dial::new("/").host("edge.test");
    let moved = moved
        .connect_tls(gateway.address(), authority.client())
        .await;
    let moved = moved.err().unwrap();
    assert_eq!(moved.status, 308);
    let fields = moved.headers.get_all("strict-transport-security");
    assert_eq!(fields.iter().collect::<Vec<_>>(), ["max-age=300"]);
}
