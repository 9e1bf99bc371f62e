//! The state directory: a start without one that can be written to is refused, and a directory that
//! stops being writable is reported until what could not be written has been written.

use std::fs;
use std::process::Command;

use crate::support::gateway::command;
use crate::support::{Gateway, config, eventually};

const ROUTE: &str = "[upstreams.u]\nbackends = [\"127.0.0.1:1\"]\n\n\
                     [[routes]]\nname = \"all\"\nupstream = \"u\"\n";

#[tokio::test]
async fn a_start_that_could_not_write_its_state_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    // Holds for root too, which no permission stops.
    fs::write(directory.path().join("state"), "").unwrap();
    let path = directory.path().join("gateway.toml");
    fs::write(&path, config::complete(ROUTE, directory.path())).unwrap();
    let ended = command(&path).output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{printed}");
    let state = directory.path().join("state").display().to_string();
    for part in [state.as_str(), "state_dir", "[node]"] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    assert!(!directory.path().join("admin.sock").exists());
}

#[tokio::test]
async fn what_could_not_be_written_is_reported_and_written_later() {
    let gateway = Gateway::start(ROUTE).await;
    let state = gateway.directory().join("state");
    let fault = || gateway.get("/v1/status")["state_dir"]["fault"].clone();
    assert!(fault().is_null());
    let shown = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
        let admin = format!("unix:{}/admin.sock", gateway.directory().display());
        let ran = command
            .args(["status", "--admin", &admin])
            .output()
            .unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(!shown().contains("CANNOT BE WRITTEN"), "{}", shown());

    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "").unwrap();
    eventually("status reports it", async || fault().is_string()).await;
    assert!(shown().contains("CANNOT BE WRITTEN"), "{}", shown());
    let body = "{\"subject\":\"ann\",\"ttl\":\"1h\"}";
    let revoked = gateway.admin("POST", "/v1/revocations", body);
    assert_eq!(revoked.status, 201, "{}", revoked.body);
    assert_eq!(revoked.json()["lasting"], false, "{}", revoked.body);

    fs::remove_file(&state).unwrap();
    eventually("it is written after all", async || {
        let kept = fs::read_to_string(state.join("revocations")).unwrap_or_default();
        kept.contains("ann") && fault().is_null()
    })
    .await;
}
