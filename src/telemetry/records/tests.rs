use std::fs;
use std::path::Path;

use super::*;
use crate::base::session_id::SessionId;
use crate::config::snapshot::{Access, Syslog, SyslogAddress};
use crate::core::session::record::{Cause, EndedBy, Ending, Facts};
use crate::core::session::request::{RequestFacts, RequestTexts};
use crate::core::session::resume::Moves;

const START: Duration = Duration::from_millis(1_700_000_000_123);

fn ended() -> Record {
    Record {
        facts: Arc::new(Facts {
            id: SessionId::new(1_700_000_000_123, 7),
            listener: "edge".into(),
            route: "chat".into(),
            upstream: "chat-servers".into(),
            backend: "10.0.0.1:9000".into(),
            principal: Some("alice\nkind=session".into()),
            right: None,
            request: RequestFacts::new(
                RequestTexts {
                    client: "192.0.2.1:55000",
                    host: "chat.example.com",
                    target: "/ws/7?token=***",
                    foreign_id: Some("req-1"),
                    subprotocol: None,
                },
                SystemTime::UNIX_EPOCH + START,
                Duration::from_micros(3_250),
            ),
            order: None,
            details: Arc::default(),
        }),
        duration: Duration::from_secs(61),
        to_backend: Traffic {
            bytes: 120,
            text: 3,
            binary: 1,
            ping: 2,
            pong: 0,
            close: 1,
        },
        to_client: Traffic {
            bytes: 4_000,
            ..Traffic::default()
        },
        published: Default::default(),
        moves: Moves::default(),
        ending: Ending {
            by: EndedBy::Client,
            cause: Cause::CloseFrame,
            close_code: Some(1000),
            clean: true,
        },
    }
}

const REFUSED: RequestRecord<'_> = RequestRecord {
    listener: "edge",
    route: None,
    upstream: None,
    backend: None,
    principal: None,
    authenticator: None,
    client: "192.0.2.1:55000",
    method: "GET",
    host: Some("chat.example.com"),
    target: "/nothing here",
    started: SystemTime::UNIX_EPOCH,
    status: 404,
    duration: Duration::from_micros(42),
    bytes_in: 0,
    bytes_out: 97,
    refusal: Some("no_route"),
    detail: Some("rule 7"),
    request_id: Some("r-1"),
};

fn log(format: LogFormat, path: &Path) -> Log {
    Log {
        level: "info".to_owned(),
        format,
        access: Access::to_file(path.to_owned()),
    }
}

/// What stands in the file after both records were written.
fn written(format: LogFormat) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (records, guard) = Records::open(&log(format, &path), &"node-1".into()).expect("opens");
    records.session(&ended());
    records.request(&REFUSED);
    drop(guard);
    fs::read_to_string(path).expect("a file")
}

