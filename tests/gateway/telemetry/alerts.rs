//! Alerts of `deploy/alerts.yml` about traffic, backends and the process: each fires in a real
//! Prometheus when its trouble is there, and none before.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::CertificateParams;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::backend::{read_head, switching, upgrade, wait_for_end};
use crate::support::certificates::Authority;
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::time::pace;
use crate::support::{Backend, Client, Dial, Gateway, admin, config, eventually};

/// More than the slowest handshake that the alert accepts.
const SLOW: Duration = Duration::from_millis(1_500);

/// It believes what clients say about their addresses.
const LISTENER: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
                        trusted_proxies = [\"127.0.0.0/8\"]\n\n";

/// Upstreams and routes by the trouble that their backends make.
struct Troubles {
    slow: Backend,
    breaks: Backend,
    once: Backend,
    refuses: [Backend; 2],
    echo: Backend,
}

impl Troubles {
    async fn start() -> Self {
        let grants = AtomicUsize::new(0);
        Self {
            slow: Backend::scripted(async |mut stream| {
                let head = read_head(&mut stream).await;
                pace(SLOW).await;
                stream.write_all(switching(&head).as_bytes()).await.ok();
                wait_for_end(&mut stream).await;
            })
            .await,
            breaks: Backend::scripted(async |mut stream| upgrade(&mut stream).await).await,
            once: Backend::scripted(move |mut stream| {
                let granted = grants.fetch_add(1, Ordering::SeqCst).is_multiple_of(4);
                async move {
                    if granted {
                        upgrade(&mut stream).await;
                    }
                }
            })
            .await,
            refuses: [refusing().await, refusing().await],
            echo: Backend::echo().await,
        }
    }

    fn config(&self) -> String {
        let absent = TcpSocket::new_v4().unwrap();
        absent.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let refuses = self.refuses.each_ref().map(|one| one.address);
        let mut text = LISTENER.to_owned();
        let upstreams = [
            (
                "slow",
                config::members(&[self.slow.address]),
                "passive = { failures = 0 }",
            ),
            (
                "breaks",
                config::members(&[self.breaks.address]),
                "passive = { failures = 0 }",
            ),
            (
                "once",
                config::members(&[self.once.address]),
                "passive = { failures = 0 }",
            ),
            (
                "refuses",
                config::members(&refuses),
                "attempts = 1\npassive = { failures = 5, ejection = \"10m\", ejection_max = \"10m\" }",
            ),
            (
                "dead",
                config::members(&[absent.local_addr().unwrap()]),
                "probe = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }",
            ),
            ("echo", config::members(&[self.echo.address]), ""),
        ];
        for (name, members, more) in upstreams {
            let route = match name {
                "once" => {
                    "on_backend_loss = \"reconnect\"\n\
                     reconnect = { attempts = 1, timeout = \"200ms\" }"
                }
                _ => "",
            };
            text.push_str(&format!(
                "[upstreams.{name}]\n{members}\n{more}\n\n[[routes]]\nname = \"{name}\"\n\
                 path = \"/{name}\"\nupstream = \"{name}\"\n{route}\n\n"
            ));
        }
        text
    }
}

/// A backend that answers every upgrade with 500.
async fn refusing() -> Backend {
    Backend::scripted(async |mut stream| {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.ok();
    })
    .await
}

/// One handshake on each troubled route, from another network each time.
async fn trouble(gateway: &Gateway, round: u8) {
    for path in ["/slow", "/breaks", "/once", "/nowhere"] {
        let from = format!("203.0.{round}.1");
        let dial = Dial::new(path).header("x-forwarded-for", &from);
        if let Ok(mut client) = dial.connect(gateway.address()).await {
            match path {
                "/slow" => client.close().await,
                _ => drop(client.end().await),
            }
        }
    }
    for _ in 0..4 {
        let dial = Dial::new("/breaks").connect(gateway.address()).await;
        dial.expect("it is granted").end().await;
        assert!(
            Dial::new("/nowhere")
                .connect(gateway.address())
                .await
                .is_err()
        );
    }
}

/// Upgrades from many networks fail until one of these backends is ejected.
async fn eject(gateway: &Gateway, backends: &[Backend]) {
    let ejected = || {
        let states = backends.iter();
        let mut states = states.map(|one| gateway.backend("refuses", one.address));
        states.any(|backend| !backend["ejected"].is_null())
    };
    eventually("failures of many clients eject a backend", async || {
        for network in 0..8 {
            let from = format!("198.51.{network}.1");
            let dial = Dial::new("/refuses").header("x-forwarded-for", &from);
            assert!(dial.connect(gateway.address()).await.is_err());
        }
        ejected()
    })
    .await;
}

/// Orders a drain of a backend of `echo`, and holds it back.
fn drain_and_pause(gateway: &Gateway, backend: &Backend) {
    let order = json!({ "state": "draining", "within": "1h", "paused": true });
    let backend = gateway.backend("echo", backend.address);
    let id = backend["id"].as_str().unwrap();
    let target = format!("/v1/upstreams/echo/backends/{id}");
    let answer = gateway.admin("PATCH", &target, &order.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn trouble_with_traffic_and_backends_fires_its_alerts_and_nothing_else_does() {
    let troubles = Troubles::start().await;
    let text = LISTENER.to_owned() + &config::echo(&[troubles.echo.address], "", "");
    let gateway = Gateway::start(&text).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("hello").await;
    prometheus.wait_until_evaluated(1).await;
    assert_eq!(prometheus.firing().await, [], "all is well");
    client.close().await;

    gateway.write_config(&troubles.config());
    let answer = gateway.reload();
    assert_eq!(answer.status, 200, "{}", answer.body);
    eject(&gateway, &troubles.refuses).await;
    // A drain that is held back, with a session that it should move.
    let held = Client::connect(gateway.address(), "/echo").await;
    drain_and_pause(&gateway, &troubles.echo);
    let wanted = [
        ("SessileHandshakesSlow", "route", "slow"),
        ("SessileRefusalsHigh", "route", ""),
        ("SessileSessionsLost", "route", "breaks"),
        ("SessileReconnectsFail", "route", "once"),
        ("SessileUpstreamDown", "upstream", "dead"),
        ("SessileBackendsUnhealthy", "upstream", "dead"),
        ("SessileBackendEjected", "upstream", "refuses"),
        ("SessileDrainStuck", "upstream", "echo"),
    ];
    let rounds = async {
        for round in 0.. {
            trouble(&gateway, round).await;
        }
    };
    // A label that is empty is not there.
    let wanted = wanted.map(|(alert, label, value)| match value {
        "" => (alert, "severity", "page"),
        _ => (alert, label, value),
    });
    tokio::select! {
        () = prometheus.wait_until_fired(&wanted) => {}
        () = rounds => unreachable!("there are enough networks"),
    }
    held.close().await;

    // Settings that wait, then a file that is refused.
    gateway.write_config(&format!(
        "# node: tls_records = \"rustls\"\n{}",
        troubles.config()
    ));
    assert_eq!(gateway.reload().status, 200);
    let instance = port.instance();
    let fired = async |alert| {
        let wanted = [(alert, "instance", instance.as_str())];
        prometheus.wait_until_fired(&wanted).await;
    };
    fired("SessileRestartPending").await;
    gateway.write_config("[upstreams.a]\nbackends = 7\n");
    assert_eq!(gateway.reload().status, 422);
    fired("SessileConfigurationRefused").await;
}

/// Listeners whose certificates end in ten days and in two.
fn expiring(directory: &Path) -> String {
    let authority = Authority::new(directory);
    let listeners = [("soon", 10), ("now", 2)].map(|(file, days)| {
        let mut params = CertificateParams::new([format!("{file}.example.com")]).unwrap();
        let end = SystemTime::now() + Duration::from_secs(days * 86_400);
        params.not_after = end.into();
        authority.issue_as(file, params);
        format!(
            "[[listeners]]\nname = \"{file}\"\nlisten = [\"127.0.0.1:0\"]\n\
             tls.certificates = [{{ cert = \"{file}.crt\", key = \"{file}.key\" }}]\n\n"
        )
    });
    listeners.concat()
}

#[tokio::test]
async fn trouble_of_the_process_fires_its_alerts() {
    let directory = tempfile::tempdir().unwrap();
    let listeners = expiring(directory.path());
    // A disk that is full.
    symlink("/dev/full", directory.path().join("access.log")).unwrap();
    let backend = Backend::echo().await;
    let text = "# node: sessions_max = 1\n[shutdown]\ngrace = \"30s\"\n\n\
        [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\n"
        .to_owned()
        + &listeners
        + &config::echo(&[backend.address], "", "");
    let wrapper = ["prlimit", "--nofile=128:128"];
    let mut gateway = Gateway::start_wrapped(&wrapper, directory, &text).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    prometheus.wait_until_evaluated(1).await;
    let instance = port.instance();
    let of_instance = |alert| (alert, "instance", instance.as_str());
    let wanted = [
        ("SessileOverloaded", "limit", "sessions_max"),
        (
            "SessileCertificateExpiresSoon",
            "certificate",
            "soon.example.com",
        ),
        (
            "SessileCertificateExpires",
            "certificate",
            "now.example.com",
        ),
        ("SessileAcceptErrors", "listener", "edge"),
        of_instance("SessileDescriptorsNearLimit"),
        of_instance("SessileRecordsDropped"),
    ];
    let address = gateway.address();
    let only = Client::connect(address, "/").await;
    // Of 128, more than four fifths.
    let near = 112 - gateway.descriptors();
    let storm = async {
        let mut beyond = false;
        loop {
            // Each is refused and leaves a record.
            assert!(Dial::new("/").connect(address).await.is_err());
            // Near the limit, and beyond it the next time.
            beyond = !beyond;
            let mut held = Vec::new();
            while held.len() < if beyond { 110 } else { near } {
                held.push(TcpStream::connect(address).await.unwrap());
            }
            // Longer than Prometheus needs to scrape it.
            pace(Duration::from_millis(1_200)).await;
        }
    };
    tokio::select! {
        () = prometheus.wait_until_fired(&wanted) => {}
        () = storm => {}
    }
    only.close().await;
    // Limits take effect without a restart.
    gateway.write_config(&text.replace("sessions_max = 1", "memory_max = \"1 MiB\""));
    eventually("a descriptor is free for the order", async || {
        let socket = gateway.directory().join("admin.sock");
        let answer = admin::request(&socket, None, "POST", "/v1/reload", "");
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    let wanted = [of_instance("SessileMemoryNearLimit")];
    prometheus.wait_until_fired(&wanted).await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit().await;
    let down = [("SessileTargetDown", "instance", instance.as_str())];
    prometheus.wait_until_fired(&down).await;
}

#[tokio::test]
async fn a_gateway_that_stops_fires_its_alert_until_it_has_stopped() {
    let backend = Backend::echo().await;
    let text = String::from("[shutdown]\ngrace = \"60s\"\n\n");
    let text = text + &config::echo(&[backend.address], "", "");
    let mut gateway = Gateway::start(&text).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    prometheus.wait_until_evaluated(1).await;
    let clients = [
        Client::connect(gateway.address(), "/?k=1").await,
        Client::connect(gateway.address(), "/?k=2").await,
    ];
    gateway.signal(Signal::TERM);
    let instance = port.instance();
    let wanted = [("SessileNotReady", "instance", instance.as_str())];
    prometheus.wait_until_fired(&wanted).await;
    for client in clients {
        client.close().await;
    }
    gateway.wait_for_exit().await;
    eventually("its records are written", async || {
        let log = fs::read_to_string(gateway.directory().join("access.log"));
        log.is_ok_and(|log| log.lines().count() == 2)
    })
    .await;
}
