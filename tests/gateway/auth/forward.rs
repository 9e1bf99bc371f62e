//! Forward-auth: how long an answer of the service is cached and for which requests, and the
//! connections that its requests use.

use std::sync::Arc;

use rustls::ServerConfig;

use crate::support::certificates::Authority;
use crate::support::service::Service;
use crate::support::{Backend, Dial, Gateway, config, eventually};

/// Lets in whom it is shown at home, in a room that is not the cellar.
async fn service() -> Service {
    Service::start(None, |head| {
        let yes = head.contains("x-forwarded-for: 203.0.113.7\r\n")
            && !head.contains("room=cellar")
            && head.contains("authorization: me\r\n");
        let start = if yes {
            "200 OK\r\nx-auth-subject: ann"
        } else {
            "403 No"
        };
        (start.to_owned(), String::new())
    })
    .await
}

async fn gateway(service: &Service, backend: &Backend, cache: &str) -> Gateway {
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         trusted_proxies = [\"127.0.0.0/8\"]\n\n\
         [authenticators.decider]\ntype = \"forward\"\nurl = \"http://{}/\"\n{cache}\n\n",
        service.address
    );
    let route = "authenticate = [\"decider\"]\n";
    Gateway::start(&(text + &config::echo(&[backend.address], "", route))).await
}

async fn status(gateway: &Gateway, target: &str, client: &str, word: &str) -> u16 {
    let dial = Dial::new(target)
        .header("x-forwarded-for", client)
        .header("authorization", word);
    match dial.connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            101
        }
        Err(refused) => refused.status,
    }
}

#[tokio::test]
async fn a_cached_decision_answers_only_the_same_question() {
    let (service, backend) = (service().await, Backend::echo().await);
    let gateway = gateway(&service, &backend, "cache = \"1h\"").await;
    for _ in 0..3 {
        let good = status(&gateway, "/?room=attic", "203.0.113.7", "me");
        assert_eq!(good.await, 101);
    }
    assert_eq!(service.asked().len(), 1);
    for (target, client, word) in [
        ("/?room=cellar", "203.0.113.7", "me"),
        ("/?room=attic", "203.0.113.8", "me"),
        ("/?room=attic", "203.0.113.7", "you"),
    ] {
        let asked = service.asked().len();
        // What keeps somebody out is asked each time: they may have been let in since.
        for more in 1..=2 {
            let bad = status(&gateway, target, client, word).await;
            assert_eq!(bad, 403, "{target} {client} {word}");
            assert_eq!(service.asked().len(), asked + more);
        }
    }
    assert_eq!(backend.accepted(), 3);
}

#[tokio::test]
async fn cached_decisions_expire() {
    let (service, backend) = (service().await, Backend::echo().await);
    let gateway = gateway(&service, &backend, "cache = \"1s\"\ncache_max = 2").await;
    let good = async |room: &str| {
        let target = format!("/?room={room}");
        status(&gateway, &target, "203.0.113.7", "me").await
    };
    assert_eq!(good("one").await, 101);
    service.answer_with(|_| ("403 No".to_owned(), String::new()));
    eventually("it is asked again", async || good("one").await == 403).await;
    assert_eq!(service.asked().len(), 2);
    // At most two answers are kept, so that of three rooms one at least is asked for again.
    service.answer_with(|_| ("200 OK\r\nx-auth-subject: ann".to_owned(), String::new()));
    let before = service.asked().len();
    for room in ["one", "two", "three", "one", "two", "three"] {
        assert_eq!(good(room).await, 101);
    }
    assert!(service.asked().len() - before > 3);
}

/// A service that admits every request.
async fn admitting(tls: Option<Arc<ServerConfig>>) -> Service {
    let admit = |_: &str| {
        let start = "200 OK\r\nx-auth-subject: ann";
        (start.to_owned(), String::new())
    };
    Service::start(tls, admit).await
}

/// A gateway whose sessions the service decides about, with its authority in `ca.pem`.
async fn over_tls(directory: tempfile::TempDir, service: &Service, backend: &Backend) -> Gateway {
    let text = format!(
        "[authenticators.decider]\ntype = \"forward\"\nca = \"ca.pem\"\n\
         url = \"https://{}/\"\n\n",
        service.address
    );
    let route = "authenticate = [\"decider\"]\n";
    let text = text + &config::echo(&[backend.address], "", route);
    Gateway::start_in(directory, &text).await
}

async fn decide(gateway: &Gateway, decisions: usize, expected: u16) {
    for number in 0..decisions {
        let status = status(gateway, "/", "203.0.113.7", "me").await;
        assert_eq!(status, expected, "decision {number}");
    }
}

#[tokio::test]
async fn decisions_one_after_the_other_open_one_connection_for_each_worker() {
    let (service, backend) = (admitting(None).await, Backend::echo().await);
    let plain = gateway(&service, &backend, "").await;
    decide(&plain, 30, 101).await;
    assert_eq!(service.asked().len(), 30);
    assert!(service.opened() <= 2, "{} connections", service.opened());

    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let tls = authority.server(&authority.issue("service", &["127.0.0.1"]));
    let service = admitting(Some(tls)).await;
    let secure = over_tls(directory, &service, &backend).await;
    decide(&secure, 30, 101).await;
    assert_eq!(service.asked().len(), 30);
    assert!(service.opened() <= 2, "{} connections", service.opened());
}

#[tokio::test]
async fn a_service_that_closes_idle_connections_fails_no_decision() {
    let (service, backend) = (admitting(None).await, Backend::echo().await);
    let gateway = gateway(&service, &backend, "").await;
    decide(&gateway, 4, 101).await;
    service.answer_once_on_each_connection();
    decide(&gateway, 50, 101).await;
    assert!(service.opened() >= 50, "{} connections", service.opened());
}

#[tokio::test]
async fn a_connection_is_not_used_after_the_roots_have_changed() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let other = Authority::new(elsewhere.path());
    let tls = authority.server(&authority.issue("service", &["127.0.0.1"]));
    let (service, backend) = (admitting(Some(tls)).await, Backend::echo().await);
    let gateway = over_tls(directory, &service, &backend).await;
    decide(&gateway, 8, 101).await;
    let asked = service.asked().len();

    let ours = std::fs::read(authority.path()).unwrap();
    std::fs::copy(other.path(), authority.path()).unwrap();
    assert_eq!(gateway.reload().status, 200);
    decide(&gateway, 8, 503).await;
    assert_eq!(service.asked().len(), asked);

    std::fs::write(authority.path(), ours).unwrap();
    assert_eq!(gateway.reload().status, 200);
    decide(&gateway, 8, 101).await;
}
