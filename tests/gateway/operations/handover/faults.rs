//! What goes wrong on the way leaves the old process serving, with every session.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sessile::io::handover::{FromNew, FromOld, PROTOCOL, STATE, STATE_OLDEST, Wire};
use sessile::io::net::listener::Owner;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::process::Command;
use tokio::sync::Notify;

use super::echo;
use super::impostor::Impostor;
use crate::support::backend::read_head;
use crate::support::gateway::{command, signal_process};
use crate::support::tokens::{SECRET, claims, token};
use crate::support::{
    Backend, Client, DEADLINE, Dial, Gateway, Raw, admin, config, eventually, soon,
};

/// Everybody is served by this process, those who were and those who come.
async fn all_is_well(gateway: &Gateway, clients: &mut [Client], failures: f64) {
    eventually("the failure is counted", async || {
        gateway.metric("sessile_handover_failures_total", &[]) >= failures
    })
    .await;
    eventually("the failure is an event", async || {
        let page = gateway.get("/v1/history?kind=handover_failed");
        failures == 0.0 || !page["items"].as_array().unwrap().is_empty()
    })
    .await;
    for client in &mut *clients {
        client.echo("still here").await;
    }
    let mut new = Client::connect(gateway.address(), "/").await;
    new.echo("hello").await;
    new.close().await;
    // A client sees its close before every count has forgotten the session.
    eventually("as many sessions as before", async || {
        let state = gateway.get("/v1/upstreams/echo");
        gateway.sessions_live() == clients.len() as u64
            && state["backends"][0]["sessions"] == clients.len()
            && gateway.metric("sessile_sessions", &[]) == clients.len() as f64
    })
    .await;
}

#[tokio::test]
async fn i6_a_new_process_that_dies_at_any_step_costs_no_session() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.echo("before").await;
        clients.push(client);
    }
    drop(Impostor::connect(&gateway).await);
    all_is_well(&gateway, &mut clients, 1.0).await;
    drop(Impostor::hello(&gateway, PROTOCOL, (STATE, STATE)).await);
    all_is_well(&gateway, &mut clients, 2.0).await;
    drop(Impostor::welcome(&gateway).await);
    all_is_well(&gateway, &mut clients, 3.0).await;
    drop(Impostor::serving(&gateway).await);
    all_is_well(&gateway, &mut clients, 4.0).await;
    // It holds sessions, and the word that they are its own never comes.
    let mut holding = Impostor::serving(&gateway).await;
    assert!(!holding.batch().await.is_empty());
    drop(holding);
    all_is_well(&gateway, &mut clients, 5.0).await;
    // It sends another message instead.
    let mut confused = Impostor::serving(&gateway).await;
    confused.batch().await;
    let start = Instant::now();
    confused.wire.send_message(&FromNew::Serving).await.unwrap();
    assert!(confused.stopped().await.contains("unexpected message"));
    all_is_well(&gateway, &mut clients, 6.0).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "it waited: {took:?}");
    let late = FromNew::Taken {
        taken: Vec::new(),
        refused: Vec::new(),
    };
    confused
        .wire
        .send_message(&late)
        .await
        .expect_err("no process receives it");
    // It can take none of them, and dies before its last message.
    let mut picky = Impostor::serving(&gateway).await;
    let mut refused = 0;
    while refused < clients.len() {
        let ids = picky.batch().await;
        refused += ids.len();
        let answer = FromNew::Taken {
            taken: Vec::new(),
            refused: ids.into_iter().map(|id| (id, "no".to_owned())).collect(),
        };
        picky.wire.send_message(&answer).await.unwrap();
    }
    let done = FromOld::Done {
        staying: 50,
        reasons: None,
    };
    assert_eq!(picky.hear().await, done);
    drop(picky);
    all_is_well(&gateway, &mut clients, 7.0).await;

    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert_eq!(next.get("/v1/status")["taken_over"]["sessions"], 50);
    for mut client in clients {
        client.echo("after all").await;
        client.close().await;
    }
    // The seven that came in between have theirs too.
    next.wait_for_records(57).await;
}

