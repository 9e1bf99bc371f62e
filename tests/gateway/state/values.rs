//! Values that something else has written under the names of the gateways.

use serde_json::json;

use super::*;

/// What is under one name is that client's loss alone.
#[tokio::test]
async fn i12_values_that_no_gateway_wrote_harm_no_other_client() {
    let (store, backend) = (StoreServer::start("redis").await, Backend::echo().await);
    let limit = (
        "",
        "",
        "limits = { sessions_per_address = 2, handshakes_per_address = \"1000/h\" }",
    );
    let one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    let client = session(&one, "203.0.113.7", "/").await.unwrap();
    for key in store.keys("sessile:rate:*") {
        store.redis(&format!("SET {key} text"));
    }
    for key in store.keys("sessile:sessions:*") {
        store.redis(&format!("DEL {key}"));
        store.redis(&format!("RPUSH {key} a b c"));
    }
    // Its keys are not to be used: each gateway counts it alone.
    let again = session(&two, "203.0.113.7", "/").await.unwrap();
    let third = session(&two, "203.0.113.7", "/").await.unwrap();
    assert_eq!(session(&two, "203.0.113.7", "/").await.err(), Some(429));
    assert!(decisions(&two, "sessions", "unavailable") >= 2.0);
    assert!(decisions(&two, "handshakes", "unavailable") >= 2.0);
    // All others count together.
    let first = session(&one, "203.0.113.8", "/").await.unwrap();
    let second = session(&two, "203.0.113.8", "/").await.unwrap();
    for gateway in [&one, &two] {
        assert_eq!(session(gateway, "203.0.113.8", "/").await.err(), Some(429));
        let state = &gateway.get("/v1/status")["state"];
        assert_eq!(
            (&state["connected"], &state["connects"]),
            (&json!(true), &json!(1)),
            "{state}"
        );
    }
    for client in [client, again, third, first, second] {
        client.close().await;
    }
}

/// Texts that look like a value, or not at all, mean nothing and are overwritten.
#[tokio::test]
async fn i12_a_value_of_another_form_is_overwritten() {
    let (store, backend) = (StoreServer::start("redis").await, Backend::echo().await);
    let limit = ("", "", "limits = { sessions_per_address = 2 }");
    let one = node("one", &store, &[&backend], limit).await;
    let client = session(&one, "203.0.113.7", "/").await.unwrap();
    let key = store.keys("sessile:sessions:*").pop().expect("a key");
    let value = store.redis(&format!("GET {key}"));
    let own = value
        .lines()
        .find(|line| line.ends_with(" 1"))
        .expect("a share");
    let own = own.split(' ').next().expect("a process").to_owned();
    client.close().await;
    one.wait_until_idle().await;
    for value in [
        "text",
        "sessile-2\\n0000000000000001 9",
        "sessile-1\\n1 9",
        "sessile-1\\n0000000000000001 0",
        "sessile-1\\n0000000000000001 09",
        "sessile-1\\n0000000000000001 99999999999",
        "sessile-1\\n000000000000000A 9",
        "sessile-1\\n0000000000000002 9\\n0000000000000001 9",
        "sessile-1\\n0000000000000001 9\\n0000000000000001 9",
        "sessile-1\\n0000000000000001 9\\n",
    ] {
        store.redis(&format!("SET {key} \"{value}\""));
        let first = session(&one, "203.0.113.7", "/").await.expect(value);
        let now = store.redis(&format!("GET {key}"));
        assert!(
            now.contains(&format!("\r\nsessile-1\n{own} 1\r\n")),
            "{value}: {now}"
        );
        let second = session(&one, "203.0.113.7", "/").await.expect(value);
        assert_eq!(session(&one, "203.0.113.7", "/").await.err(), Some(429));
        for client in [first, second] {
            client.close().await;
        }
        one.wait_until_idle().await;
    }
    // Those of others stay, each in its place.
    let (before, after) = ("0000000000000001 1", "ffffffffffffffff 1");
    store.redis(&format!("SET {key} \"sessile-1\\n{before}\\n{after}\""));
    assert_eq!(session(&one, "203.0.113.7", "/").await.err(), Some(429));
    let left = store.redis(&format!("GET {key}"));
    assert!(
        left.contains(&format!("sessile-1\n{before}\n{after}\r\n")),
        "{left}"
    );
}
