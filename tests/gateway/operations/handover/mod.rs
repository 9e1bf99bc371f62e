//! One process takes the place of another, and no peer at the other end of a socket notices.

mod faults;
pub mod impostor;
mod state;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::support::backend::{read_head, switching, upgrade, wait_for_end};
use crate::support::certificates::Authority;
use crate::support::gateway::{command, signal_process};
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Client, Dial, Gateway, Raw, config, eventually, soon};

fn echo(backend: &Backend) -> String {
    config::echo(&[backend.address], "", "")
}

#[tokio::test]
async fn new_connections_are_never_refused_through_three_handovers_in_a_row() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let address = gateway.address();
    let done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let loops = (0..4).map(|_| {
        let (done, count) = (Arc::clone(&done), Arc::clone(&count));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let mut client = Client::connect(address, "/").await;
                client.echo("hello").await;
                client.close().await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let loops: Vec<_> = loops.collect();
    for _ in 0..3 {
        let before = count.load(Ordering::Relaxed);
        eventually("clients come in", async || {
            count.load(Ordering::Relaxed) > before + 20
        })
        .await;
        let next = gateway.succeed().await;
        assert_eq!(next.address(), address);
        assert_eq!(
            gateway.wait_for_exit().await.code(),
            Some(0),
            "{}",
            gateway.log()
        );
        assert_eq!(
            next.get("/v1/status")["taken_over"]["from_pid"],
            gateway.pid()
        );
        gateway = next;
    }
    done.store(true, Ordering::Relaxed);
    for task in loops {
        task.await.unwrap();
    }
    let mode = std::fs::metadata(gateway.door())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let sessions = count.load(Ordering::Relaxed);
    let records = gateway
        .wait_for_records(usize::try_from(sessions).unwrap())
        .await;
    assert!(records.iter().all(|record| record.cause == "close_frame"));
}

#[tokio::test]
async fn i6_sessions_go_on_and_each_leaves_one_record_over_three_processes() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = Vec::new();
    for index in 0..200 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={index}")).await;
        client.echo("before").await;
        let id = client.session_id().await;
        clients.push((client, id));
    }
    for round in 0..3 {
        let next = gateway.succeed().await;
        assert_eq!(
            gateway.wait_for_exit().await.code(),
            Some(0),
            "{}",
            gateway.log()
        );
        let status = next.get("/v1/status");
        assert_eq!(status["taken_over"]["sessions"], 200, "{status}");
        assert_eq!(status["sessions"], 200);
        for worker in status["workers"].as_array().unwrap() {
            assert_eq!(worker["sessions"], 100, "they are spread evenly: {status}");
        }
        assert_eq!(next.backend("echo", backend.address)["sessions"], 200);
        assert_eq!(next.metric("sessile_sessions", &["route=\"all\""]), 200.0);
        let came = ["direction=\"in\""];
        assert_eq!(next.metric("sessile_handover_sessions_total", &came), 200.0);
        for (client, id) in &mut clients {
            client.echo(&format!("round {round}")).await;
            assert_eq!(
                client.session_id().await,
                *id,
                "it is the same session to the backend"
            );
        }
        gateway = next;
    }
    let listed = gateway.sessions();
    for (client, id) in clients {
        let shown = listed.iter().find(|session| session["id"] == *id);
        let sent = &shown.expect("it is listed")["to_backend"]["text"];
        // `before` and an echo a round, and the question for its id each time.
        assert_eq!(*sent, 8, "counters go along");
        client.close().await;
    }
    let records = gateway.wait_for_records(200).await;
    for record in records {
        assert_eq!(record.to_backend.messages("text"), 8);
        assert_eq!(record.to_client.messages("text"), 8);
        assert_eq!(
            (record.ended_by.as_str(), record.cause.as_str()),
            ("client", "close_frame")
        );
    }
}

const BIG: usize = 10 << 20;

/// A frame of 10 MB, whose payload differs at every place.
fn big(mask: &[u8]) -> Vec<u8> {
    let length = if mask.is_empty() { 127 } else { 0x80 | 127 };
    let mut frame = vec![0x82, length];
    frame.extend((BIG as u64).to_be_bytes());
    frame.extend(mask);
    frame.extend((0..BIG).map(|at| (at * 31 + at / 251) as u8));
    frame
}

