//! A session is watched while it goes on.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::tokens::{SECRET, claims, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

async fn gateway(backends: &[SocketAddr], route: &str) -> Gateway {
    Gateway::start(&config::echo(backends, "", route)).await
}

/// A tap under way, on a connection of its own.
struct Tap(Lines<BufReader<UnixStream>>);

impl Tap {
    /// Begins, and returns when the tap stands.
    fn begin(gateway: &Gateway, target: &str) -> Self {
        let mut stream = UnixStream::connect(gateway.directory().join("admin.sock")).unwrap();
        let deadline = Some(std::time::Duration::from_secs(30));
        stream.set_read_timeout(deadline).unwrap();
        write!(stream, "GET {target} HTTP/1.0\r\nhost: admin\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next().unwrap().unwrap();
        assert!(status.contains(" 200 "), "{status}");
        for line in lines.by_ref() {
            if line.unwrap().is_empty() {
                break;
            }
        }
        Self(lines)
    }

    /// The next event: its name and its data.
    fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        for line in self.0.by_ref() {
            let line = line.unwrap();
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
        None
    }

    fn frame(&mut self) -> Value {
        let (name, mut data) = self.next().expect("a frame");
        assert_eq!(name, "frame", "{data}");
        assert!(data["at"].as_str().is_some_and(|at| at.starts_with("20")));
        data.as_object_mut().unwrap().remove("at");
        data
    }

    fn end(&mut self) -> String {
        let (name, data) = self.next().expect("an end");
        assert_eq!((&*name, self.next()), ("end", None), "{data}");
        data["reason"].as_str().unwrap().to_owned()
    }
}

fn frame(from: &str, opcode: &str, bytes: u64) -> Value {
    json!({ "from": from, "opcode": opcode, "fin": true, "reserved": 0, "bytes": bytes })
}

#[tokio::test]
async fn i11_a_tap_shows_headers_and_no_payload() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let id = client.session_id().await;
    client.echo("before").await;
    let target = format!("/v1/sessions/{id}/tap");
    let mut tap = Tap::begin(&gateway, &target);
    client.echo("hello").await;
    assert_eq!(tap.frame(), frame("client", "text", 5));
    assert_eq!(tap.frame(), frame("backend", "text", 5));
    // One at a time, and never payload where the route does not allow it.
    assert_eq!(gateway.admin("GET", &target, "").status, 409);
    let payload = gateway.admin("GET", &format!("{target}?payload=true"), "");
    assert_eq!(payload.status, 403, "{payload:?}");
    assert!(payload.body.contains("tap_payload"), "{}", payload.body);
    let absent = "/v1/sessions/01BX5ZZKBKACTAV9WEVGEMMVRZ/tap";
    assert_eq!(gateway.admin("GET", absent, "").status, 404);
    assert_eq!(
        gateway.admin("GET", &format!("{target}?x=1"), "").status,
        400
    );

    gateway.admin("DELETE", &format!("/v1/sessions/{id}"), "");
    client.end().await;
    assert_eq!(tap.frame()["opcode"], "close");
    assert_eq!(tap.end(), "the session ended");
    let log = gateway.log();
    assert!(log.contains("session tapped by an operator"), "{log}");
    eventually("its end is logged", async || {
        gateway.log().contains("tap ended")
    })
    .await;
}

#[tokio::test]
async fn a_tap_shows_payload_where_the_route_allows_it_and_no_credential() {
    let backend = Backend::echo().await;
    let users = format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n");
    let route = "authenticate = [\"users\"]\ntap_payload = true\nexpiry.renewal = \"renew \"\n\
                 expiry.renewed = \"yes\"\nexpiry.refused = \"no\"";
    let text = users + &config::echo(&[backend.address], "", route);
    let gateway = Gateway::start(&text).await;
    let token = token(&claims("ann"));
    let dial = Dial::new("/").header("authorization", &format!("Bearer {token}"));
    let mut client = dial.connect(gateway.address()).await.expect("let in");
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}/tap?payload=true&payload_bytes=8&frames=6");
    let mut tap = Tap::begin(&gateway, &target);
    client.echo("hello, world").await;
    let mut shown = frame("client", "text", 12);
    shown["text"] = json!("hello, w");
    assert_eq!(tap.frame(), shown);
    shown["from"] = json!("backend");
    assert_eq!(tap.frame(), shown);
    client.send(format!("renew {token}")).await;
    assert_eq!(client.receive_text().await, "yes");
    let hidden = tap.frame();
    assert_eq!(
        (&hidden["withheld"], &hidden["text"]),
        (&json!(true), &json!(null))
    );
    client.send(vec![0xff, 0]).await;
    client.receive().await;
    assert_eq!(tap.frame()["base64"], "/wA=");
    tap.frame();
    client.send("last").await;
    tap.frame();
    assert_eq!(tap.end(), "as many frames were shown as were asked for");
}

#[tokio::test]
async fn a_tap_is_bounded_in_time_and_gives_its_place_back() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut clients = Vec::new();
    let mut targets = Vec::new();
    for key in 0..9 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        targets.push(format!(
            "/v1/sessions/{}/tap?seconds=1",
            client.session_id().await
        ));
        clients.push(client);
    }
    let mut taps: Vec<_> = targets[..8]
        .iter()
        .map(|target| Tap::begin(&gateway, target))
        .collect();
    let refused = gateway.admin("GET", &targets[8], "");
    assert!(matches!(refused.status, 429 | 200), "{refused:?}");
    for tap in &mut taps {
        assert_eq!(tap.end(), "the time is over");
    }
    drop(taps);
    eventually("the places are free", async || {
        gateway.admin("GET", &targets[0], "").status == 200
    })
    .await;
    clients[0].echo("untouched").await;
}

#[tokio::test]
async fn i1_a_hand_over_ends_a_tap_and_not_its_session() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let mut old = Gateway::start_with_handover(&text).await;
    let mut client = Client::connect(old.address(), "/?k=1").await;
    let id = client.session_id().await;
    let mut tap = Tap::begin(&old, &format!("/v1/sessions/{id}/tap"));
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success());
    client.echo("still here").await;
    assert_eq!(tap.end(), "the session is handed over to another process");
    assert_eq!(new.get(&format!("/v1/sessions/{id}"))["id"], id);
    drop(client);
}
