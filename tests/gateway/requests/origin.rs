//! Which web pages may open sessions: cross-site WebSocket hijacking.

use crate::support::{Backend, Client, Dial, Gateway, config, http};

async fn gateway(backend: &Backend, route: &str) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", route)).await
}

/// The status of a handshake with this `Origin`; 101 is a session.
async fn status(gateway: &Gateway, host: &str, origin: &str) -> u16 {
    let dial = Dial::new("/").host(host).header("origin", origin);
    match dial.connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            101
        }
        Err(refused) => refused.status,
    }
}

#[tokio::test]
async fn only_pages_of_the_listed_origins_open_sessions() {
    let backend = Backend::echo().await;
    let origins = r#"origins = ["https://chat.example.com", "https://*.apps.example.com"]"#;
    let gateway = gateway(&backend, origins).await;
    for origin in ["https://chat.example.com", "https://a.b.apps.example.com"] {
        assert_eq!(status(&gateway, "localhost", origin).await, 101, "{origin}");
    }
    let connections = backend.accepted();
    for origin in [
        "https://evil.example",
        "http://chat.example.com",
        "https://chat.example.com.evil.example",
        "https://apps.example.com",
        "null",
        "file://",
        "http://localhost",
    ] {
        assert_eq!(status(&gateway, "localhost", origin).await, 403, "{origin}");
    }
    assert_eq!(
        backend.accepted(),
        connections,
        "a stranger's page reached a backend"
    );
    assert_eq!(
        gateway.metric("sessile_refusals_total", &["reason=\"origin\""]),
        7.0
    );

    // Programs send none, and can send any.
    Client::connect(gateway.address(), "/").await.close().await;
    // Ordinary requests are the browser's own business (CORS).
    let answer = http::get(
        gateway.address(),
        "/",
        &[("origin", "https://evil.example")],
    )
    .await;
    assert_ne!(answer.status, 403);
}

#[tokio::test]
async fn two_origins_are_one_too_many_and_none_is_when_one_is_required() {
    let backend = Backend::echo().await;
    let origins = "origins = [\"same\"]\norigin_required = true";
    let gateway = gateway(&backend, origins).await;
    assert_eq!(
        status(&gateway, "chat.example.com", "http://chat.example.com").await,
        101
    );
    assert_eq!(
        status(&gateway, "chat.example.com", "http://example.com").await,
        403
    );
    let refused = Dial::new("/").connect(gateway.address()).await.err();
    assert_eq!(refused.expect("no origin").status, 403);
    let twice = Dial::new("/")
        .header("origin", "http://localhost")
        .header("origin", "http://localhost");
    assert_eq!(
        twice
            .connect(gateway.address())
            .await
            .err()
            .expect("two")
            .status,
        403
    );
}

#[tokio::test]
async fn without_a_list_or_credentials_every_page_may() {
    let backend = Backend::echo().await;
    for route in ["", "origins = [\"*\"]"] {
        let gateway = gateway(&backend, route).await;
        for origin in ["https://anybody.example", "null"] {
            assert_eq!(
                status(&gateway, "localhost", origin).await,
                101,
                "{origin} {route}"
            );
        }
    }
}

#[tokio::test]
async fn where_a_cookie_is_the_credential_only_pages_of_the_same_host_get_to_show_it() {
    let backend = Backend::echo().await;
    let authenticators = |from: &str| {
        format!(
            "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{}\"\nalgorithms = [\"HS256\"]\n\
             from = [\"{from}\"]\n\n{}",
            crate::support::tokens::SECRET,
            config::echo(&[backend.address], "", "authenticate = [\"users\"]")
        )
    };
    let gateway = Gateway::start(&authenticators("cookie:session")).await;
    assert_eq!(
        status(&gateway, "chat.example.com", "https://evil.example").await,
        403
    );
    // It may ask, and brings nothing.
    assert_eq!(
        status(&gateway, "chat.example.com", "http://chat.example.com").await,
        401
    );
    // What a page has to bring itself, no other page can.
    let gateway = Gateway::start(&authenticators("query:access_token")).await;
    assert_eq!(
        status(&gateway, "chat.example.com", "https://evil.example").await,
        401
    );
}