async fn hand_over(gateway: &mut Gateway) -> Gateway {
    let next = gateway.succeed().await;
    let status = gateway.wait_for_exit().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    next
}

#[tokio::test]
async fn i10_a_message_that_is_under_way_arrives_unchanged_in_either_direction() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    // Small enough that the gateway itself is left with bytes when the client does not read.
    let buffer = socket2::SockRef::from(&raw.stream).set_recv_buffer_size(64 * 1024);
    buffer.unwrap();
    let frame = big(&[0; 4]);
    // Inside the header, inside the payload, and right before its last byte.
    let mut at = 0;
    for to in [7, BIG / 2, frame.len() - 1] {
        raw.write(&frame[at..to]).await;
        at = to;
        gateway = hand_over(&mut gateway).await;
    }
    raw.write(&frame[at..]).await;
    // The echo fills every buffer on its way, those of the gateway too.
    let mut came = raw.read(1000).await;
    for _ in 0..2 {
        wait_until_still(&gateway).await;
        gateway = hand_over(&mut gateway).await;
        came.extend(raw.read(1000).await);
    }
    let wanted = big(&[]);
    came.extend(raw.read(wanted.len() - came.len()).await);
    assert!(came == wanted, "the echo differs");
    raw.write([0x88, 0x80, 0, 0, 0, 0]).await;
    assert_eq!(raw.read_to_end().await, [0x88, 0]);
    drop(raw);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.to_backend.bytes, frame.len() as u64 + 6);
    assert_eq!(record.to_client.bytes, wanted.len() as u64 + 2);
}

/// Waits until nothing moves in the only session, since a reader has stopped.
pub async fn wait_until_still(gateway: &Gateway) {
    let mut before = (0, 0);
    eventually("nothing moves any more", async || {
        let session = gateway.sessions().remove(0);
        let bytes = |way: &str| session[way]["bytes"].as_u64().unwrap();
        let now = (bytes("to_backend"), bytes("to_client"));
        std::mem::replace(&mut before, now) == now
    })
    .await;
}

#[tokio::test]
async fn i10_what_a_stopped_backend_has_not_taken_follows() {
    let go = Arc::new(Semaphore::new(0));
    let (reads, digest) = (Arc::clone(&go), Arc::new(std::sync::Mutex::new(Vec::new())));
    let taken = Arc::clone(&digest);
    let backend = Backend::scripted(move |mut stream: TcpStream| {
        let (reads, taken) = (Arc::clone(&reads), Arc::clone(&taken));
        async move {
            upgrade(&mut stream).await;
            reads.acquire().await.unwrap().forget();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.ok();
            *taken.lock().unwrap() = bytes;
        }
    })
    .await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    let frame = big(&[1, 2, 3, 4]);
    let sent = frame.clone();
    let writer = tokio::spawn(async move {
        raw.stream.write_all(&sent).await.unwrap();
        raw
    });
    for _ in 0..2 {
        wait_until_still(&gateway).await;
        gateway = hand_over(&mut gateway).await;
    }
    go.add_permits(1);
    let mut raw = soon("everything is written", writer).await.unwrap();
    raw.stream.shutdown().await.unwrap();
    eventually("all of it is there", async || {
        digest.lock().unwrap().len() >= frame.len()
    })
    .await;
    assert!(*digest.lock().unwrap() == frame, "what arrived differs");
    drop(raw);
    gateway.wait_for_records(1).await;
}

