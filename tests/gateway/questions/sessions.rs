//! Questions about live sessions.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{RECONNECT, answer, fails, gateway, run};
use crate::support::peers::{Language, Server};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, config, eventually};

/// 1. "Why is user X on backend B?"
#[tokio::test]
async fn q01_why_is_a_user_on_this_backend() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = gateway(&[backends[0].address, backends[1].address], RECONNECT).await;
    let mut client = Client::connect(gateway.address(), "/?k=user07").await;
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}");
    let home = gateway.get(&target)["backend"].clone();
    let home = home.as_str().expect("an id");
    let shown = run(&gateway, &["why", &id]);
    let first = shown.lines().next().expect("a line");
    let expected = format!("{id} echo/{home}  key user07 (query:k), first choice");
    assert_eq!(first, expected);

    let moved = run(&gateway, &["move", &id]);
    assert!(
        moved.contains(&format!("{id} leaves {home} for another backend")),
        "{moved}"
    );
    eventually("it moved", async || gateway.get(&target)["resumes"] == 1).await;
    let backend = gateway.get(&target)["backend"].clone();
    let backend = backend.as_str().expect("an id");
    // By the key, and by the request id, which is the session's.
    for what in ["user07", &id] {
        let shown = run(&gateway, &["why", what]);
        assert!(shown.contains("first choice; moved 1x"), "{shown}");
        let line = format!("{home} -> {backend}: moved by local");
        assert!(shown.contains(&line), "{shown}");
    }
    let unknown = fails(&gateway, &["why", "stranger"], 1);
    assert!(
        unknown.contains("`sessile sessions` lists live ones"),
        "{unknown}"
    );
    client.echo("still here").await;
}

/// 2. "Which backend has most sessions, is the load skewed, which key is hot?"
#[tokio::test]
async fn q02_which_backend_has_most_sessions_and_which_key_is_hot() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = gateway(&[backends[0].address, backends[1].address], "").await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(Client::connect(gateway.address(), "/?k=hot").await);
    }
    for key in 0..6 {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    let shown = run(&gateway, &["top", "--once", "--interval", "100ms"]);
    assert!(shown.starts_with("36 sessions, "), "{shown}");
    let listed: Value =
        serde_json::from_str(&run(&gateway, &["top", "--json", "--interval", "100ms"])).unwrap();
    let hot = &listed["keys"][0];
    assert_eq!(
        (&hot["key"]["key"], &hot["sessions"]),
        (&"hot".into(), &30.into())
    );
    let load = &listed["upstreams"][0];
    let fullest = &load["backends"][0];
    assert_eq!(fullest["id"], hot["backend"], "{listed}");
    let part = 30.0 / fullest["sessions"].as_f64().expect("a number");
    let line = format!("key hot: 30 sessions, {:.0} % of echo/", part * 100.0);
    assert!(shown.contains(&line), "{shown}");
    let skewed = load["skewed"] == true;
    assert_eq!(shown.contains("SKEW echo: "), skewed, "{shown}");
    assert!(load["skew"].as_f64() >= Some(30.0 / 18.0), "{listed}");
    drop(clients);
}

/// 8. "Who sends most right now?"
#[tokio::test]
async fn q08_who_sends_most_right_now() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut one = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    let ids = [one.session_id().await, other.session_id().await];
    for _ in 0..5 {
        other.echo("some text").await;
    }
    let first = |arguments: &[&str]| {
        let shown = run(&gateway, arguments);
        let line = shown.lines().nth(1).expect("a session").to_owned();
        line.split(' ').next().expect("an id").to_owned()
    };
    assert_eq!(first(&["sessions", "--sort", "-messages"]), ids[1]);
    assert_eq!(first(&["sessions", "--sort", "messages"]), ids[0]);
    assert_eq!(first(&["sessions", "--affinity-key", "2"]), ids[1]);
    let wrong = fails(&gateway, &["sessions", "--sort", "name"], 2);
    assert!(wrong.contains("sort: give age, idle"), "{wrong}");
    drop((one, other));
}

/// 9. "Who is half dead, what is the round trip?"
#[tokio::test]
async fn q09_who_is_half_dead_and_what_is_the_round_trip() {
    let backend = Backend::echo().await;
    let route = "keepalive = { interval = \"100ms\", timeout = \"10s\" }";
    let gateway = gateway(&[backend.address], route).await;
    let mut alive = Client::connect(gateway.address(), "/?k=1").await;
    // It answers no ping, since nothing reads it.
    let mute = Client::connect(gateway.address(), "/?k=2").await;
    let id = alive.session_id().await;
    let arguments = ["sessions", "--sort", "round_trip", "--rates", "100ms"];
    let mut shown = String::new();
    for _ in 0..100 {
        // Reads, and so answers pings.
        alive.echo("alive").await;
        shown = run(&gateway, &arguments);
        let first = shown.lines().nth(1).expect("a session");
        if first.starts_with(&id) && first.matches(" ms").count() + first.matches("ms").count() > 0
        {
            break;
        }
    }
    let mut lines = shown.lines();
    let head = lines.next().expect("a head");
    assert!(head.contains("PING CLIENT  PING BACKEND"), "{shown}");
    let first = lines.next().expect("a session");
    assert!(first.starts_with(&id) && first.contains("ms"), "{shown}");
    drop((alive, mute));
}

