//! A gateway is no backend of itself, by whatever name, and serves no request twice.

use std::fs;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http};

/// The upstream `echo` with this backend and the route `all`.
fn leading_to(backend: &str) -> String {
    format!(
        "[upstreams.echo]\nbackends = [\"{backend}\"]\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\n"
    )
}

#[tokio::test]
async fn i12_no_spelling_of_an_own_listener_is_dialled() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let port = gateway.address().port();
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "localhost",
        "0x7f.1",
    ] {
        gateway.write_config(&leading_to(&format!("{host}:{port}")));
        let reloaded = gateway.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.body);
        let answer = http::get(gateway.address(), "/", &[]).await;
        assert_eq!(answer.status, 502, "{host}: {}", answer.text());
    }
    let metrics = gateway.admin("GET", "/metrics", "").body;
    assert!(metrics.contains("reason=\"own_address\""), "{metrics}");
}

#[tokio::test]
async fn i12_no_client_comes_to_the_admin_api_by_a_route() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let socket = gateway.directory().join("admin.sock");
    let as_written = format!("unix:{}", socket.display());
    gateway.write_config(&leading_to(&as_written));
    let refused = gateway.reload();
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(
        refused.body.contains("the gateway itself listens"),
        "{}",
        refused.body
    );

    let link = gateway.directory().join("elsewhere.sock");
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    gateway.write_config(&leading_to(&format!("unix:{}", link.display())));
    assert_eq!(gateway.reload().status, 200);
    let answer = http::get(gateway.address(), "/v1/status", &[]).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
}

#[tokio::test]
async fn i12_no_spelling_of_the_hand_over_socket_is_dialled() {
    let backend = Backend::echo().await;
    let mut first = Gateway::start_with_handover(&config::echo(&[backend.address], "", "")).await;
    // The second process inherits the socket, which the first has bound.
    let gateway = first.succeed().await;
    first.wait_for_exit().await;
    drop(first);
    let door = gateway.door();
    let (directory, name) = (door.parent().unwrap(), door.file_name().unwrap());
    let inside = directory.join("inside");
    fs::create_dir(&inside).unwrap();
    let link = directory.join("link.sock");
    std::os::unix::fs::symlink(&door, &link).unwrap();
    for path in [door.clone(), link, inside.join("..").join(name)] {
        gateway.write_config(&leading_to(&format!("unix:{}", path.display())));
        let reloaded = gateway.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.body);
        let answer = http::get(gateway.address(), "/", &[]).await;
        assert_eq!(answer.status, 502, "{}", path.display());
    }
    let metrics = gateway.admin("GET", "/metrics", "").body;
    assert!(metrics.contains("reason=\"own_address\""), "{metrics}");
    // There is no other name for it.
    gateway.write_config(&leading_to("unix:\\u0000door"));
    let refused = gateway.reload();
    assert_eq!(refused.status, 422, "{}", refused.body);
}

/// Passes every connection on to `to`, byte by byte, as a load balancer or NAT does.
async fn passage(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

#[tokio::test]
async fn i12_a_request_that_comes_back_by_another_way_is_refused() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let way = passage(gateway.address()).await;
    gateway.write_config(&leading_to(&way.to_string()));
    assert_eq!(gateway.reload().status, 200);
    let answer = http::get(gateway.address(), "/", &[]).await;
    assert_eq!(answer.status, 508, "{}", answer.text());
    assert!(answer.text().contains("loop"), "{}", answer.text());
    let refused = Dial::new("/").connect(gateway.address()).await;
    assert_eq!(refused.err().expect("no session comes of it").status, 508);
    // One for the way there and one for the way back, each.
    let log = || fs::read_to_string(gateway.directory().join("access.log")).unwrap_or_default();
    eventually("every request has its record", async || {
        log().lines().count() >= 4
    })
    .await;
    assert_eq!(log().lines().count(), 4, "{}", log());
    assert_eq!(log().matches("\"loop\"").count(), 2, "{}", log());
}

#[tokio::test]
async fn two_gateways_in_a_row_are_no_loop() {
    let backend = Backend::echo().await;
    let inner = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let outer = Gateway::start(&config::echo(&[inner.address()], "", "")).await;
    Client::connect(outer.address(), "/")
        .await
        .echo("through both")
        .await;
}
