//! Alerts of `deploy/alerts.yml` about etcd, certificates, keys and hand-over: each fires in a real
//! Prometheus when its trouble is there.

use serde_json::json;

use crate::operations::handover::impostor::Impostor;
use crate::support::brokers::BrokerServer;
use crate::support::certificates::Authority;
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{Network, following, is_connected, seed};
use crate::support::free_port;
use crate::support::peers::Language;
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::service::Service;
use crate::support::shell::sessile;
use crate::support::tokens::{self, claims, wanted};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

#[tokio::test]
async fn trouble_with_etcd_fires_its_alerts() {
    let (mut etcd, backend) = (Etcd::start().await, Backend::echo().await);
    let network = Network::to(etcd.port()).await;
    seed(&etcd, &[&backend]).await;
    // A long silence: the one behind the network must not notice that it is behind.
    let patient =
        following(&[network.url()], "").replace("silence = \"1500ms\"", "silence = \"2m\"");
    let behind = Gateway::start_named("behind", &patient).await;
    let first = Gateway::start(&following(&[etcd.url()], "")).await;
    let second = Gateway::start(&following(&[etcd.url()], "")).await;
    let all = [&behind, &first, &second];
    let ports = all.map(AdminPort::of);
    let prometheus = Prometheus::start(&ports.each_ref().map(|port| port.address)).await;
    for gateway in all {
        is_connected(gateway, true).await;
    }
    prometheus.wait_until_evaluated(3).await;
    let instances = ports.each_ref().map(AdminPort::instance);
    let [behind_at, first_at, _] = instances.each_ref().map(String::as_str);

    network.lose_everything(true);
    etcd.put("routes/bad", &json!({ "upstream": 7 })).await;
    etcd.put("routes/early", &json!({ "upstream": "later" }))
        .await;
    let wanted = [
        ("SessileNodeDuplicate", "instance", first_at),
        ("SessileEtcdDocumentsRefused", "instance", first_at),
        ("SessileEtcdDocumentsWaiting", "instance", first_at),
        ("SessileEtcdBehind", "instance", behind_at),
        ("SessileEtcdStale", "instance", behind_at),
    ];
    prometheus.wait_until_fired(&wanted).await;
    network.lose_everything(false);

    // What a restored etcd lacks is doubted.
    etcd.restart_empty().await;
    let wanted = [("SessileEtcdDocumentsDoubted", "instance", first_at)];
    prometheus.wait_until_fired(&wanted).await;
    etcd.stop();
    let wanted = [("SessileEtcdLost", "instance", first_at)];
    prometheus.wait_until_fired(&wanted).await;
}

#[tokio::test]
async fn a_start_without_etcd_fires_its_alert() {
    let (mut etcd, backend) = (Etcd::start().await, Backend::echo().await);
    seed(&etcd, &[&backend]).await;
    let text = following(&[etcd.url()], "");
    let gateway = Gateway::start_with_handover(&text).await;
    eventually("what etcd has is remembered", async || {
        let Ok(mut client) = Dial::new("/").connect(gateway.address()).await else {
            return false;
        };
        client.echo("hello").await;
        client.close().await;
        let kept = std::fs::read_dir(gateway.directory().join("state"));
        let mut kept = kept.expect("a directory").filter_map(Result::ok);
        kept.any(|file| {
            std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains("routes/all"))
        })
    })
    .await;
    gateway.wait_until_idle().await;
    etcd.stop();
    let next = gateway.succeed().await;
    let port = AdminPort::of(&next);
    let prometheus = Prometheus::start(&[port.address]).await;
    let instance = port.instance();
    let wanted = [("SessileEtcdLastKnownGood", "instance", instance.as_str())];
    prometheus.wait_until_fired(&wanted).await;
    let mut gateway = gateway;
    gateway.wait_for_exit().await;
}