/// 10. "What is X's socket saying?"
#[tokio::test]
async fn q10_what_is_a_socket_saying() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let id = client.session_id().await;
    let mut tap = Command::new(env!("CARGO_BIN_EXE_sessile"))
        .args(["tap", &id, "--frames", "2"])
        .current_dir(gateway.directory())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sessile runs");
    eventually("it watches", async || {
        gateway.log().contains("session tapped")
    })
    .await;
    client.echo("hello").await;
    let lines = BufReader::new(tap.stdout.take().expect("piped")).lines();
    let lines: Vec<_> = lines.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("client  -> text         5 B"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("backend <- text         5 B"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("end: as many frames"), "{lines:?}");
    assert!(tap.wait().expect("it ends").success());
    let refused = fails(&gateway, &["tap", &id, "--payload"], 1);
    assert!(refused.contains("tap_payload = true"), "{refused}");
}

/// 12. "Tell one user, or everyone on a route."
#[tokio::test]
async fn q12_tell_one_user_or_everyone_on_a_route() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut one = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    let id = one.session_id().await;
    let told = run(&gateway, &["send", "--route", "all", "maintenance at 5"]);
    assert_eq!(
        told,
        "delivered 2, busy 0, gone 0 on this gateway\n\
         other gateways do not get it: `[publish]` is not configured here\n"
    );
    assert_eq!(one.receive_text().await, "maintenance at 5");
    assert_eq!(other.receive_text().await, "maintenance at 5");
    assert_eq!(run(&gateway, &["send", &id, "hello"]), "delivered\n");
    assert_eq!(one.receive_text().await, "hello");
    let whom = fails(&gateway, &["send", "hello"], 1);
    assert!(
        whom.contains("a filter such as --route, or --all"),
        "{whom}"
    );
    let none = sessile(&["send", "--route", "none", "x"], gateway.directory());
    assert_eq!(none.status.code(), Some(1));
}

/// The id that the client got with its 101.
fn id_of(client: &Client) -> String {
    let id = client.header("sessile-session").expect("an id to quote");
    id.to_owned()
}

/// 20. "Were messages lost, of whom, when, why?" Nothing is lost of a session between two messages
/// when its backend dies; a message that its client has not completed is lost with its session.
#[tokio::test]
async fn q20_were_messages_lost_of_whom_when_and_why() {
    let mortal = Server::start(Language::Node, "server", &[]);
    let other = Backend::echo().await;
    let backends = [mortal.address, other.address];
    let gateway = Gateway::start(&config::echo(
        &backends,
        "passive = { failures = 0 }",
        RECONNECT,
    ))
    .await;
    let at = mortal.address.to_string();
    let (mut there, mut away) = (Vec::new(), Vec::new());
    for key in 0..32 {
        let client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        let home = gateway.get(&format!("/v1/sessions/{}", id_of(&client)));
        match home["backend"] == *at {
            true => there.push(client),
            false => away.push(client),
        }
    }
    assert!(there.len() > 1 && !away.is_empty(), "keys belong to both");
    let none = run(&gateway, &["lost", "--since", "1d"]);
    assert!(none.starts_with("no session lost messages"), "{none}");
    // The beginning of a message of one of them has arrived.
    let mut cut = there.remove(0);
    let id = id_of(&cut);
    let begun = Frame::message("the beginning", OpCode::Data(Data::Text), false);
    cut.send(Message::Frame(begun)).await;
    eventually("it has arrived", async || {
        let session = gateway.get(&format!("/v1/sessions/{id}"));
        session["to_backend"]["bytes"].as_u64() > Some(13)
    })
    .await;
    mortal.signal(Signal::KILL);
    let (code, _) = cut.end().await.expect("a close frame");
    assert_eq!(code, 1011, "no other backend can complete it");
    // The system closes the sockets of a process one by one, and what comes before that is lost.
    let moved = |client: &Client| {
        let session = gateway.get(&format!("/v1/sessions/{}", id_of(client)));
        session["backend"] != *at
    };
    eventually("the others have moved", async || there.iter().all(moved)).await;
    for client in there.iter_mut().chain(&mut away) {
        client.echo("after").await;
    }
    eventually("the end is known", async || {
        let (code, shown, _) = answer(&gateway, &["lost"]);
        code == Some(1) && shown.contains(" by backend, 1011")
    })
    .await;
    let (_, shown, _) = answer(&gateway, &["lost", "--since", "1d"]);
    let line = shown.lines().nth(1).expect("one session");
    assert!(line.contains(&id) && line.contains("1 message"), "{shown}");
    assert!(
        line.contains(&at) && line.contains(" by backend, 1011"),
        "{shown}"
    );
    // The others show their move, and that nothing was lost.
    let listed = run(&gateway, &["sessions", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let moved = listed["items"].as_array().unwrap().iter().filter(|one| {
        let first = &one["moved"][0];
        let unhurt = one["messages_lost"] == 0 && first["messages_lost"] == 0;
        first["from"] == *at && first["reason"] == "backend_lost" && unhurt
    });
    assert_eq!(moved.count(), there.len());
}
