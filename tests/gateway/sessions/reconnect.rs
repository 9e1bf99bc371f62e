//! Sessions that outlive their backend: what the client sees (nothing), what the next backend sees,
//! what is lost and counted, and how it ends where no backend can go on.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::SinkExt as _;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::support::backend::{read_head, switching, upgrade, wait_for_end};
use crate::support::peers::{Language, Server, run_client};
use crate::support::raw::{Raw, UPGRADE, masked, unmasked};
use crate::support::time::is_held_up;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http, soon};

const RECONNECT: &str = "on_backend_loss = \"reconnect\"";
const NO_PASSIVE: &str = "passive = { failures = 0 }";

/// A gateway whose only route reconnects.
async fn start(backends: &[SocketAddr], route: &str) -> Gateway {
    let route = format!("{RECONNECT}\n{route}");
    Gateway::start(&config::echo(backends, NO_PASSIVE, &route)).await
}

/// A key whose place is this backend.
async fn key_of(gateway: &Gateway, backend: SocketAddr) -> String {
    for number in 0..200 {
        let key = number.to_string();
        let shown = gateway.admin(
            "POST",
            "/v1/resolve",
            &format!("{{\"url\":\"http://localhost/?k={key}\"}}"),
        );
        if shown.json()["choice"]["backend"] == backend.to_string() {
            return key;
        }
    }
    panic!("no key of 200 belongs to {backend}");
}

async fn connect(gateway: &Gateway, key: &str) -> Client {
    Client::connect(gateway.address(), &format!("/?k={key}")).await
}

/// Waits until no session is with this backend; what is sent from then on is not lost with it.
async fn wait_until_left(gateway: &Gateway, backend: SocketAddr) {
    eventually("the backend is left", async || {
        gateway.backend("echo", backend)["sessions"] == 0
    })
    .await;
}

/// A node server that can be killed, an echo that stays, and a session at the first.
struct Pair {
    mortal: Server,
    other: Backend,
    gateway: Gateway,
    key: String,
}

impl Pair {
    async fn start(route: &str) -> Self {
        let mortal = Server::start(Language::Node, "server", &[]);
        let other = Backend::echo().await;
        let gateway = start(&[mortal.address, other.address], route).await;
        let key = key_of(&gateway, mortal.address).await;
        Self {
            mortal,
            other,
            gateway,
            key,
        }
    }
}

#[tokio::test]
async fn i6_a_killed_backend_is_no_event_for_the_client() {
    let pair = Pair::start("").await;
    let mut client = connect(&pair.gateway, &pair.key).await;
    client.echo("before").await;
    assert_eq!(
        pair.gateway.backend("echo", pair.mortal.address)["sessions"],
        1
    );
    pair.mortal.signal(Signal::KILL);
    eventually("it has another backend", async || {
        pair.gateway.sessions()[0]["resumes"] == 1
    })
    .await;
    client.echo("after").await;
    assert_eq!(client.backend().await, pair.other.address);
    let seen = client.seen().await;
    assert_eq!(seen["target"], format!("/?k={}", pair.key));
    assert_eq!(seen["headers"]["sessile-resume"], "1; reason=backend_lost");
    let session = pair.gateway.sessions().remove(0);
    assert_eq!(seen["headers"]["sessile-session"], session["id"]);
    assert_eq!(session["backend"], pair.other.address.to_string());
    let query = format!("/v1/sessions?backend={}", pair.other.address);
    assert_eq!(pair.gateway.get(&query)["items"][0]["id"], session["id"]);
    let sessions = |address| pair.gateway.backend("echo", address)["sessions"].clone();
    assert_eq!(sessions(pair.mortal.address), 0);
    assert_eq!(sessions(pair.other.address), 1);
    assert_eq!(pair.gateway.metric("sessile_resumes_total", &[]), 1.0);
    client.close().await;
    let record = pair.gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.ended_by, record.close_code, record.resumes),
        ("client", Some(1000), 1)
    );
    assert_eq!(record.backend, pair.other.address.to_string());
    assert_eq!((record.messages_lost, record.bytes_lost), (0, 0));
}

