//! Pings of the gateway's own: who is silent is asked, the answers stay with the gateway, and who
//! does not answer is lost.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::backend::{upgrade, wait_for_end};
use crate::support::peers::{Language, Server};
use crate::support::raw::{Raw, masked, unmasked};
use crate::support::{Backend, Client, Gateway, config, eventually, soon};

fn keepalive(to: &str) -> String {
    format!("keepalive = {{ interval = \"200ms\", timeout = \"2s\", to = \"{to}\" }}")
}

/// Never lost by a machine under load, and often asked.
const PATIENT: &str = "keepalive = { interval = \"200ms\", timeout = \"60s\", to = \"both\" }";

/// The next frame of the gateway's to a client: its first byte and its payload, of up to 125 bytes.
async fn frame(client: &mut Raw) -> (u8, Vec<u8>) {
    let head = client.read(2).await;
    (head[0], client.read(usize::from(head[1])).await)
}

#[tokio::test]
async fn i10_the_gateways_pongs_stay_with_it_and_all_others_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let route = "keepalive = { interval = \"200ms\", timeout = \"60s\" }";
    let gateway = Gateway::start(&config::echo(&[address], "", route)).await;
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        upgrade(&mut stream).await;
        let mut came = vec![0; 3 * 6 + 3 + 8 + 4];
        stream.read_exact(&mut came).await.unwrap();
        stream.write_all(&unmasked(0x82, b"ok")).await.unwrap();
        wait_for_end(&mut stream).await;
        came
    });
    let mut client = Raw::upgrade(gateway.address()).await;
    for _ in 0..3 {
        let (first, payload) = frame(&mut client).await;
        assert_eq!((first, payload.len()), (0x89, 8));
        // In two parts, so that it is put together before it is judged.
        let pong = masked(0x8A, &payload);
        client.write(&pong[..9]).await;
        client.write(&pong[9..]).await;
    }
    let (_, payload) = frame(&mut client).await;
    let frames = [
        masked(0x8A, b"own"),
        masked(0x8A, &payload),
        masked(0x8A, b"8 letter"),
        masked(0x81, b"text"),
    ];
    client.write(frames.concat()).await;
    let mut answer = frame(&mut client).await;
    while answer.0 == 0x89 {
        client.write(masked(0x8A, &answer.1)).await;
        answer = frame(&mut client).await;
    }
    assert_eq!(answer, (0x82, b"ok".to_vec()));
    drop(client);
    let passed = [&frames[0], &frames[2], &frames[3]]
        .map(Clone::clone)
        .concat();
    assert_eq!(backend.await.unwrap(), passed);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.to_backend.messages("pong"), 2, "those that passed");
    assert_eq!(
        record.to_client.messages("ping"),
        0,
        "none of the backend's"
    );
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_lost() {
    let backend = Backend::echo().await;
    let route = format!(
        "{}\ntimeouts = {{ close = \"300ms\" }}",
        keepalive("client")
    );
    let gateway = Gateway::start(&config::echo(&[backend.address], "", &route)).await;
    let start = Instant::now();
    // Open, and never read or written to again: what a half-open connection looks like.
    let client = Raw::upgrade(gateway.address()).await;
    let record = gateway.wait_for_records(1).await.remove(0);
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        (&*record.ended_by, &*record.cause, record.close_code),
        ("gateway", "keepalive_timeout", Some(3008))
    );
    eventually("its backend knows", async || backend.live() == 0).await;
    drop(client);
}

