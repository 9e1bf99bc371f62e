//! Every kind of target, once for each session, whole and in order.

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::tokens::{SECRET, claims, token};

#[tokio::test]
async fn a_message_reaches_a_session_a_principal_a_group_a_route_and_everyone() {
    let backend = Backend::echo().await;
    let users = format!(
        "{PUBLISH}\n[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nalgorithms = [\"HS256\"]\n\
         [upstreams.echo]\n{}\n\
         [[routes]]\nname = \"rooms\"\npath = \"/rooms/{{room}}\"\nupstream = \"echo\"\ngroups = [\"path:room\"]\n\
         [[routes]]\nname = \"own\"\npath = \"/own\"\nupstream = \"echo\"\nauthenticate = [\"users\"]\n\
         groups = [{{ from = \"claim:teams\", prefix = \"team-\" }}]\n",
        config::members(&[backend.address])
    );
    let gateway = Gateway::start(&users).await;
    let (mut one, one_id) = enter(&gateway, "lobby").await;
    let (mut two, _) = enter(&gateway, "lobby").await;
    let mut ann = claims("ann");
    ann["teams"] = json!(["red", "blue"]);
    let ann = Dial::new("/own").header("authorization", &format!("Bearer {}", token(&ann)));
    let mut ann = ann.connect(gateway.address()).await.expect("a session");

    let send = |to: &[&str], text: &str| {
        let message = json!({ "to": to, "text": text });
        counts(&publish(&gateway, &message))
    };
    assert_eq!(send(&[&format!("session:{one_id}")], "1"), [1, 0, 0]);
    assert_eq!(one.receive_text().await, "1");
    assert_eq!(send(&["principal:ann"], "2"), [1, 0, 0]);
    assert_eq!(send(&["group:team-blue"], "3"), [1, 0, 0]);
    assert_eq!(
        (ann.receive_text().await, ann.receive_text().await),
        ("2".into(), "3".into())
    );
    assert_eq!(send(&["group:lobby"], "4"), [2, 0, 0]);
    assert_eq!(send(&["route:rooms"], "5"), [2, 0, 0]);
    assert_eq!(send(&["all"], "6"), [3, 0, 0]);
    assert_eq!(ann.receive_text().await, "6");
    for client in [&mut one, &mut two] {
        for expected in ["4", "5", "6"] {
            assert_eq!(client.receive_text().await, expected);
        }
    }
    assert_eq!(
        send(&["group:empty", "principal:nil", "route:nil"], "7"),
        [0, 0, 0]
    );
    // Several targets name some sessions twice.
    let lobby = [
        &*format!("session:{one_id}"),
        "group:lobby",
        "principal:ann",
        "route:own",
    ];
    assert_eq!(send(&lobby, "8"), [3, 0, 0]);
    let but_one = json!({ "to": ["all"], "except": ["principal:ann", format!("session:{one_id}")], "text": "9" });
    assert_eq!(counts(&publish(&gateway, &but_one)), [1, 0, 0]);
    assert_eq!(
        (two.receive_text().await, two.receive_text().await),
        ("8".into(), "9".into())
    );
    for client in [&mut one, &mut ann] {
        assert_eq!(client.receive_text().await, "8");
        client.echo("nothing else came").await;
    }
    for client in [one, two, ann] {
        client.close().await;
    }
}

#[tokio::test]
async fn text_and_binary_arrive_as_such_beside_compression_and_the_backend_gets_its_share() {
    let (gateway, backend) = gateway("").await;
    let (mut client, id) = enter(&gateway, "a").await;
    publish(&gateway, &json!({ "to": ["group:a"], "base64": "AAH/" }));
    assert_eq!(client.receive().await, Message::binary(vec![0, 1, 0xFF]));
    publish(
        &gateway,
        &json!({ "to": ["group:a"], "base64": "aGk=", "content_type": "text/plain" }),
    );
    assert_eq!(client.receive_text().await, "hi");
    // The backend takes it for a message of the client's, and echoes it.
    let before = backend.received();
    let answer = publish(
        &gateway,
        &json!({ "to": ["group:a"], "text": "for you", "side": "backend" }),
    );
    assert_eq!(counts(&answer), [1, 0, 0]);
    assert_eq!(client.receive_text().await, "for you");
    assert_eq!(backend.received() - before, "for you".len() as u64);
    let long = "x".repeat(60_000);
    publish(
        &gateway,
        &json!({ "to": [format!("session:{id}")], "text": long }),
    );
    assert_eq!(client.receive_text().await, long);
    client.close().await;
}

#[tokio::test]
async fn what_is_sent_twice_is_delivered_once_and_a_batch_keeps_its_order() {
    let (gateway, _backend) = gateway("").await;
    let (mut client, _) = enter(&gateway, "a").await;
    let message = json!({ "to": ["group:a"], "text": "once", "id": "m-1" });
    assert_eq!(publish(&gateway, &message)["duplicate"], false);
    let again = publish(&gateway, &message);
    assert_eq!(
        (&again["duplicate"], counts(&again)),
        (&json!(true), [0, 0, 0])
    );
    let mut batch: Vec<_> = (0..50)
        .map(|number| json!({ "to": ["group:a"], "text": number.to_string() }))
        .collect();
    batch.insert(25, json!({ "to": ["nobody"], "text": "x" }));
    let results = publish(&gateway, &json!(batch));
    let results = results["results"].as_array().expect("results");
    assert_eq!((results.len(), &results[25]["status"]), (51, &json!(400)));
    assert!(
        results[25]["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("nobody"))
    );
    assert_eq!(client.receive_text().await, "once");
    for number in 0..50 {
        assert_eq!(client.receive_text().await, number.to_string());
    }
    client.close().await;
}

/// A sender who is faster than the gateway delivers: messages of one publisher to one target keep
/// their order, on every session, while the backend talks too.
#[tokio::test]
async fn the_order_of_a_publisher_is_kept_beside_a_backend_that_talks() {
    let (gateway, _backend) = gateway("").await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(enter(&gateway, "a").await.0);
    }
    for client in &mut clients {
        client.send("from the backend").await;
    }
    for number in 0..100 {
        publish(
            &gateway,
            &json!({ "to": ["group:a"], "text": number.to_string() }),
        );
    }
    for mut client in clients {
        let mut numbers = Vec::new();
        let mut echoed = 0;
        while numbers.len() < 100 || echoed == 0 {
            match &*client.receive_text().await {
                "from the backend" => echoed += 1,
                number => numbers.push(number.parse::<u32>().expect("a number")),
            }
        }
        assert!(numbers.into_iter().eq(0..100) && echoed == 1);
        client.close().await;
    }
}
