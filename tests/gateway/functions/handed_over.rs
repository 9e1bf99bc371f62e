//! Sessions with a function outlive the process, and end once.

use rustix::process::Signal;

use super::*;

#[tokio::test]
async fn i1_sessions_go_to_the_next_process_with_what_the_function_knows_of_them() {
    let mut world = World::start_by("", true).await;
    let mut client = world.enter("ann").await;
    client.send("before").await;
    assert_eq!(client.receive_text().await, "what is before?");
    let new = world.gateway.succeed().await;
    client.send("after").await;
    assert_eq!(client.receive_text().await, "what is after?");
    world.gateway.wait_for_exit().await;
    world.gateway = new;
    client.close_with(1000, "").await;
    world.wait_for("$disconnect").await;
    let events = world.events().await;
    let ids: Vec<_> = events.iter().map(|one| &one["connectionId"]).collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]) && ids.len() == 4,
        "{events:?}"
    );
    assert_eq!(events[3]["connectedAt"], events[0]["connectedAt"]);
}

/// The answer comes to the process that has asked, so the hand-over waits for it.
#[tokio::test]
async fn i1_a_hand_over_waits_for_an_answer() {
    let mut world = World::start_by("", true).await;
    let mut client = world.enter("ann").await;
    client.send(action("hang")).await;
    world.wait_for("hang").await;
    let new = world.gateway.start_successor().await;
    // It has asked for the session once, and asks again.
    events(&world.function, "/release").await;
    assert_eq!(client.receive_text().await, "late");
    new.wait_until_taken_over().await;
    world.gateway.wait_for_exit().await;
    client.send("after").await;
    assert_eq!(client.receive_text().await, "what is after?");
    assert_eq!(new.sessions_live(), 1);
    drop(client);
}

/// Its next message waits for the next process.
#[tokio::test]
async fn i1_a_client_that_does_not_wait_for_replies_is_handed_over() {
    const MESSAGES: usize = 500;
    let mut world = World::start_by("", true).await;
    let mut client = world.enter("ann").await;
    for number in 0..MESSAGES {
        client.send(number.to_string()).await;
    }
    let new = world.gateway.succeed().await;
    world.gateway.wait_for_exit().await;
    for number in 0..MESSAGES {
        assert_eq!(client.receive_text().await, format!("what is {number}?"));
    }
    assert_eq!(new.sessions_live(), 1);
    drop(client);
}

#[tokio::test]
async fn the_function_gets_the_ends_of_a_shutdown() {
    let mut world = World::start("").await;
    let (ann, bob) = (world.enter("ann").await, world.enter("bob").await);
    world.gateway.signal(Signal::TERM);
    for mut client in [ann, bob] {
        assert_eq!(client.end().await.map(|(code, _)| code), Some(1001));
    }
    world.gateway.wait_for_exit().await;
    let events = world.events().await;
    let ends = events.iter().filter(|one| one["routeKey"] == "$disconnect");
    let codes: Vec<_> = ends.map(|one| &one["disconnectStatusCode"]).collect();
    assert_eq!(codes, [1001, 1001]);
}

/// The end of a session waits for its last message, and the shutdown for the end.
#[tokio::test]
async fn a_shutdown_waits_for_what_functions_have() {
    let mut world = World::start("").await;
    let mut client = world.enter("ann").await;
    client.send(action("hang")).await;
    world.wait_for("hang").await;
    world.gateway.signal(Signal::TERM);
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1001));
    drop(client);
    world.gateway.wait_for_records(1).await;
    events(&world.function, "/release").await;
    world.gateway.wait_for_exit().await;
    let last = world.events().await.pop().expect("an event");
    assert_eq!(last["routeKey"], "$disconnect");
}
