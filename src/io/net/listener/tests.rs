use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::accept::died_in_queue;
use super::*;
use crate::io::net::socket::Detached;

const OPTIONS: ListenOptions = ListenOptions {
    backlog: 16,
    reuse_port: false,
    keepalive: Some(Duration::from_secs(77)),
    mode: 0o600,
};

const OWNER: Owner = Owner::Admin;

fn bind(listen: &ListenAddr, options: ListenOptions) -> Result<Bound, BindError> {
    let listen = std::slice::from_ref(listen);
    bind_all(listen, options, &OWNER, &mut Inheritance::default()).map(|mut bound| bound.remove(0))
}

fn local() -> ListenAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn tcp(bound: &Bound) -> SocketAddr {
    match bound.address() {
        ListenAddr::Tcp(address) => *address,
        ListenAddr::Unix(path) => panic!("{} is no TCP address", path.display()),
    }
}

#[tokio::test]
async fn a_connection_comes_in_with_its_options_and_moves_to_another_thread() {
    let bound = bind(&local(), OPTIONS).expect("a free port");
    let mut client = std::net::TcpStream::connect(tcp(&bound)).expect("a listener");
    let mut acceptor = bound.start().expect("a runtime");
    let incoming = acceptor.accept().await.expect("a connection");
    assert_eq!(incoming.peer, client.local_addr().ok());

    let Detached::Tcp(stream) = &incoming.socket else {
        panic!("not TCP: {incoming:?}")
    };
    let options = SockRef::from(stream);
    assert!(options.tcp_nodelay().expect("an option"));
    assert_eq!(
        options.tcp_keepalive_time().expect("an option"),
        Duration::from_secs(77)
    );

    client.write_all(b"over").expect("a connection");
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut socket = incoming.socket.attach().expect("a runtime");
            let mut read = [0; 4];
            socket.read_exact(&mut read).await.expect("four bytes");
            socket.write_all(&read).await.expect("a connection");
        });
    });
    let mut back = [0; 4];
    client.read_exact(&mut back).expect("four bytes");
    assert_eq!(&back, b"over");
    other.join().expect("no panic");
}

#[test]
fn the_address_in_use_is_named() {
    let first = bind(&local(), OPTIONS).expect("a free port");
    let error = bind(first.address(), OPTIONS).expect_err("it is taken");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}", first.address())
    );
}

#[test]
fn any_v6_address_takes_v4_too_unless_v4_stands_beside_it() {
    let any: ListenAddr = "[::]:0".parse().expect("an address");
    let bound = bind(&any, OPTIONS).expect("a free port");
    let port = tcp(&bound).port();
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("the v6 socket takes v4");

    drop(bound);
    let both: Vec<ListenAddr> = [format!("0.0.0.0:{port}"), format!("[::]:{port}")]
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
    assert_eq!(
        bind_all(&both, OPTIONS, &OWNER, &mut Inheritance::default())
            .expect("both fit")
            .len(),
        2
    );
}

#[tokio::test]
async fn a_unix_listener_accepts_and_takes_its_file_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.sock");
    let bound = bind(&ListenAddr::Unix(path.clone()), OPTIONS).expect("a free path");
    let _client = UnixStream::connect(&path).expect("a listener");
    let mut acceptor = bound.start().expect("a runtime");
    let incoming = acceptor.accept().await.expect("a connection");
    assert!(incoming.peer.is_none() && matches!(incoming.socket, Detached::Unix(_)));
    drop(acceptor);
    assert!(!path.exists());
}

#[test]
fn a_unix_path_is_taken_from_the_dead_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.sock");
    let listen = ListenAddr::Unix(path.clone());

    let living = UnixListener::bind(&path).expect("a free path");
    assert!(matches!(bind(&listen, OPTIONS), Err(BindError::Alive(_))));
    drop(living);
    assert!(path.exists(), "std leaves its file behind");
    let bound = bind(&listen, OPTIONS).expect("the one before is dead");

    // Another process takes over under the same path: its file is not ours to remove.
    fs::remove_file(&path).expect("a file");
    let _next = UnixListener::bind(&path).expect("a free path");
    drop(bound);
    assert!(path.exists());

    let plain = directory.path().join("notes.txt");
    fs::write(&plain, "precious").expect("a directory");
    let error = bind(&ListenAddr::Unix(plain.clone()), OPTIONS).expect_err("it is a file");
    assert!(matches!(error, BindError::NotASocket(_)));
    assert!(plain.exists());
}