#[tokio::test]
async fn requests_and_handshakes_that_are_under_way_are_answered() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let backend = Backend::scripted(move |mut stream: TcpStream| {
        let wait = Arc::clone(&wait);
        async move {
            let head = read_head(&mut stream).await;
            wait.notified().await;
            if head.contains("pgrade: websocket") {
                stream.write_all(switching(&head).as_bytes()).await.ok();
                stream.write_all(b"\x81\x02hi").await.ok();
                wait_for_end(&mut stream).await;
            } else {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                stream.write_all(answer).await.ok();
            }
        }
    })
    .await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut session = Raw::connect(gateway.address()).await;
    session.write(UPGRADE).await;
    let mut request = Raw::connect(gateway.address()).await;
    request
        .write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    // One that has sent nothing yet, and one that has sent half of its request.
    let mut quiet = Raw::connect(gateway.address()).await;
    let mut half = Raw::connect(gateway.address()).await;
    half.write(&UPGRADE[..30]).await;
    eventually("both are with the backend", async || {
        backend.accepted() == 2
    })
    .await;
    eventually("all four are accepted", async || gateway.connections() == 4).await;
    let next = gateway.start_successor().await;
    eventually("the new one accepts", async || {
        gateway.log().contains("handing over")
    })
    .await;
    quiet.write(UPGRADE).await;
    half.write(&UPGRADE[30..]).await;
    eventually("all are with the backend", async || backend.accepted() == 4).await;
    go.notify_waiters();
    for raw in [&mut session, &mut quiet, &mut half] {
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(!head.to_lowercase().contains("close"), "{head}");
        assert_eq!(raw.read(4).await, b"\x81\x02hi");
    }
    let head = request.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert_eq!(request.read(2).await, b"hi");
    next.wait_until_taken_over().await;
    assert_eq!(
        gateway.wait_for_exit().await.code(),
        Some(0),
        "{}",
        gateway.log()
    );
    assert_eq!(next.sessions_live(), 3, "they followed");
    drop((session, quiet, half));
    next.wait_for_records(3).await;
}

/// Each with a word, and over a second at least.
async fn end_one_after_the_other(mut clients: Vec<Client>) {
    let end = async |client: &mut Client| (client.end().await, Instant::now());
    let ends = join_all(clients.iter_mut().map(end)).await;
    let times = ends.iter().map(|(_, at)| *at);
    let (first, last) = (times.clone().min().unwrap(), times.max().unwrap());
    assert!(last - first > Duration::from_secs(1), "all at once");
    for (end, _) in ends {
        let (code, reason) = end.expect("a close frame");
        assert_eq!((code, reason.is_empty()), (1001, false));
    }
}

#[tokio::test]
async fn sessions_whose_records_are_rustls_own_stay_and_end_at_the_pace_of_a_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let backend = Backend::echo().await;
    let text = format!(
        "# node: tls_records = \"rustls\"\n[shutdown]\ngrace = \"3s\"\n\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n\
         [[listeners]]\nname = \"plain\"\nlisten = [\"127.0.0.1:0\", \"unix:{}/edge.sock\"]\n\n{}",
        directory.path().display(),
        echo(&backend)
    );
    let mut gateway = Gateway::start_with_handover_in(directory, &text).await;
    let secure = async |gateway: &Gateway| {
        let dial = Dial::new("/").host("edge.test");
        let client = dial
            .connect_tls(gateway.address(), authority.client())
            .await;
        client.unwrap()
    };
    let mut staying = Vec::new();
    for _ in 0..10 {
        staying.push(secure(&gateway).await);
    }
    let path = gateway.directory().join("edge.sock");
    let mut going = vec![
        Client::connect(gateway.listener("plain"), "/").await,
        Dial::new("/").connect_unix(&path).await.unwrap(),
    ];
    for client in staying.iter_mut().chain(&mut going) {
        client.echo("before").await;
    }
    let next = gateway.succeed().await;
    let taken_over = &next.get("/v1/status")["taken_over"];
    assert_eq!(taken_over["sessions"], 2);
    assert_eq!(
        taken_over["staying"],
        serde_json::json!({ "tls_of_rustls": 10 })
    );
    let stayed = next.metric("sessile_predecessor_sessions", &["tls_of_rustls"]);
    assert_eq!(stayed, 10.0);
    for client in &mut going {
        client.echo("after").await;
    }
    let mut later = secure(&next).await;
    later.echo("the new process has the certificates").await;
    end_one_after_the_other(staying).await;
    assert_eq!(
        gateway.wait_for_exit().await.code(),
        Some(0),
        "{}",
        gateway.log()
    );
    later.close().await;
    for client in going {
        client.close().await;
    }
    let mut again = Dial::new("/").connect_unix(&path).await.unwrap();
    again
        .echo("the old process left the socket's file alone")
        .await;
    again.close().await;
    let records = next.wait_for_records(14).await;
    let ended = |cause: &str| {
        records
            .iter()
            .filter(|record| record.cause == cause)
            .count()
    };
    assert_eq!((ended("shutdown"), ended("close_frame")), (10, 4));
}