#[tokio::test]
async fn sessions_that_are_idle_live_while_both_sides_answer() {
    let (sender, mut pinged) = tokio::sync::mpsc::channel(16);
    let backend = Backend::scripted(move |mut stream| {
        let sender = sender.clone();
        async move {
            upgrade(&mut stream).await;
            // Its pings are answered and reported to the test; anything else ends it.
            loop {
                let mut frame = [0; 6 + 8];
                stream.read_exact(&mut frame).await.unwrap();
                if frame[..2] != [0x89, 0x88] {
                    assert_eq!(frame[..2], [0x81, 0x88]);
                    break;
                }
                let key = [frame[2], frame[3], frame[4], frame[5]];
                let payload = frame[6..].iter().zip(key.iter().cycle());
                let payload: Vec<u8> = payload.map(|(byte, key)| byte ^ key).collect();
                stream.write_all(&unmasked(0x8A, &payload)).await.unwrap();
                sender.send(()).await.unwrap();
            }
            let frames = [unmasked(0x81, b"still here"), unmasked(0x88, &[0x03, 0xE8])];
            stream.write_all(&frames.concat()).await.unwrap();
            wait_for_end(&mut stream).await;
        }
    })
    .await;
    let route = "keepalive = { interval = \"200ms\", timeout = \"3s\", to = \"both\" }";
    let gateway = Gateway::start(&config::echo(&[backend.address], "", route)).await;
    let mut client = Raw::upgrade(gateway.address()).await;
    // More often, and for longer, than a side that did not answer would live.
    let (mut to_client, mut to_backend) = (0, 0);
    let start = Instant::now();
    while to_client < 5 || to_backend < 5 || start.elapsed() < Duration::from_secs(4) {
        let (first, payload) = frame(&mut client).await;
        assert_eq!((first, payload.len()), (0x89, 8), "nothing but pings comes");
        client.write(masked(0x8A, &payload)).await;
        to_client += 1;
        while pinged.try_recv().is_ok() {
            to_backend += 1;
        }
    }
    client.write(masked(0x81, b"the word")).await;
    let mut answer = frame(&mut client).await;
    while answer.0 == 0x89 {
        client.write(masked(0x8A, &answer.1)).await;
        answer = frame(&mut client).await;
    }
    assert_eq!(answer, (0x81, b"still here".to_vec()));
    client.write(masked(0x88, &[0x03, 0xE8])).await;
    client.read_to_end().await;
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        record.to_client.messages("pong"),
        0,
        "the backend's stay here"
    );
    assert_eq!(
        record.to_backend.messages("pong"),
        0,
        "the client's stay here"
    );
}

#[tokio::test]
async fn pings_of_the_gateway_do_not_keep_an_idle_session_from_its_timeout() {
    let backend = Backend::echo().await;
    let route = format!("{PATIENT}\ntimeouts = {{ idle = \"1s\" }}");
    let gateway = Gateway::start(&config::echo(&[backend.address], "", &route)).await;
    let mut client = Raw::upgrade(gateway.address()).await;
    let (mut pings, mut next) = (0, frame(&mut client).await);
    while next.0 == 0x89 {
        client.write(masked(0x8A, &next.1)).await;
        pings += 1;
        next = frame(&mut client).await;
    }
    assert!(pings >= 2, "it was asked {pings} times in a second");
    assert_eq!((next.0, &next.1[..2]), (0x88, &3008_u16.to_be_bytes()[..]));
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(&*record.cause, "idle_timeout");
}

#[tokio::test]
async fn a_backend_that_answers_no_ping_is_lost() {
    let node = Server::start(Language::Node, "server", &[]);
    let gateway = Gateway::start(&config::echo(&[node.address], "", &keepalive("backend"))).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("before").await;
    node.signal(Signal::STOP);
    assert_eq!(client.end().await, Some((1011, "backend lost".to_owned())));
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.ended_by, &*record.cause),
        ("backend", "keepalive_timeout")
    );
    node.signal(Signal::CONT);
}

#[tokio::test]
async fn a_session_outlives_a_backend_that_hangs() {
    let node = Server::start(Language::Node, "server", &[]);
    let other = Backend::echo().await;
    let route = format!("on_backend_loss = \"reconnect\"\n{}", keepalive("backend"));
    let members = [node.address, other.address];
    let gateway = Gateway::start(&config::echo(&members, "", &route)).await;
    // Until one of them is with the node server.
    let mut clients = Vec::new();
    while gateway.backend("echo", node.address)["sessions"] == 0 {
        let target = format!("/?k={}", clients.len());
        clients.push(Client::connect(gateway.address(), &target).await);
    }
    let mut client = clients.pop().unwrap();
    client.echo("before").await;
    node.signal(Signal::STOP);
    soon("it goes on elsewhere", async {
        eventually("moved", async || {
            gateway
                .sessions()
                .iter()
                .any(|session| session["resumes"] == 1)
        })
        .await;
    })
    .await;
    client.echo("after").await;
    assert_eq!(client.backend().await, other.address);
    let seen = client.seen().await;
    assert_eq!(seen["headers"]["sessile-resume"], "1; reason=backend_lost");
    node.signal(Signal::CONT);
}
