//! What a function route is for everything around it: other requests, reloads, the admin API.

use super::*;

#[tokio::test]
async fn a_route_with_a_function_takes_sessions_only() {
    let world = World::start("").await;
    let answer = http::get(world.gateway.address(), "/chat?name=ann", &[]).await;
    assert_eq!(answer.status, 426);
    let routes = world.gateway.get("/v1/routes");
    let route = &routes["items"][0];
    assert_eq!(
        (&route["function"], &route["upstream"]),
        (&json!("chat"), &Value::Null)
    );
    assert!(world.events().await.is_empty());
}

/// A live session calls the function as it is configured now.
#[tokio::test]
async fn i1_a_reload_changes_the_function_of_live_sessions() {
    let world = World::start("").await;
    let mut client = world.enter("ann").await;
    client.send("one").await;
    assert_eq!(client.receive_text().await, "what is one?");
    let path = world.gateway.config_path();
    let text = std::fs::read_to_string(&path).expect("a file");
    let plain = format!("http://{}/plain", world.function.address);
    let old = format!("http://{}{INVOKE}", world.function.address);
    std::fs::write(&path, text.replace(&old, &plain)).expect("a file");
    assert_eq!(world.gateway.reload().status, 200);
    client.send("two").await;
    assert_eq!(client.receive_text().await, "plain words");
    // Without the function the session lives on, and its client is told.
    let text = text.replace("function = \"chat\"", "redirect = { scheme = \"https\" }");
    let (before, after) = text.split_once("[functions.chat]").expect("a function");
    let (_, after) = after.split_once("[[routes]]").expect("a route");
    std::fs::write(&path, format!("{before}[[routes]]{after}")).expect("a file");
    assert_eq!(world.gateway.reload().status, 200);
    client.send("three").await;
    let text: Value = serde_json::from_str(&client.receive_text().await).expect("JSON");
    assert_eq!(text["message"], "Internal server error");
}

/// A secret of the function is nowhere to be seen.
#[tokio::test]
async fn i11_the_key_of_a_function_is_not_shown() {
    let world = World::start("").await;
    drop(world.enter("ann").await);
    world.gateway.wait_for_records(1).await;
    let shown = world.gateway.admin("GET", "/v1/config", "").body;
    assert!(shown.contains("AKIDEXAMPLE"), "{shown}");
    for text in [shown, world.gateway.log()] {
        assert!(!text.contains("secret-of-the-function"), "{text}");
    }
}