#[test]
fn i6_a_session_leaves_one_line_of_json() {
    let expected = [
        concat!(
            r#"{"time":"2023-11-14T22:14:21.126Z","kind":"session","id":"01HF7YAT3V0000000000000007","#,
            r#""node":"node-1","listener":"edge","route":"chat","upstream":"chat-servers","#,
            r#""backend":"10.0.0.1:9000","principal":"alice\u000akind=session","#,
            r#""client":"192.0.2.1:55000","host":"chat.example.com","#,
            r#""target":"/ws/7?token=***","request_id":"req-1","subprotocol":null,"#,
            r#""started":"2023-11-14T22:13:20.123Z","duration_ms":61000.000,"handshake_ms":3.250,"#,
            r#""ended_by":"client","cause":"close_frame","close_code":1000,"clean":true,"reason":null,"operator":null,"revocation":null,"#,
            r#""resumes":0,"messages_lost":0,"bytes_lost":0,"#,
            r#""to_backend":{"bytes":120,"text":3,"binary":1,"ping":2,"pong":0,"close":1},"#,
            r#""to_client":{"bytes":4000,"text":0,"binary":0,"ping":0,"pong":0,"close":0}}"#,
        ),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","kind":"request","node":"node-1","#,
            r#""listener":"edge","route":null,"upstream":null,"backend":null,"#,
            r#""principal":null,"authenticator":null,"client":"192.0.2.1:55000","method":"GET","#,
            r#""host":"chat.example.com","target":"/nothing here","#,
            r#""started":"1970-01-01T00:00:00.000Z","status":404,"duration_ms":0.042,"#,
            r#""bytes_in":0,"bytes_out":97,"refusal":"no_route","detail":"rule 7","request_id":"r-1"}"#,
        ),
    ];
    let text = written(LogFormat::Json);
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn i6_a_session_leaves_one_line_of_text() {
    let expected = [
        concat!(
            "time=2023-11-14T22:14:21.126Z kind=session id=01HF7YAT3V0000000000000007 node=node-1 ",
            "listener=edge route=chat upstream=chat-servers backend=10.0.0.1:9000 ",
            r#"principal="alice\u000akind=session" client=192.0.2.1:55000 "#,
            r#"host=chat.example.com target="/ws/7?token=***" request_id=req-1 "#,
            "started=2023-11-14T22:13:20.123Z duration_ms=61000.000 ",
            "handshake_ms=3.250 ended_by=client cause=close_frame close_code=1000 clean=true ",
            "resumes=0 messages_lost=0 bytes_lost=0 ",
            "to_backend.bytes=120 to_backend.text=3 to_backend.binary=1 to_backend.ping=2 ",
            "to_backend.pong=0 to_backend.close=1 to_client.bytes=4000 to_client.text=0 ",
            "to_client.binary=0 to_client.ping=0 to_client.pong=0 to_client.close=0",
        ),
        concat!(
            "time=1970-01-01T00:00:00.000Z kind=request node=node-1 listener=edge ",
            r#"client=192.0.2.1:55000 method=GET host=chat.example.com target="/nothing here" "#,
            "started=1970-01-01T00:00:00.000Z status=404 duration_ms=0.042 bytes_in=0 ",
            "bytes_out=97 refusal=no_route detail=\"rule 7\" request_id=r-1",
        ),
    ];
    let text = written(LogFormat::Text);
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_rotated_file_is_opened_again_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, old) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let (records, guard) = Records::open(&log(LogFormat::Json, &path), &"n".into()).expect("opens");
    fs::rename(&path, &old).expect("rotated");
    records.reopen();
    records.request(&REFUSED);
    drop(guard);
    assert_eq!(fs::read_to_string(old).expect("the old file"), "");
    assert_eq!(
        fs::read_to_string(path)
            .expect("the new file")
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let path = Path::new("/nonexistent/access.log");
    let error = Records::open(&log(LogFormat::Json, path), &"n".into()).expect_err("no folder");
    assert!(
        error.to_string().contains("/nonexistent/access.log"),
        "{error}"
    );
}

#[test]
fn records_that_are_off_cost_nothing_and_lose_nothing() {
    let records = Records::off();
    records.request(&REFUSED);
    assert_eq!(records.dropped(), 0);
}

#[test]
fn each_output_gets_every_record_and_losses_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let mut config = log(LogFormat::Json, &path);
    // Nothing is bound at this socket.
    config.access.syslog = Some(Syslog {
        address: SyslogAddress::Unix(folder.path().join("log")),
        facility: 3,
    });
    let (records, guard) = Records::open(&config, &"n".into()).expect("opens");
    for _ in 0..3 {
        records.request(&REFUSED);
    }
    drop(guard);
    let text = fs::read_to_string(path).expect("a file");
    assert_eq!(text.lines().count(), 3);
    assert_eq!(records.dropped(), 3);
}

#[test]
fn records_for_a_full_disk_are_counted_as_lost() {
    let full = Path::new("/dev/full");
    let (records, guard) = Records::open(&log(LogFormat::Json, full), &"n".into()).expect("opens");
    records.request(&REFUSED);
    records.request(&REFUSED);
    drop(guard);
    assert_eq!(records.dropped(), 2);
}
