//! Who is in which group: by the route, by the backend's 101, by the API.

use super::*;
use crate::support::backend::{read_head, switching, wait_for_end};
use crate::support::eventually;
use tokio::io::AsyncWriteExt as _;

pub(super) fn members(gateway: &Gateway, group: &str) -> Vec<String> {
    let answer = call(gateway, "GET", &format!("/v1/groups/{group}"), &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let items = answer.json();
    let items = items["items"].as_array().expect("items");
    items
        .iter()
        .map(|one| one["session"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn sessions_join_and_leave_by_the_api_and_with_a_time_to_live() {
    let (gateway, _backend) = gateway("").await;
    let (mut client, id) = enter(&gateway, "a").await;
    let place = format!("/v1/groups/vip/sessions/{id}");
    let change = |method: &str, target: &str| {
        let answer = call(&gateway, method, target, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["changed"].as_bool().expect("changed")
    };
    assert!(members(&gateway, "vip").is_empty());
    assert!(change("PUT", &place) && !change("PUT", &place));
    assert_eq!(members(&gateway, "vip"), [&*id]);
    let sent = publish(&gateway, &json!({ "to": ["group:vip"], "text": "in" }));
    assert_eq!(counts(&sent), [1, 0, 0]);
    assert_eq!(client.receive_text().await, "in");
    assert!(change("DELETE", &place) && !change("DELETE", &place));
    let sent = publish(&gateway, &json!({ "to": ["group:vip"], "text": "out" }));
    assert_eq!(counts(&sent), [0, 0, 0]);
    assert!(change("PUT", &format!("{place}?ttl=300ms")));
    eventually("the membership ends", async || {
        members(&gateway, "vip").is_empty()
    })
    .await;
    assert_eq!(members(&gateway, "a"), [&*id], "that of the route stays");

    let gone = call(
        &gateway,
        "PUT",
        "/v1/groups/vip/sessions/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        &Value::Null,
    );
    assert_eq!(gone.status, 404);
    let nonsense = call(&gateway, "PUT", "/v1/groups/vip/sessions/x", &Value::Null);
    assert_eq!(nonsense.status, 400);
    client.close().await;
    eventually("the group is empty", async || {
        members(&gateway, "a").is_empty()
    })
    .await;
}

#[tokio::test]
async fn members_are_listed_page_by_page_over_all_workers() {
    let (gateway, _backend) = gateway("").await;
    let mut clients = Vec::new();
    for _ in 0..7 {
        clients.push(enter(&gateway, "a").await);
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("/v1/groups/a?limit=3{cursor}");
        let page = call(&gateway, "GET", &target, &Value::Null).json();
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 3);
        listed.extend(
            items
                .iter()
                .map(|one| one["session"].as_str().expect("an id").to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut ids: Vec<_> = clients.iter().map(|(_, id)| id.clone()).collect();
    ids.sort_unstable();
    assert_eq!(listed, ids);
    for (client, _) in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn a_backend_puts_its_sessions_in_groups_and_clients_do_not_see_that() {
    let backend = Backend::scripted(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer =
            switching(&head).replace("\r\n\r\n", "\r\nSessile-Groups: lobby, team 7\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("a client");
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = Gateway::start(&rooms(&[backend.address], "")).await;
    let (mut client, id) = enter(&gateway, "a").await;
    assert_eq!(client.header("sessile-groups"), None);
    for group in ["a", "lobby", "team%207"] {
        assert_eq!(members(&gateway, group), [&*id], "{group}");
    }
    let sent = publish(&gateway, &json!({ "to": ["group:team 7"], "text": "hi" }));
    assert_eq!(counts(&sent), [1, 0, 0]);
    assert_eq!(client.receive_text().await, "hi");
    drop(client);
}

#[tokio::test]
async fn i8_groups_of_a_session_are_bounded() {
    let backend = Backend::echo().await;
    let text = rooms(&[backend.address], "");
    let text = text.replace("[publish]\n", "[publish]\ngroups_per_session = 2\n");
    let gateway = Gateway::start(&text).await;
    let (client, id) = enter(&gateway, "a").await;
    let join = |group: &str| {
        call(
            &gateway,
            "PUT",
            &format!("/v1/groups/{group}/sessions/{id}"),
            &Value::Null,
        )
        .status
    };
    assert_eq!((join("b"), join("c"), join("b")), (200, 409, 200));
    client.close().await;
}
