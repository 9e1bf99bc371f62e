//! `events.persist`: what happened outlives the process, through a restart and through a hand-over.
//! Without it, each process begins with nothing.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::events::EventStream;
use crate::support::{Backend, Client, Gateway, config, eventually, http};

const PERSIST: &str = "[events]\npersist = true\n";

fn kept(backend: &Backend) -> String {
    format!(
        "{PERSIST}{}",
        config::echo(&[backend.address], "", "path = \"/ws\"")
    )
}

fn folder(gateway: &Gateway) -> PathBuf {
    gateway.directory().join("state/events")
}

async fn follow(gateway: &Gateway, last: Option<&str>) -> EventStream {
    let socket = gateway.directory().join("admin.sock");
    EventStream::open(&socket, "/v1/events", last).await
}

/// The events of a page, the newest first.
fn items(gateway: &Gateway, target: &str) -> Vec<Value> {
    let page = gateway.get(target);
    page["items"].as_array().expect("a list").clone()
}

/// A request that is refused, then a session that is kicked.
async fn past(gateway: &Gateway) {
    let refused = http::get(gateway.address(), "/elsewhere", &[]).await;
    assert_eq!(refused.status, 404);
    let mut client = Client::connect(gateway.address(), "/ws").await;
    let id = client.session_id().await;
    let kick = format!("/v1/sessions/{id}?reason=test%20at%203");
    assert_eq!(gateway.admin("DELETE", &kick, "").status, 202);
    client.end().await.expect("a close frame");
    for target in ["/v1/sessions/ended", "/v1/refusals"] {
        eventually(target, async || !items(gateway, target).is_empty()).await;
    }
}

/// The process ends, and another one starts in its place.
async fn restart(gateway: &mut Gateway) -> Gateway {
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    gateway.start_successor().await
}

/// The number in an event's id.
fn number(event: &Value) -> u64 {
    let id = event["id"].as_str().expect("an id");
    let (_, number) = id.split_once('-').expect("two parts");
    number.parse().expect("a number")
}

#[tokio::test]
async fn what_happened_survives_a_restart_with_its_ids_and_a_stream_goes_on() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&kept(&backend)).await;
    let mut stream = follow(&gateway, None).await;
    past(&gateway).await;
    stream.next_of("session_ended").await;
    let last = stream.last_id.clone();
    let before = ["/v1/sessions/ended", "/v1/refusals", "/v1/history"];
    let before = before.map(|target| (target, items(&gateway, target)));
    let mut next = restart(&mut gateway).await;
    for (target, before) in &before {
        let after = items(&next, target);
        assert!(after.ends_with(before), "{target}: {after:#?}");
    }
    let ended = &items(&next, "/v1/sessions/ended?cause=kicked&operator=local")[0];
    assert_eq!(
        (&ended["reason"], &ended["close_code"]),
        (&json!("test at 3"), &json!(1008))
    );
    // The page before the restart leads to the page after it.
    let page = next.get("/v1/history?limit=1");
    let older = page["next"].as_str().expect("there are more");
    let older = items(&next, &format!("/v1/history?limit=1000&cursor={older}"));
    let all = items(&next, "/v1/history");
    assert_eq!(older, all[1..]);
    let numbers: Vec<_> = all.iter().map(number).collect();
    assert!(
        numbers.is_sorted_by(|newer, older| newer > older),
        "{numbers:?}"
    );
    // A client of the old process gets what it has not had: its end, and the new one's begin.
    let mut again = follow(&next, last.as_deref()).await;
    for kind in ["node_stopping", "node_started", "node_ready"] {
        let sent = again.next().await.expect("an event");
        assert_eq!((&sent.name, &sent.data["kind"]), (&None, &json!(kind)));
    }
    // A line that a crash has torn is lost, and no other.
    let files = fs::read_dir(folder(&next)).expect("a folder");
    for file in files {
        let path = file.expect("a file").path();
        let mut file = OpenOptions::new()
            .append(true)
            .open(path)
            .expect("it opens");
        file.write_all(b"{\"id\":\"0123456789abcdef-7\",\"ti")
            .expect("it is written");
    }
    let last = restart(&mut next).await;
    assert!(items(&last, "/v1/history").ends_with(&all));
    assert_eq!(items(&last, "/v1/sessions/ended"), before[0].1);
    past(&last).await;
    assert_eq!(
        last.metric("sessile_events_unwritten_total", &["class=\"changes\""]),
        0.0
    );
}