#[tokio::test]
async fn a_backend_that_closes_with_1012_or_1001_is_answered_and_left() {
    for code in [1012, 1001] {
        let (going, other) = (Backend::echo().await, Backend::echo().await);
        let gateway = start(&[going.address, other.address], "").await;
        let key = key_of(&gateway, going.address).await;
        let mut client = connect(&gateway, &key).await;
        client.send(format!("!close {code} restart")).await;
        wait_until_left(&gateway, going.address).await;
        client.echo("at the next").await;
        assert_eq!(client.backend().await, other.address);
        let seen = client.seen().await;
        assert_eq!(
            seen["headers"]["sessile-resume"],
            "1; reason=backend_going_away"
        );
        eventually("its close was answered", async || {
            going.ends() == [Some((code, String::new()))]
        })
        .await;
        // The next one does the same.
        client.send(format!("!close {code} restart")).await;
        wait_until_left(&gateway, other.address).await;
        client.echo("where it was before").await;
        assert_eq!(client.backend().await, going.address);
        let seen = client.seen().await;
        assert_eq!(
            seen["headers"]["sessile-resume"],
            "2; reason=backend_going_away"
        );
        client.close().await;
        let record = gateway.wait_for_records(1).await.remove(0);
        assert_eq!((record.resumes, record.messages_lost), (2, 0));
    }
}

#[tokio::test]
async fn any_other_close_of_a_backend_is_the_end() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = start(&[backends[0].address, backends[1].address], "").await;
    for (code, reason) in [(1000, "done"), (1011, "broken"), (4001, "game over")] {
        let mut client = connect(&gateway, "1").await;
        client.send(format!("!close {code} {reason}")).await;
        assert_eq!(client.end().await, Some((code, reason.to_owned())));
    }
    let records = gateway.wait_for_records(3).await;
    assert!(records.iter().all(|record| record.resumes == 0));
}

#[tokio::test]
async fn without_another_backend_the_client_is_closed_in_time() {
    let backend = Backend::echo().await;
    let gateway = start(&[backend.address], "reconnect = { timeout = \"500ms\" }").await;
    let mut client = connect(&gateway, "1").await;
    client.echo("before").await;
    backend.stop().await;
    let (code, reason) = client.end().await.expect("a close frame");
    assert_eq!((code, &*reason), (1011, "backend lost"));
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.ended_by, "backend");
    assert!(matches!(&*record.cause, "disconnected" | "reset"));
    let failures = gateway.metric("sessile_resume_failures_total", &[]);
    assert_eq!(failures, 1.0);
}

#[tokio::test]
async fn a_backend_that_comes_back_in_time_has_its_session_again() {
    let backend = Backend::echo().await;
    let gateway = start(&[backend.address], "").await;
    let mut client = connect(&gateway, "1").await;
    client.echo("before").await;
    let address = backend.stop().await;
    wait_until_left(&gateway, address).await;
    for number in 0..10 {
        client.send(format!("meanwhile {number}")).await;
    }
    let _back = Backend::echo_at(address).await;
    for number in 0..10 {
        assert_eq!(client.receive_text().await, format!("meanwhile {number}"));
    }
    client.close().await;
}

/// Reads whole frames of a client that masks with zeros or anything, until the connection ends.
async fn collect(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    all
}