#[test]
fn only_errors_of_the_connection_itself_are_passed_over() {
    let check = |code: i32, passed_over: bool| {
        let error = io::Error::from_raw_os_error(code);
        assert_eq!(died_in_queue(&error), passed_over, "{error}");
    };
    const ECONNABORTED: i32 = 103;
    const EINTR: i32 = 4;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    for code in [ECONNABORTED, EINTR] {
        check(code, true);
    }
    for code in [ENFILE, EMFILE, ENOBUFS, ENOMEM] {
        check(code, false);
    }
}

#[tokio::test]
async fn a_failed_accept_is_reported_and_delays_the_next_one() {
    let mut bound = bind(&local(), OPTIONS).expect("a free port");
    let address = tcp(&bound);
    // Accepting on a socket that does not listen fails each time, as it does without descriptors.
    let deaf = RawSocket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listening = std::mem::replace(&mut bound.socket, deaf);
    let mut acceptor = bound.start().expect("a runtime");
    let pauses = [
        acceptor.accept().await.expect_err("it is deaf").pause,
        acceptor.accept().await.expect_err("it is deaf").pause,
    ];
    assert!(
        pauses[0] <= Duration::from_millis(10) && pauses[0] < pauses[1],
        "{pauses:?}"
    );
    assert!(acceptor.resume.is_some());
    assert_eq!(
        listening.local_addr().expect("bound").as_socket(),
        Some(address)
    );
}

#[tokio::test]
async fn an_inherited_socket_brings_its_queue_and_goes_to_whom_it_is_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = ListenAddr::Unix(directory.path().join("s"));
    let before = [
        bind(&local(), OPTIONS).expect("a free port"),
        bind(&path, OPTIONS).expect("a free path"),
    ];
    let mut queued = std::net::TcpStream::connect(tcp(&before[0])).expect("a listener");
    let mut inheritance = Inheritance::default();
    for bound in &before {
        let descriptor = bound.as_fd().try_clone_to_owned().expect("descriptors");
        let left = InheritedSocket::new(OWNER, bound.asked().clone(), descriptor);
        inheritance.add(left.expect("it listens"));
        bound.give_away();
    }
    let same = tcp(&before[0]);
    let third = before[1].as_fd().try_clone_to_owned().expect("descriptors");
    drop(before);

    let stranger = Owner::Handover;
    let asked = [local(), "127.0.0.1:1".parse().expect("an address")];
    assert!(
        inheritance.take(&stranger, &asked[0]).is_none(),
        "a port of the system's choice"
    );
    assert!(inheritance.take(&OWNER, &asked[1]).is_none());
    let bound = bind_all(&[local(), path.clone()], OPTIONS, &OWNER, &mut inheritance);
    let mut bound = bound.expect("nothing has to be bound");
    assert!(inheritance.is_empty());
    assert!(
        directory.path().join("s").exists(),
        "its previous owner did not remove it"
    );
    drop(bound.pop());
    assert!(
        directory.path().join("s").exists(),
        "it is not ours for good yet"
    );
    let left = InheritedSocket::new(OWNER, path.clone(), third);
    inheritance.add(left.expect("it listens"));
    let kept = bind_all(&[path], OPTIONS, &OWNER, &mut inheritance).expect("nothing to bind");
    kept[0].keep_file();
    drop(kept);
    assert!(
        !directory.path().join("s").exists(),
        "it is ours to remove now"
    );
    let bound = bound.pop().expect("the other one");
    assert_eq!(tcp(&bound), same);
    let mut acceptor = bound.start().expect("a runtime");
    let incoming = acceptor.accept().await.expect("who was in the queue");
    let mut socket = incoming.socket.attach().expect("a runtime");
    queued.write_all(b"hi").expect("a connection");
    let mut read = [0; 2];
    socket.read_exact(&mut read).await.expect("two bytes");
}

#[test]
fn what_does_not_listen_there_is_not_inherited() {
    let bound = bind(&local(), OPTIONS).expect("a free port");
    let descriptor = || bound.as_fd().try_clone_to_owned().expect("descriptors");
    let elsewhere = "127.0.0.2:0".parse().expect("an address");
    assert!(InheritedSocket::new(OWNER, elsewhere, descriptor()).is_err());
    let path = ListenAddr::Unix("/run/s".into());
    assert!(InheritedSocket::new(OWNER, path, descriptor()).is_err());
    let connected = std::net::TcpStream::connect(tcp(&bound)).expect("a listener");
    assert!(InheritedSocket::new(OWNER, local(), connected.into()).is_err());
    assert!(InheritedSocket::new(OWNER, local(), descriptor()).is_ok());
}