#[tokio::test]
async fn what_happened_goes_on_through_a_hand_over_with_each_event_once() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&kept(&backend)).await;
    let mut stays = Client::connect(gateway.address(), "/ws").await;
    let id = stays.session_id().await;
    let mut stream = follow(&gateway, None).await;
    past(&gateway).await;
    stream.next_of("session_ended").await;
    let last = stream.last_id.clone();
    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    // The old process wrote its end after the new one had read the file.
    eventually("the end of the old process", async || {
        !items(&next, "/v1/history?kind=node_stopping").is_empty()
    })
    .await;
    let kick = format!("/v1/sessions/{id}");
    assert_eq!(next.admin("DELETE", &kick, "").status, 202);
    stays.end().await.expect("a close frame");
    let mut again = follow(&next, last.as_deref()).await;
    let (mut ids, mut kinds) = (BTreeSet::new(), Vec::new());
    loop {
        let sent = again.next().await.expect("an event");
        assert_eq!(sent.name, None, "nothing is missing: {:#}", sent.data);
        assert!(
            ids.insert(sent.data["id"].to_string()),
            "twice: {:#}",
            sent.data
        );
        kinds.push(sent.data["kind"].as_str().expect("a kind").to_owned());
        if sent.data["kind"] == "session_ended" {
            assert_eq!(sent.data["session"], id);
            break;
        }
    }
    for kind in ["node_started", "node_stopping", "handover_done"] {
        assert_eq!(
            kinds.iter().filter(|one| *one == kind).count(),
            1,
            "{kinds:?}"
        );
    }
    let ended = items(&next, "/v1/sessions/ended?cause=kicked");
    assert_eq!(ended.len(), 2, "one of each process");
}

#[tokio::test]
async fn without_files_a_process_begins_with_nothing() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "path = \"/ws\"");
    let mut gateway = Gateway::start_with_handover(&text).await;
    past(&gateway).await;
    let mut next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert_eq!(items(&next, "/v1/sessions/ended"), Vec::<Value>::new());
    let last = restart(&mut next).await;
    let started = items(&last, "/v1/history?kind=node_started");
    assert_eq!(started.len(), 1);
    assert!(!folder(&last).exists());
    assert!(last.get("/v1/status")["event_files"].is_null());
}

#[tokio::test]
async fn a_disk_that_refuses_is_reported_and_stops_nothing() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&kept(&backend)).await;
    let finding = || {
        let found = items(&gateway, "/v1/findings").into_iter();
        let mut found = found.filter(|one| one["kind"] == "events_unwritten");
        found.next()
    };
    past(&gateway).await;
    assert_eq!(finding(), None);
    // Holds for root too, which permissions do not stop.
    fs::remove_dir_all(folder(&gateway)).expect("it goes");
    fs::write(folder(&gateway), "").expect("it is written");
    past(&gateway).await;
    eventually("the fault is found", async || finding().is_some()).await;
    let fault = || gateway.get("/v1/status")["event_files"]["fault"].clone();
    assert!(fault().is_string());
    let unwritten = || gateway.metric("sessile_events_unwritten_total", &["class=\"sessions\""]);
    eventually("it is counted", async || unwritten() > 0.0).await;
    let told = gateway.log().matches("events cannot be written").count();
    assert_eq!(told, 1, "{}", gateway.log());
    fs::remove_file(folder(&gateway)).expect("it goes");
    past(&gateway).await;
    eventually("the fault is over", async || fault().is_null()).await;
    assert!(gateway.log().contains("events are written again"));
    let detail = finding().expect("what is lost is lost")["detail"].clone();
    assert!(
        detail.as_str().expect("text").contains("since the start"),
        "{detail}"
    );
}

#[tokio::test]
async fn bounds_change_at_once_and_files_at_the_next_start() {
    let backend = Backend::echo().await;
    let text = kept(&backend);
    let mut gateway = Gateway::start_with_handover(&text).await;
    past(&gateway).await;
    gateway.write_config(&text.replacen(PERSIST, "[events]\nsessions = 1\n", 1));
    assert_eq!(gateway.reload().status, 200);
    let memory = || gateway.get("/v1/sessions/ended")["memory"]["sessions"].clone();
    assert_eq!(memory()["events"], 1);
    let status = gateway.get("/v1/status");
    assert_eq!(status["restart_pending"], json!(["events.persist"]));
    assert_eq!(
        gateway.get("/v1/config")["config"]["events"]["persist"],
        true
    );
    past(&gateway).await;
    let bytes = || gateway.get("/v1/status")["event_files"]["bytes"].clone();
    assert!(bytes().is_u64(), "it goes on to write");
    let next = restart(&mut gateway).await;
    assert!(next.get("/v1/status")["event_files"].is_null());
}
