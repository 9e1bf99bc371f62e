//! Records in a rotated file and at a syslog server, beside standard output.

use std::fs;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;

use crate::support::{Backend, Client, Gateway, config, eventually};

#[tokio::test]
async fn i6_each_output_has_every_record_over_rotations() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let server = UnixDatagram::bind(directory.path().join("syslog")).unwrap();
    server.set_nonblocking(true).unwrap();
    let more = format!(
        "rotate = {{ size = \"4 KiB\", keep = 100 }}, syslog = \"unix:{}/syslog\", \
         facility = \"local3\"",
        directory.path().display()
    );
    let text = format!(
        "# access: {more}\n{}",
        config::echo(&[backend.address], "", "")
    );
    let gateway = Gateway::start_in(directory, &text).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(gateway.address(), "/").await;
        ids.push(client.session_id().await);
        client.close().await;
    }
    ids.sort();
    let mut received = Vec::new();
    eventually("the server has all records", async || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length) = server.recv(&mut buffer) {
            received.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        received.len() >= 20
    })
    .await;
    let mut sent: Vec<_> = received.iter().map(|message| id(message)).collect();
    sent.sort();
    assert_eq!(sent, ids);
    // 19 * 8 + 6: local3, info.
    let pid = format!(" under-test sessile {} access - {{", gateway.pid());
    for message in &received {
        assert!(
            message.starts_with("<158>1 20") && message.contains(&pid),
            "{message}"
        );
    }

    let mut written = Vec::new();
    eventually("the files have all records", async || {
        written = rotated(&gateway)
            .iter()
            .flat_map(|text| text.lines().map(id))
            .collect();
        written.len() >= 20
    })
    .await;
    written.sort();
    assert_eq!(written, ids);
    let files = rotated(&gateway);
    assert!(files.len() >= 3, "{} files", files.len());
    assert!(files.iter().all(|text| text.len() <= 4096));
    assert_eq!(gateway.metric("sessile_records_dropped_total", &[]), 0.0);
}

/// The `id` of a record, which may have a syslog header before it.
fn id(line: &str) -> String {
    let json = &line[line.find('{').unwrap()..];
    let record: Value = serde_json::from_str(json).unwrap();
    record["id"].as_str().unwrap().to_owned()
}

/// What is in the file of records and in those that it was before.
fn rotated(gateway: &Gateway) -> Vec<String> {
    let files = fs::read_dir(gateway.directory()).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let ours = files.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("access.log")
    });
    ours.map(|path| fs::read_to_string(path).unwrap()).collect()
}