#[tokio::test]
async fn a_process_of_another_version_gets_nothing() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = vec![Client::connect(gateway.address(), "/").await];
    let versions = [
        (PROTOCOL + 1, (STATE_OLDEST, STATE)),
        (PROTOCOL, (STATE + 1, STATE + 2)),
    ];
    for ((protocol, states), failures) in versions.into_iter().zip([1.0, 2.0]) {
        let mut other = Impostor::hello(&gateway, protocol, states).await;
        let FromOld::Refused { reason } = other.hear().await else {
            panic!("it was let in");
        };
        assert!(reason.contains("version"), "{reason}");
        all_is_well(&gateway, &mut clients, failures).await;
    }
    for client in clients {
        client.close().await;
    }
}

/// Runs `sessile run --take-over` with this configuration until it ends.
async fn attempt(gateway: &Gateway, config: &Path) -> (Option<i32>, String) {
    let mut command = command(config);
    command.arg("--take-over").arg(gateway.door());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = soon("its end", output).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), printed)
}

#[tokio::test]
async fn a_new_process_with_a_bad_configuration_leaves_the_old_one_serving() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = vec![Client::connect(gateway.address(), "/").await];
    let good = fs::read_to_string(gateway.config_path()).unwrap();
    let path = gateway.directory().join("bad.toml");

    fs::write(
        &path,
        good.replace("upstream = \"echo\"", "upstream = \"ecco\""),
    )
    .unwrap();
    let (code, printed) = attempt(&gateway, &path).await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("ecco"), "{printed}");
    all_is_well(&gateway, &mut clients, 0.0).await;

    // It is valid, and cannot be had: another program has the address.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("[\"127.0.0.1:0\", \"{}\"]", other.local_addr().unwrap());
    fs::write(&path, good.replace("[\"127.0.0.1:0\"]", &taken)).unwrap();
    let (code, printed) = attempt(&gateway, &path).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("cannot listen on"), "{printed}");
    all_is_well(&gateway, &mut clients, 1.0).await;
    assert!(gateway.log().contains("it gave up"), "{}", gateway.log());
    for client in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn a_signal_in_the_middle_of_a_handover_stops_the_process_that_it_was_for() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("before").await;
    let mut other = Impostor::serving(&gateway).await;
    other.batch().await;
    gateway.signal(Signal::TERM);
    let FromOld::Stopped { serving: false, .. } = other.hear().await else {
        panic!("it does not say that it stops");
    };
    let end = client.end().await;
    assert_eq!(end.map(|(code, _)| code), Some(1001));
    drop(client);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let records = gateway.wait_for_records(1).await;
    assert_eq!(records[0].cause, "shutdown");
}

#[tokio::test]
async fn i6_a_message_that_was_sent_in_time_is_received() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    let mut other = Impostor::serving(&gateway).await;
    let mut taken = other.batch().await;
    let refused = taken.split_off(taken.len() / 2);
    // All of it is in the queue before the old process hears any of it.
    gateway.signal(Signal::STOP);
    other.wire.send_message(&FromNew::Serving).await.unwrap();
    let answer = FromNew::Taken {
        taken: taken.clone(),
        refused: refused.into_iter().map(|id| (id, String::new())).collect(),
    };
    other.wire.send_message(&answer).await.unwrap();
    gateway.signal(Signal::CONT);
    assert!(other.stopped().await.contains("unexpected message"));
    eventually("what was taken is gone", async || {
        gateway.sessions_live() == (clients.len() - taken.len()) as u64
    })
    .await;
    for session in gateway.sessions() {
        let id = session["id"].as_str().unwrap();
        assert!(taken.iter().all(|one| one.to_string() != id), "{id}");
    }
    // Their records are the other process' to write.
    assert_eq!(gateway.records().len(), 0);
    drop(clients);
}