/// The alert, and what an operator finds then: the finding and the event. The broker comes back.
#[tokio::test]
async fn a_broker_that_is_gone_fires_its_alert() {
    let mut broker = BrokerServer::start("nats").await;
    let backend = Backend::echo().await;
    let text = format!(
        "[publish]\nlisten = \"127.0.0.1:0\"\n\
         tokens = [{{ name = \"t\", token = \"secret-of-publishers\", targets = [\"*\"] }}]\n\n\
         {}\n{}",
        broker.config(),
        config::echo(&[backend.address], "", ""),
    );
    let gateway = Gateway::start(&text).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let doctor = || sessile(&["doctor"], gateway.directory());
    eventually("nothing is wrong", async || {
        doctor().status.code() == Some(0)
    })
    .await;
    broker.kill();
    let instance = port.instance();
    let wanted = [("SessileBrokerLost", "instance", instance.as_str())];
    prometheus.wait_until_fired(&wanted).await;
    let found = doctor();
    assert_eq!(found.status.code(), Some(1));
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(
        found.starts_with("WARN  broker: not connected since "),
        "{found}"
    );
    broker.start_again().await;
    eventually("the loss and the return are events", async || {
        let page = gateway.get("/v1/history?kind=broker_lost,broker_connected");
        let items = page["items"].as_array().unwrap();
        let kinds: Vec<_> = items.iter().map(|one| one["kind"].as_str()).collect();
        kinds.starts_with(&[Some("broker_connected"), Some("broker_lost")])
    })
    .await;
}

#[tokio::test]
async fn orders_that_fail_and_keys_that_are_old_fire_their_alerts() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let files = authority.issue("issuer", &["localhost"]);
    let minted = tokens::mint(Language::Python, &[wanted("ES256", "p256", claims("ann"))]).await;
    let issuer = Service::issuer(Some(authority.server(&files)), minted.jwks()).await;
    let backend = Backend::echo().await;
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         [listeners.tls.acme]\nnames = [\"chat.acme.test\"]\nterms_accepted = true\n\
         directory = \"https://127.0.0.1:{closed}/dir\"\nca = \"ca.pem\"\n\n\
         [authenticators.users]\ntype = \"jwt\"\n\
         jwks = \"https://localhost:{port}/keys.json\"\nca = \"ca.pem\"\n\n{echo}",
        closed = free_port(),
        port = issuer.address.port(),
        echo = config::echo(&[backend.address], "", "authenticate = [\"users\"]"),
    );
    let gateway = Gateway::start_in(directory, &text).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let wanted = [
        (
            "SessileCertificateOrdersFail",
            "certificate",
            "chat.acme.test",
        ),
        ("SessileKeysOld", "authenticator", "users"),
    ];
    prometheus.wait_until_fired(&wanted).await;
}

#[tokio::test]
async fn a_hand_over_that_fails_or_leaves_sessions_fires_its_alerts() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let backend = Backend::echo().await;
    let text = "# node: tls_records = \"rustls\"\n\
        [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        tls.certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]\n\n\
        [shutdown]\ngrace = \"60s\"\n\n"
        .to_owned()
        + &config::echo(&[backend.address], "", "");
    let mut old = Gateway::start_with_handover_in(directory, &text).await;
    let port = AdminPort::of(&old);
    let prometheus = Prometheus::start(&[port.address]).await;
    prometheus.wait_until_evaluated(1).await;
    let instance = port.instance();
    drop(Impostor::serving(&old).await);
    let wanted = [("SessileHandoverFailed", "instance", instance.as_str())];
    prometheus.wait_until_fired(&wanted).await;

    let dial = Dial::new("/").host("localhost");
    let opened = dial.connect_tls(old.address(), authority.client()).await;
    let mut client: Client = opened.expect("a session");
    client.echo("hello").await;
    let next = old.succeed().await;
    let wanted = [(
        "SessileHandoverSessionsStayed",
        "instance",
        instance.as_str(),
    )];
    prometheus.wait_until_fired(&wanted).await;
    drop(client);
    old.wait_for_exit().await;
    drop(next);
}