#[tokio::test]
async fn i10_frames_are_the_same_bytes_on_both_sides_of_a_move() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = start(&[address], "").await;
    let first = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        upgrade(&mut stream).await;
        stream.write_all(&unmasked(0x82, b"one")).await.unwrap();
        stream.read_exact(&mut [0; 9]).await.unwrap();
        stream.write_all(&unmasked(0x88, &[3, 244])).await.unwrap();
        drop(listener);
        collect(&mut stream).await
    });
    let mut client = Raw::upgrade(gateway.address()).await;
    assert_eq!(client.read(5).await, unmasked(0x82, b"one"));
    client.write(masked(0x82, b"abc")).await;
    let close_frame = first.await.unwrap();
    assert_eq!(
        (close_frame[0], close_frame.len()),
        (0x88, 8),
        "its close is answered"
    );
    wait_until_left(&gateway, address).await;
    // While there is no backend: a message in fragments with a ping between.
    let meanwhile = [
        masked(0x01, b"frag"),
        masked(0x89, b"ping"),
        masked(0x80, b"ment"),
        masked(0x8A, b"pong"),
    ]
    .concat();
    client.write(&meanwhile).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = soon("another handshake", listener.accept()).await.unwrap();
    upgrade(&mut stream).await;
    let mut came = vec![0; meanwhile.len()];
    stream.read_exact(&mut came).await.unwrap();
    assert_eq!(came, meanwhile);
    stream.write_all(&unmasked(0x82, b"two")).await.unwrap();
    assert_eq!(client.read(5).await, unmasked(0x82, b"two"));
    drop(client);
    wait_for_end(&mut stream).await;
}

#[tokio::test]
async fn a_message_that_a_lost_backend_had_begun_ends_the_session() {
    let backend = Backend::scripted(|mut stream| async move {
        upgrade(&mut stream).await;
        // The first fragment of a message that will never end.
        stream.write_all(&unmasked(0x01, b"half")).await.ok();
    })
    .await;
    let gateway = start(&[backend.address], "").await;
    let mut client = Raw::upgrade(gateway.address()).await;
    assert_eq!(client.read(6).await, unmasked(0x01, b"half"));
    let rest = client.read_to_end().await;
    assert_eq!(rest[0], 0x88, "a close frame may stand between fragments");
    assert_eq!(rest[2..4], [3, 243], "1011");
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!((&*record.ended_by, record.resumes), ("backend", 0));
}

#[tokio::test]
async fn a_message_that_the_client_had_begun_ends_the_session() {
    let begun = masked(0x81, b"never finished");
    let part = begun.len() - 4;
    let backend = Backend::scripted(move |mut stream| async move {
        upgrade(&mut stream).await;
        stream.read_exact(&mut vec![0; part]).await.ok();
    })
    .await;
    let gateway = start(&[backend.address], "").await;
    let mut client = Raw::upgrade(gateway.address()).await;
    client.write(&begun[..part]).await;
    let received = client.read_to_end().await;
    assert_eq!(
        (received[0], &received[2..4]),
        (0x88, &[3, 243][..]),
        "1011"
    );
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!((&*record.ended_by, record.resumes), ("backend", 0));
}

#[tokio::test]
async fn a_backend_that_takes_sessions_only_to_drop_them_is_not_asked_for_ever() {
    let backend = Backend::scripted(|mut stream| async move {
        upgrade(&mut stream).await;
        stream.write_all(&unmasked(0x88, &[3, 244])).await.ok();
        collect(&mut stream).await;
    })
    .await;
    let route = "reconnect = { attempts = 4 }";
    let gateway = start(&[backend.address], route).await;
    let mut client = connect(&gateway, "1").await;
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1012));
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert!((1..=4).contains(&record.resumes), "{record:?}");
    assert_eq!(
        (&*record.ended_by, &*record.cause),
        ("backend", "close_frame")
    );
}

#[tokio::test]
async fn terms_that_the_client_did_not_get_are_refused() {
    let first = Backend::echo().await;
    let gateway = start(&[first.address], "").await;
    let dial = Dial::new("/").header("sec-websocket-protocol", "chat.v1, chat.v2");
    let mut client = dial.connect(gateway.address()).await.unwrap();
    assert_eq!(client.header("sec-websocket-protocol"), Some("chat.v2"));
    client.echo("before").await;
    let address = first.stop().await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let second = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = switching(&read_head(&mut stream).await);
        let other = "\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n";
        let answer = answer.replace("\r\n\r\n", other);
        stream.write_all(answer.as_bytes()).await.unwrap();
        collect(&mut stream).await
    });
    let (code, reason) = client.end().await.expect("a close frame");
    assert_eq!(code, 1011);
    assert!(reason.contains("subprotocol"), "{reason}");
    let received = second.await.unwrap();
    assert_eq!(received[0], 0x88, "the backend gets one too");
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.ended_by, &*record.cause),
        ("gateway", "not_resumable")
    );
}