#[tokio::test]
async fn i6_a_held_session_cannot_be_ended() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = vec![Client::connect(gateway.address(), "/").await];
    clients[0].echo("before").await;
    // New connections to the admin API wait; this one is there already.
    let mut operator = OldConnection::open(gateway.directory().join("admin.sock").as_path());
    gateway.get("/v1/status");
    let mut other = Impostor::serving(&gateway).await;
    let id = other.batch().await[0].to_string();
    let target = format!("/v1/sessions/{id}");
    let answer = operator.ask(&format!("DELETE {target}"));
    assert!(answer.contains("409"), "{answer}");
    assert!(answer.contains("being handed over"), "{answer}");
    clients[0].send("held").await;
    drop(other);
    assert_eq!(clients[0].receive_text().await, "held");
    all_is_well(&gateway, &mut clients, 1.0).await;
    // Now it can be ended.
    assert_eq!(gateway.admin("DELETE", &target, "").status, 202);
    assert!(clients[0].end().await.is_some());
}

/// To the admin API, for one request.
struct OldConnection(StdUnixStream);

impl OldConnection {
    fn open(socket: &Path) -> Self {
        let stream = StdUnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, what: &str) -> String {
        let request = format!("{what} HTTP/1.0\r\nhost: admin\r\ncontent-length: 0\r\n\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Plays the old process for a new one that comes to `door`; it gets nothing but that door.
async fn until_it_serves(middle: &UnixListener, door: &Path, pid: u32) -> Wire {
    let (stream, _) = soon("the new process", middle.accept()).await.unwrap();
    let mut to_new = Wire::new(stream).unwrap();
    let hello = to_new.receive::<FromNew>().await.unwrap().unwrap();
    assert!(matches!(hello.content, FromNew::Hello { .. }));
    let welcome = FromOld::Welcome {
        protocol: PROTOCOL,
        state: STATE,
        version: "9.9.9".to_owned(),
        pid,
        listeners: 1,
    };
    to_new.send_message(&welcome).await.unwrap();
    let left = FromOld::Listener {
        owner: Owner::Handover,
        asked: format!("unix:{}", door.display()),
    };
    to_new.send(&left, &[], &[middle.as_fd()]).await.unwrap();
    let serving = soon("it serves", to_new.receive::<FromNew>()).await;
    assert_eq!(serving.unwrap().unwrap().content, FromNew::Serving);
    to_new
}

/// A process in the middle, between an old one and a new one, that brings everything across until
/// sessions are on the table; then it turns a deaf ear to the new one.
#[tokio::test]
async fn i6_a_process_that_cannot_send_taken_does_not_touch_the_session() {
    let backend = Backend::echo().await;
    let old = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(old.address(), "/").await;
        client.echo("before").await;
        clients.push(client);
    }
    let door = old.directory().join("middle.sock");
    let middle = UnixListener::bind(&door).unwrap();
    let text = fs::read_to_string(old.config_path()).unwrap();
    let path = old.directory().join("new.toml");
    let socket = old.directory().join("new.sock");
    let own = text
        .replace("admin.sock", "new.sock")
        .replace("access.log", "new.log");
    fs::write(&path, own).unwrap();
    let mut new = Command::from(command(&path));
    new.arg("--take-over").arg(&door).kill_on_drop(true);
    let mut new = new.stderr(Stdio::null()).spawn().unwrap();
    let mut to_new = until_it_serves(&middle, &door, old.pid()).await;

    let mut to_old = Impostor::serving(&old).await;
    to_new.shut_receiving().unwrap();
    let mut count = 0;
    loop {
        let message = soon("a session", to_old.wire.receive::<FromOld>()).await;
        let message = message.unwrap().unwrap();
        let sockets: Vec<_> = message.descriptors.iter().map(AsFd::as_fd).collect();
        to_new
            .send(&message.content, &[&message.attachment], &sockets)
            .await
            .unwrap();
        match message.content {
            FromOld::Session { .. } => count += 1,
            FromOld::Batch => break,
            FromOld::Revocations { .. } | FromOld::Orders { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, clients.len());
    let done = FromOld::Done {
        staying: 0,
        reasons: None,
    };
    to_new.send_message(&done).await.unwrap();
    let status = || {
        let answer = admin::request(&socket, None, "GET", "/v1/status", "");
        answer.expect("an answer").json()
    };
    eventually("it has tried", async || !status()["taken_over"].is_null()).await;
    assert_eq!(status()["sessions"], 0);
    drop(to_old);
    all_is_well(&old, &mut clients, 1.0).await;
    signal_process(new.id().unwrap(), Signal::TERM);
    soon("its end", new.wait()).await.unwrap();
    for client in &mut clients {
        client.echo("and still here").await;
    }
}

/// What is renewed while another process decides whether it takes the session would be lost, and
/// its owner got another answer.
#[tokio::test]
async fn a_session_between_two_processes_is_not_renewed() {
    let backend = Backend::echo().await;
    let text = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\
         algorithms = [\"HS256\"]\n\n{}",
        config::echo(&[backend.address], "", "authenticate = [\"users\"]")
    );
    let gateway = Gateway::start_with_handover(&text).await;
    let bearer = format!("Bearer {}", token(&claims("ann")));
    let dial = Dial::new("/").header("authorization", &bearer);
    let mut client = dial.connect(gateway.address()).await.expect("a session");
    client.echo("before").await;
    let id = gateway.sessions()[0]["id"].as_str().unwrap().to_owned();
    let body = r#"{"expires": "2999-01-01T00:00:00Z"}"#;
    let target = format!("/v1/sessions/{id}");
    // An operator who was connected before: new connections wait for the other process.
    let mut operator = StdUnixStream::connect(gateway.directory().join("admin.sock")).unwrap();
    let mut status = |method: &str, target: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        operator.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 16 * 1024];
        let read = operator.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    assert_eq!(status("GET", "/livez", ""), "200");
    let mut impostor = Impostor::serving(&gateway).await;
    assert_eq!(impostor.batch().await.len(), 1);
    assert_eq!(status("PATCH", &target, body), "409");
    drop(impostor);
    eventually("it is renewed where it stays", async || {
        gateway.admin("PATCH", &target, body).status == 200
    })
    .await;
    client.echo("after").await;
    client.close().await;
}

#[tokio::test]
async fn a_session_that_is_held_for_another_process_is_not_renewed_here() {
    let backend = Backend::echo().await;
    // It accepts every process, and patient ones when the test lets it.
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asking, going) = (Arc::clone(&asked), Arc::clone(&go));
    let service = Backend::scripted(move |mut stream| {
        let (asked, go) = (Arc::clone(&asking), Arc::clone(&going));
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.contains("authorization: patient") {
                    asked.notify_one();
                    go.notified().await;
                }
                let answer = "HTTP/1.1 200 OK\r\nx-auth-subject: ann\r\ncontent-length: 0\r\n\r\n";
                if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let decider = format!(
        "[authenticators.decider]\ntype = \"forward\"\nurl = \"http://{}/\"\n\
         timeout = \"15s\"\n\n",
        service.address
    );
    let route = "authenticate = [\"decider\"]\nrenew = \"/renew\"";
    let text = decider + &config::echo(&[backend.address], "", route);
    let gateway = Gateway::start_with_handover(&text).await;
    let dial = Dial::new("/").header("authorization", "me");
    let mut client = dial.connect(gateway.address()).await.unwrap();
    let renew = async |who: &str| {
        let mut raw = Raw::connect(gateway.address()).await;
        let fields = format!("host: a\r\nauthorization: {who}\r\ncontent-length: 0");
        raw.write(format!("POST /renew HTTP/1.1\r\n{fields}\r\n\r\n"))
            .await;
        raw
    };
    assert_eq!(renew("me").await.status().await, Some(200));
    // This one is judged while its session is held.
    let mut late = renew("patient").await;
    soon("it is being judged", asked.notified()).await;
    let mut impostor = Impostor::serving(&gateway).await;
    assert_eq!(impostor.batch().await.len(), 1);
    go.notify_one();
    // The next owner of the session would not learn of it.
    assert_eq!(late.status().await, Some(404));
    drop(impostor);
    eventually("it stays, and is renewed", async || {
        renew("me").await.status().await == Some(200)
    })
    .await;
    client.echo("still here").await;
    client.close().await;
}