#[tokio::test]
async fn i7_sessions_with_tls_go_on_in_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let backend = Backend::echo().await;
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n{}",
        echo(&backend)
    );
    let mut gateway = Gateway::start_with_handover_in(directory, &text).await;
    let mut clients = Vec::new();
    for number in 0..12 {
        let versions: &[&rustls::SupportedProtocolVersion] = match number % 3 {
            0 => &[&rustls::version::TLS12],
            _ => &[&rustls::version::TLS13],
        };
        let dial = Dial::new("/").host("edge.test");
        let config = authority.client_of(versions);
        let mut client = dial.connect_tls(gateway.address(), config).await.unwrap();
        client.echo("before").await;
        clients.push(client);
    }
    for round in 0..3 {
        let next = gateway.succeed().await;
        let taken_over = &next.get("/v1/status")["taken_over"];
        assert_eq!(taken_over["sessions"], 12, "{taken_over}");
        assert_eq!(taken_over["staying"], serde_json::json!({}));
        assert_eq!(
            gateway.wait_for_exit().await.code(),
            Some(0),
            "{}",
            gateway.log()
        );
        gateway = next;
        for client in &mut clients {
            client.echo(&format!("after {round}")).await;
        }
    }
    for client in clients {
        client.close().await;
    }
    for record in gateway.wait_for_records(12).await {
        assert_eq!(record.cause, "close_frame");
    }
}

#[tokio::test]
async fn a_session_between_two_backends_finds_one_from_the_new_process() {
    let (going, other) = (Backend::echo().await, Backend::echo().await);
    let route =
        "on_backend_loss = \"reconnect\"\nreconnect = { timeout = \"60s\", attempts = 1000 }";
    let text = config::echo(
        &[going.address, other.address],
        "passive = { failures = 0 }",
        route,
    );
    let mut gateway = Gateway::start_with_handover(&text).await;
    let mut key = 0;
    let mut client = loop {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        if client.backend().await == going.address {
            break client;
        }
        client.close().await;
        key += 1;
    };
    let id = client.session_id().await;
    // The peer is gone.
    let (first, second) = (going.stop().await, other.stop().await);
    eventually("it is without a backend", async || {
        let state = gateway.backend("echo", first);
        state["sessions"] == 0
    })
    .await;
    client.send("held meanwhile").await;
    gateway = hand_over(&mut gateway).await;
    let back = Backend::echo_at(second).await;
    assert_eq!(client.receive_text().await, "held meanwhile");
    assert_eq!(client.backend().await, back.address);
    assert_eq!(client.session_id().await, id);
    let session = gateway.sessions().remove(0);
    assert_eq!(
        (&session["id"], &session["resumes"]),
        (&id.into(), &1.into())
    );
    client.close().await;
    let records = gateway.wait_for_records(key + 1).await;
    assert_eq!(records.last().map(|record| record.resumes), Some(1));
}

#[tokio::test]
async fn the_service_manager_is_notified_which_process_serves() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let path = gateway.directory().join("notify.sock");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let notices = async || {
        let mut bytes = [0; 256];
        let length = soon("a word", manager.recv(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut command = command(&gateway.config_path());
    command
        .arg("--take-over")
        .arg(gateway.door())
        .env("NOTIFY_SOCKET", &path);
    let mut next = command.spawn().unwrap();
    assert_eq!(notices().await, format!("MAINPID={}\nREADY=1\n", next.id()));
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    signal_process(next.id(), Signal::TERM);
    assert_eq!(notices().await, "STOPPING=1\n");
    let ended = tokio::task::spawn_blocking(move || next.wait());
    let ended = soon("its end", ended).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}
