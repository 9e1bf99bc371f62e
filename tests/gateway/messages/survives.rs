//! Groups and messages through a hand-over and a reconnect.

use super::*;
use crate::support::certificates::Authority;
use crate::support::eventually;

#[tokio::test]
async fn i1_groups_and_queued_messages_go_along_in_a_hand_over() {
    let backend = Backend::echo().await;
    let text = rooms(
        &[backend.address],
        "message_queue = { messages = 1000, bytes = \"1 MiB\" }",
    );
    let mut old = Gateway::start_with_handover(&text).await;
    let (mut client, id) = enter(&old, "a").await;
    let place = format!("/v1/groups/vip/sessions/{id}?ttl=1h");
    assert_eq!(call(&old, "PUT", &place, &Value::Null).status, 200);
    let slow = Dial::new("/rooms/slow").receive_buffer(4096);
    let mut slow = slow.connect(old.address()).await.expect("a session");
    let mut sent = 0;
    loop {
        let text = format!("{sent}:{}", "x".repeat(8192));
        let answer = publish(&old, &json!({ "to": ["group:slow"], "text": text }));
        sent += 1;
        if counts(&answer)[1] > 0 && sent % 10 == 0 {
            break;
        }
    }
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success());
    for group in ["a", "vip"] {
        let message = json!({ "to": [format!("group:{group}")], "text": group });
        assert_eq!(counts(&publish(&new, &message)), [1, 0, 0], "{group}");
        assert_eq!(client.receive_text().await, group);
    }
    publish(&new, &json!({ "to": ["group:slow"], "text": "last:" }));
    for expected in 0..sent {
        let text = slow.receive_text().await;
        assert!(text.starts_with(&format!("{expected}:")), "{expected}");
    }
    assert_eq!(slow.receive_text().await, "last:");
    client.close().await;
    slow.close().await;
}

#[tokio::test]
async fn a_session_that_reconnects_keeps_its_groups_and_gets_its_messages() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let text = rooms(
        &[first.address, second.address],
        "on_backend_loss = \"reconnect\"",
    );
    let gateway = Gateway::start(&text).await;
    let (mut client, _) = enter(&gateway, "a").await;
    client.echo("here").await;
    let (lost, left) = match first.live() {
        0 => (second, first),
        _ => (first, second),
    };
    lost.stop().await;
    publish(&gateway, &json!({ "to": ["group:a"], "text": "meanwhile" }));
    assert_eq!(client.receive_text().await, "meanwhile");
    eventually("the other backend has it", async || left.live() == 1).await;
    publish(&gateway, &json!({ "to": ["group:a"], "text": "after" }));
    assert_eq!(client.receive_text().await, "after");
    client.echo("there").await;
    client.close().await;
}

/// A session that cannot be handed over stays with the process before; a caller who asks the new
/// one must not take it for gone.
#[tokio::test]
async fn i1_sessions_that_stay_with_the_process_before_are_not_said_to_be_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let backend = Backend::echo().await;
    let text = format!(
        "# node: tls_records = \"rustls\"\n[shutdown]\ngrace = \"5m\"\n\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n{}",
        rooms(&[backend.address], "")
    );
    let mut old = Gateway::start_with_handover_in(directory, &text).await;
    let dial = Dial::new("/rooms/a").host("edge.test");
    let client = dial.connect_tls(old.address(), authority.client()).await;
    let mut client = client.expect("a session");
    let id = client.header("sessile-session").expect("an id").to_owned();
    let requests = [
        ("GET", format!("/@connections/{id}")),
        ("DELETE", format!("/@connections/{id}")),
        ("PUT", format!("/v1/groups/vip/sessions/{id}")),
        ("DELETE", format!("/v1/groups/vip/sessions/{id}")),
    ];
    let new = old.succeed().await;
    let statuses = || {
        let asked = requests.iter();
        let asked = asked.map(|(method, target)| call(&new, method, target, &Value::Null).status);
        asked.collect::<Vec<_>>()
    };
    assert_eq!(statuses(), [503; 4], "it lives");
    client.echo("as before").await;
    client.close().await;
    assert!(old.wait_for_exit().await.success());
    assert_eq!(statuses(), [410, 410, 404, 404], "now it is gone");
}

/// A publisher that repeats a message does not know that another process has taken over.
#[tokio::test]
async fn i1_a_message_is_known_by_its_id_after_a_hand_over() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&rooms(&[backend.address], "")).await;
    let (mut client, _) = enter(&gateway, "a").await;
    let message = json!({ "to": ["group:a"], "text": "once", "id": "m-1" });
    assert_eq!(publish(&gateway, &message)["duplicate"], false);
    assert_eq!(client.receive_text().await, "once");
    for _ in 0..2 {
        let next = gateway.succeed().await;
        assert!(gateway.wait_for_exit().await.success());
        gateway = next;
        assert_eq!(publish(&gateway, &message)["duplicate"], true);
    }
    publish(
        &gateway,
        &json!({ "to": ["group:a"], "text": "next", "id": "m-2" }),
    );
    assert_eq!(client.receive_text().await, "next");
    client.close().await;
}
