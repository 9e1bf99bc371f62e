//! `sessile history undo`: a change of documents is taken back as it was shown, or not at all.

use serde_json::{Value, json};

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{follow, has_members, seed};
use crate::support::shell::sessile;
use crate::support::{Backend, Gateway, eventually};

/// Runs a command against this etcd; returns its exit code and what it said.
fn undo(etcd: &Etcd, gateway: &Gateway, revision: i64, more: &str) -> (Option<i32>, String) {
    let (revision, url) = (revision.to_string(), etcd.url());
    let arguments = ["history", "undo", &revision, more, "--etcd", &url];
    let output = sessile(&arguments, gateway.directory());
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy);
    (output.status.code(), said.concat())
}

/// The newest change in the history of the gateway.
fn newest(gateway: &Gateway) -> (i64, Value) {
    let page = gateway.get("/v1/history?kind=configuration_changed&limit=1");
    let event = &page["items"][0];
    (
        event["revision"].as_i64().unwrap_or(0),
        event["documents"].clone(),
    )
}

async fn route(etcd: &Etcd) -> Value {
    let text = etcd.get("/sessile/routes/all").await;
    text.map_or(Value::Null, |text| {
        serde_json::from_str(&text).expect("JSON")
    })
}

#[tokio::test]
async fn a_change_is_taken_back_as_long_as_nobody_changed_it_since() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    seed(&etcd, &[&backend]).await;
    let gateway = follow(&etcd).await;
    has_members(&gateway, &[&backend]).await;
    let before = route(&etcd).await;
    assert!(before.is_object(), "{before}");
    eventually("the first read is an event", async || {
        newest(&gateway).0 > 0
    })
    .await;
    let (known, _) = newest(&gateway);
    let mut changed = before.clone();
    changed["origins"] = json!(["https://chat.example.com"]);
    // Right behind it comes a later revision that concerns no document, as gateways write often.
    let mut client = etcd.client().await;
    let put = client.put("/sessile/routes/all", changed.to_string(), None);
    let put = put.await.expect("it is written");
    let other = client.put("/sessile/gateways/another", "{}", None).await;
    other.expect("it is written");
    eventually("it is in force", async || newest(&gateway).0 > known).await;
    let (revision, documents) = newest(&gateway);
    assert_eq!(Some(revision), put.header().map(|header| header.revision()));
    assert_eq!(documents[0]["key"], "routes/all");
    let shown = sessile(&["history", "--diff"], gateway.directory());
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(
        shown.contains(&format!("undo: sessile history undo {revision}")),
        "{shown}"
    );

    // Shown only, then for good.
    let (code, said) = undo(&etcd, &gateway, revision, "--dry-run");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("~ routes/all") && said.contains("origins: "),
        "{said}"
    );
    assert_eq!(route(&etcd).await, changed);
    let (code, said) = undo(&etcd, &gateway, revision, "--yes");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(route(&etcd).await, before);
    eventually("the undo is in force", async || {
        newest(&gateway).0 > revision
    })
    .await;
    let (undone, _) = newest(&gateway);
    // Now the same documents have a newer version, which an undo of the old one would destroy.
    let (code, said) = undo(&etcd, &gateway, revision, "--yes");
    assert_eq!(code, Some(1), "{said}");
    let since = format!("routes/all was changed since, at revision {undone}");
    assert!(said.contains(&since), "{said}");
    // An undo can be taken back, too, and a document that was deleted comes back.
    assert_eq!(undo(&etcd, &gateway, undone, "--yes").0, Some(0));
    assert_eq!(route(&etcd).await, changed);
    eventually("both are in force", async || newest(&gateway).0 > undone).await;
    let known = newest(&gateway).0;
    etcd.delete("routes/all").await;
    eventually("it is gone", async || newest(&gateway).0 > known).await;
    let deleted = newest(&gateway).0;
    let (code, said) = undo(&etcd, &gateway, deleted, "--yes");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(route(&etcd).await, changed);

    // What etcd does not remember is not guessed.
    etcd.compact().await;
    let (code, said) = undo(&etcd, &gateway, deleted, "--yes");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("etcd has compacted revision"), "{said}");
    let (code, said) = undo(&etcd, &gateway, 1_000_000, "--yes");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no revision 1000000 yet"), "{said}");
    let (code, said) = undo(&etcd, &gateway, 1, "--yes");
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(route(&etcd).await, changed);
}