#[tokio::test]
async fn a_backend_that_will_not_have_the_client_ends_the_session() {
    let (going, strict) = (Backend::echo().await, Backend::echo().await);
    let gateway = start(&[going.address, strict.address], "").await;
    let key = key_of(&gateway, going.address).await;
    let mut client = connect(&gateway, &key).await;
    client.echo("before").await;
    strict.refuse_with(403);
    client.send("!close 1012").await;
    let (code, reason) = client.end().await.expect("a close frame");
    assert_eq!(code, 1012, "the code of the backend");
    assert!(reason.contains("403"), "{reason}");
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(&*record.cause, "not_resumable");
}

#[tokio::test]
async fn i8_what_is_held_without_a_backend_is_bounded() {
    let backend = Backend::echo().await;
    let route = "reconnect = { timeout = \"30s\", buffer_bytes = \"128 KiB\" }";
    let gateway = start(&[backend.address], route).await;
    let mut client = connect(&gateway, "1").await;
    client.echo("before").await;
    let before = gateway.memory_kib("VmRSS");
    let address = backend.stop().await;
    wait_until_left(&gateway, address).await;
    // 64 MiB, of which the client gets rid of no more than sockets and buffer take.
    let payload = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while !is_held_up(client.socket.send(Message::binary(payload.clone()))).await {
        sent += 1;
        assert!(sent < 1024, "the client was never held up");
    }
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    eprintln!("held up after {sent} messages of 64 KiB; the gateway grew by {grown} KiB");
    assert!(grown < 8 * 1024, "{grown} KiB for one client");
    assert_eq!(gateway.sessions()[0]["resumes"], 0);
    let _back = Backend::echo_at(address).await;
    for _ in 0..sent {
        assert_eq!(client.receive().await.len(), payload.len());
    }
    assert_eq!(gateway.sessions()[0]["messages_lost"], 0);
}

#[tokio::test]
async fn a_client_that_closes_without_a_backend_is_answered() {
    let backend = Backend::echo().await;
    let gateway = start(&[backend.address], "").await;
    let mut client = connect(&gateway, "1").await;
    client.echo("before").await;
    wait_until_left(&gateway, backend.stop().await).await;
    assert_eq!(
        client.close_with(4000, "bye").await.map(|(code, _)| code),
        Some(4000)
    );
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.ended_by, &*record.cause, record.close_code),
        ("client", "close_frame", Some(4000))
    );
}

#[tokio::test]
async fn an_operator_can_close_a_session_without_a_backend() {
    let backend = Backend::echo().await;
    let gateway = start(&[backend.address], "").await;
    let mut client = connect(&gateway, "1").await;
    client.echo("before").await;
    wait_until_left(&gateway, backend.stop().await).await;
    let id = gateway.sessions()[0]["id"].as_str().unwrap().to_owned();
    let answer = gateway.admin("DELETE", &format!("/v1/sessions/{id}?code=4002"), "");
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(client.end().await.map(|(code, _)| code), Some(4002));
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(&*record.cause, "kicked");
}

#[tokio::test]
async fn routes_that_do_not_ask_for_it_are_not_touched() {
    let (first, other) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[first.address, other.address], NO_PASSIVE, "");
    let gateway = Gateway::start(&text).await;
    let mut client = connect(&gateway, "1").await;
    client.send("!close 1012 restart").await;
    assert_eq!(client.end().await, Some((1012, "restart".to_owned())));
    drop(client);
    let _ = http::get(gateway.address(), "/", &[]).await;
}

