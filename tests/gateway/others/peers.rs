//! Real clients and servers of other projects, on both sides of the gateway, and once without.

use serde_json::Value;

use crate::support::certificates::Authority;
use crate::support::peers::{Language, Server, run_client};
use crate::support::{Gateway, config};

const LANGUAGES: [Language; 2] = [Language::Node, Language::Python];

#[tokio::test]
async fn without_a_gateway_the_peers_understand_each_other() {
    for server in LANGUAGES {
        let server = Server::start(server, "server", &[]);
        for client in LANGUAGES {
            run_client(client, "client", vec![format!("ws://{}/", server.address)]).await;
        }
    }
}

#[tokio::test]
async fn every_client_reaches_every_server_through_the_gateway() {
    for language in LANGUAGES {
        let server = Server::start(language, "server", &[]);
        let gateway = Gateway::start(&config::echo(&[server.address], "", "")).await;
        for client in LANGUAGES {
            run_client(
                client,
                "client",
                vec![format!("ws://{}/", gateway.address())],
            )
            .await;
        }
    }
}

#[tokio::test]
async fn and_over_tls() {
    for client in LANGUAGES {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        authority.issue("edge", &["127.0.0.1"]);
        let server = Server::start(Language::Python, "server", &[]);
        let text = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
            tls.certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]\n\n"
            .to_owned()
            + &config::echo(&[server.address], "", "");
        let gateway = Gateway::start_in(directory, &text).await;
        let ca = authority.path().display().to_string();
        run_client(
            client,
            "client",
            vec![format!("wss://{}/", gateway.address()), ca],
        )
        .await;
    }
}

#[tokio::test]
async fn chromium_does_what_browsers_do() {
    let server = Server::start(Language::Node, "server", &[]);
    let gateway = Gateway::start(&config::echo(&[server.address], "", "")).await;
    // The page comes through the gateway too.
    let result = run_client(
        Language::Node,
        "browser",
        vec![format!("http://{}/", gateway.address())],
    );
    assert_eq!(result.await["client"], "chromium");
}

#[tokio::test]
async fn socket_io_polls_and_upgrades_at_one_of_two_instances() {
    let one = Server::start(Language::Node, "socketio_server", &["one"]);
    let two = Server::start(Language::Node, "socketio_server", &["two"]);
    let text = config::echo(&[one.address, two.address], "", "")
        .replace("\"query:k\"", "{ issue_cookie = \"sessile\" }");
    let gateway = Gateway::start(&text).await;
    let url = format!("http://{}", gateway.address());
    let result = run_client(
        Language::Node,
        "socketio_client",
        vec![url, "12".to_owned()],
    )
    .await;
    let passed = result["passed"].as_array().unwrap();
    for kind in ["polling then websocket", "polling", "websocket"] {
        for instance in ["one", "two"] {
            let wanted = Value::from(format!("{kind} at {instance}"));
            assert!(
                passed.contains(&wanted),
                "no client was {wanted}: {passed:?}"
            );
        }
    }
}