/// Two servers of one library, which compress, and a client that does.
async fn compressed_sessions_move(language: Language) {
    let servers = [(); 2].map(|()| Server::start(language, "server", &[]));
    let gateway = start(&servers.each_ref().map(|server| server.address), "").await;
    let uri = format!("ws://{}/", gateway.address());
    let words = ["!restart", "!restart", "!die"];
    let arguments = std::iter::once(uri).chain(words.map(str::to_owned));
    run_client(Language::Python, "mover", arguments.collect()).await;
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!((&*record.ended_by, record.resumes), ("client", 3));
    assert_eq!(record.messages_lost, 0);
}

#[tokio::test]
async fn compressed_sessions_move_between_node_servers() {
    compressed_sessions_move(Language::Node).await;
}

#[tokio::test]
async fn compressed_sessions_move_between_python_servers() {
    compressed_sessions_move(Language::Python).await;
}

#[tokio::test]
async fn other_terms_of_compression_end_the_session() {
    // Node keeps the largest window, Python offers twelve bits.
    let servers = [
        Server::start(Language::Node, "server", &[]),
        Server::start(Language::Python, "server", &[]),
    ];
    let gateway = start(&servers.each_ref().map(|server| server.address), "").await;
    let mut client = Raw::connect(gateway.address()).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    client
        .write(UPGRADE.replacen("\r\n\r\n", &format!("\r\n{offer}"), 1))
        .await;
    let head = client.read_head().await;
    assert!(head.contains("client_no_context_takeover"), "{head}");
    client.write(masked(0x81, b"!restart")).await;
    let received = client.read_to_end().await;
    let reason = String::from_utf8_lossy(&received[4..]);
    assert_eq!(
        (received[0], &received[2..4]),
        (0x88, &[3, 244][..]),
        "1012"
    );
    assert!(reason.contains("other extensions"), "{reason}");
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(&*record.cause, "not_resumable");
}

/// A client that sends numbers and sees them come back, until it is stopped. What came back.
async fn count(mut client: Client, mut stop: tokio::sync::watch::Receiver<bool>) -> (usize, usize) {
    let (mut sent, mut came, mut last) = (0_usize, 0, None);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = pace.tick(), if !stopping => {
                client.send(format!("{sent}")).await;
                sent += 1;
            }
            () = async { stop.wait_for(|stop| *stop).await.map(drop).unwrap() }, if !stopping => {
                stopping = true;
                client.send("end").await;
            }
            text = client.receive_text() => {
                if text == "end" {
                    client.close().await;
                    return (sent, came);
                }
                let number: usize = text.parse().unwrap();
                assert!(last.is_none_or(|last| number > last), "{number} behind {last:?}");
                last = Some(number);
                came += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_deploy_of_all_backends_is_no_event_for_their_clients() {
    const CLIENTS: usize = 100;
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(Backend::echo().await);
    }
    let members: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let gateway = start(
        &members,
        "reconnect = { timeout = \"60s\", attempts = 200 }",
    )
    .await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for key in 0..CLIENTS {
        let client = connect(&gateway, &key.to_string()).await;
        clients.spawn(count(client, stopped.clone()));
    }
    for address in &members {
        // Its process dies; a little later there is another in its place.
        let place = backends
            .iter()
            .position(|backend| backend.address == *address);
        backends.remove(place.unwrap()).stop().await;
        wait_until_left(&gateway, *address).await;
        backends.push(Backend::echo_at(*address).await);
        eventually("all have a backend", async || {
            let sessions = |address: &SocketAddr| {
                gateway.backend("echo", *address)["sessions"]
                    .as_u64()
                    .unwrap()
            };
            members.iter().map(sessions).sum::<u64>() == CLIENTS as u64
        })
        .await;
    }
    stop.send(true).unwrap();
    let counts = soon("every client counts to its end", clients.join_all()).await;
    let (sent, came) = counts
        .iter()
        .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let records = gateway.wait_for_records(CLIENTS).await;
    let resumes: u32 = records.iter().map(|record| record.resumes).sum();
    eprintln!("{resumes} resumes, {} of {sent} echoes lost", sent - came);
    assert!(
        resumes as usize >= CLIENTS,
        "three deaths move every session about once"
    );
    assert!(records.iter().all(|record| record.ended_by == "client"));
}
