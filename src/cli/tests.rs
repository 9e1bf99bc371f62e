use std::fs;
use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::admin::tests::support::{CONFIG, Served, serve, session};

/// Exit code, standard output, standard error of a command line; arguments are split at blanks.
fn sessile(line: &str) -> (u8, String, String) {
    let arguments = Arguments::try_parse_from(line.split(' ')).expect(line);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = execute(arguments, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (code, text(out), text(err))
}

fn gateway() -> Served {
    let one = vec![
        session(1, "rooms", Some("ann\u{1b}[2J")),
        session(3, "rooms", None),
    ];
    serve(
        "127.0.0.1:0",
        None,
        vec![one, vec![session(2, "pages", Some("bob"))]],
    )
}

const FIRST: &str = "00000000010000000000000000";

#[test]
fn status_fits_one_screen() {
    let gateway = gateway();
    let (code, out, err) = sessile(&format!("sessile status --admin {}", gateway.address));
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[0].starts_with("edge-1 is ready for 0s, sessile "),
        "{out}"
    );
    assert_eq!(lines[1], "sessions  3 on 2 workers (2, 1), 0 connections");
    assert!(
        lines[2].starts_with("table     generation 1, digest "),
        "{out}"
    );
    assert!(
        lines[3].starts_with("file      gateway.toml, loaded 2"),
        "{out}"
    );
    assert_eq!(lines[4..6], ["", "SOURCE  STATE    AGE  ADDS"]);
    let file = lines[6].split_whitespace().collect::<Vec<_>>();
    assert_eq!(file[..2], ["file", "current"]);
    assert_eq!(file[3..], ["the", "base"]);
    let tables = "
LISTENER  TLS  ADDRESSES
edge      no   127.0.0.1:43211

UPSTREAM  POLICY           PROBE  BACKENDS  SESSIONS
chat      round_robin      tcp    1 of 2    0
pages     consistent_hash  none   1 of 1    0

UPSTREAM  BACKEND        ZONE  HEALTH   STATE     SESSIONS
chat      10.0.0.1:9000  a     unknown  active    0
chat      10.0.0.2:9000        unknown  draining  0
pages     10.0.0.3:80          unknown  active    0";
    assert_eq!(lines[7..].join("\n"), tables);
}

#[test]
fn sessions_are_listed_and_cannot_steer_the_terminal() {
    let gateway = gateway();
    let list = |flags: &str| sessile(&format!("sessile sessions -a {}{flags}", gateway.address));
    let (code, out, _) = list("");
    let expected = "\
ID                          ROUTE  BACKEND        PRINCIPAL  CLIENT     AGE  IDLE  SENT     RECEIVED
00000000010000000000000000  rooms  10.0.0.1:9000  ann\u{fffd}[2J    192.0.2.1  1m   0s    2.0 KiB  0 B
00000000020000000000000000  pages  10.0.0.1:9000  bob        192.0.2.1  1m   0s    2.0 KiB  0 B
00000000030000000000000000  rooms  10.0.0.1:9000  -          192.0.2.1  1m   0s    2.0 KiB  0 B
";
    assert_eq!((code, out.as_str()), (0, expected));
    let (_, out, _) = list(" --principal bob");
    assert_eq!(out.lines().count(), 2, "{out}");
    let (code, out, _) = list(" --principal nobody");
    let none = "no live session matches; `sessile ended` lists those that are over\n";
    assert_eq!((code, out.as_str()), (0, none));
    let (_, out, _) = list(" --limit 2");
    assert!(out.ends_with("… and more: --limit shows them\n"), "{out}");
    let (_, out, _) = list(" --json --route rooms");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["items"].as_array().map(Vec::len), Some(2), "{out}");
}

#[test]
fn kick_reports_what_it_did_and_what_it_could_not() {
    let gateway = gateway();
    let none = "00000000090000000000000000";
    let line = format!(
        "sessile kick {FIRST} {none} --code 4001 --reason x&y -a {}",
        gateway.address
    );
    let (code, out, _) = sessile(&line);
    let expected = format!(
        "closing {FIRST} with 4001, x&y\nno live session {none} here; `sessile why {none}` shows how it ended, with --fleet on any gateway\n"
    );
    assert_eq!((code, out), (1, expected));
}

#[test]
fn resolve_asks_a_gateway_or_reads_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    // Without round robin, so that the choice of a backend does not depend on earlier requests.
    let config = CONFIG.replace("round_robin", "rendezvous");
    fs::write(&file, config).expect("written");
    let resolve = |rest: &str| sessile(&format!("sessile resolve -c {} {rest}", file.display()));
    let (code, out, _) = resolve("wss://chat.example.com/ws/7");
    let lines: Vec<_> = out.lines().collect();
    let head = "\
request   GET chat.example.com/ws/7 (WebSocket) from 127.0.0.1
routes    the most specific first
  -> rooms  matched
     beta   header authorization does not have the value
     pages  would match, but a more specific route does
key       7 from path:room
upstream  chat by rendezvous";
    assert_eq!((code, lines[..7].join("\n").as_str()), (0, head));
    assert!(
        out.contains("  -> 10.0.0.1:9000  takes the request\nbackend   10.0.0.1:9000\n"),
        "{out}"
    );
    assert!(
        lines
            .last()
            .expect("a note")
            .starts_with("note      read from "),
        "{out}"
    );

    // What looks like a secret is not shown.
    let (_, out, _) = resolve("wss://chat.example.com/ws/7?access_token=s3cret&k=1");
    let shown = "request   GET chat.example.com/ws/7?access_token=***&k=1 (WebSocket)";
    assert!(out.starts_with(shown) && !out.contains("s3cret"), "{out}");
    let (code, out, _) = resolve("http://any.example/a/../b");
    let said = "the path has a `.` or `..` segment: it is answered 400";
    assert!(code == 1 && out.contains(said), "{out}");
    let (code, _, err) = resolve("wss://");
    assert!(code == 2 && err.contains("is not a URL"), "{err}");
    let (code, _, err) = resolve("ftp://any.example/a");
    assert!(code == 2 && err.contains("begins with ws:"), "{err}");

    let gateway = gateway();
    let (code, out, _) = sessile(&format!("sessile resolve --json /x -a {}", gateway.address));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &json["choice"]["backend"]),
        (0, &serde_json::json!("10.0.0.3:80")),
        "{out}"
    );
    let (code, _, err) = sessile(&format!("sessile resolve wss:// -a {}", gateway.address));
    assert!(code == 2 && err.contains("is not a URL"), "{err}");
}

#[test]
fn i11_the_token_opens_and_only_where_it_is_meant_for() {
    let gateway = serve("127.0.0.1:0", Some("s3cret"), vec![]);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let token = write("token", "s3cret\n");
    let address = gateway.address.to_string();
    let config = CONFIG
        .replace("127.0.0.1:9900", &address)
        .replace("hunter2", "s3cret");
    let config = write("gateway.toml", &config);
    let check = |flags: String, expected: u8, said: &str| {
        let (code, out, err) = sessile(&format!("sessile sessions {flags}"));
        assert_eq!(code, expected, "{flags}: {out}{err}");
        assert!(
            out.contains(said) || err.contains(said),
            "{flags}: {out}{err}"
        );
        assert!(!err.contains("s3cret"), "{err}");
    };
    check(
        format!("-a {address}"),
        1,
        "needs its admin token, and none was sent",
    );
    check(
        format!("-a {address} --token-file {token}"),
        0,
        "no live sessions",
    );
    check(
        format!("-a {address} --token-file /nonexistent"),
        1,
        "`/nonexistent`",
    );
    check(format!("-c {config}"), 0, "no live sessions");
    check(
        format!("-c {config} -a {address}"),
        1,
        "needs its admin token",
    );
}

#[test]
fn a_unix_socket_serves_as_well_and_goes_with_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let listen = format!("unix:{}", path.display());
    let gateway = serve(&listen, None, vec![]);
    let (code, out, err) = sessile(&format!("sessile sessions -a {listen}"));
    assert_eq!((code, out.lines().count()), (0, 1), "{err}");
    drop(gateway);
    assert!(!path.exists(), "the socket's file stayed");
    let (code, _, err) = sessile(&format!("sessile status -a {listen}"));
    assert_eq!(code, 1);
    assert!(
        err.contains("no gateway answers at unix:") && err.contains("--admin"),
        "{err}"
    );
}

#[test]
fn check_and_schema_are_reached() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");
    let (code, out, err) = sessile(&format!("sessile check -c {}", file.display()));
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = sessile("sessile check -c /nonexistent/gateway.toml");
    assert_eq!(code, 2, "{out}");
    // The file may stand alone, as with `preview`.
    let (code, out, err) = sessile(&format!("sessile check {}", file.display()));
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = sessile("sessile check /nonexistent/gateway.toml");
    assert!(
        code == 2 && out.contains("/nonexistent/gateway.toml"),
        "{out}"
    );
    let (code, out, _) = sessile("sessile schema --admin-api");
    assert!(code == 0 && out.contains("\"/v1/sessions/{id}\""), "{out}");
}

#[test]
fn a_text_without_quotes_is_explained() {
    let gateway = gateway();
    let line = format!(
        "sessile send -a {} {FIRST} maintenance at 5",
        gateway.address
    );
    let (code, _, err) = sessile(&line);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("put it in quotes, 'maintenance at 5'"),
        "{err}"
    );
    let line = format!("sessile send -a {} --all maintenance at 5", gateway.address);
    let (_, _, err) = sessile(&line);
    assert!(
        err.contains("put it in quotes, 'maintenance at 5'"),
        "{err}"
    );
}

#[test]
fn help_names_what_a_command_is_about_before_how_a_gateway_is_reached() {
    use clap::CommandFactory as _;
    let mut command = Arguments::command();
    for one in command.get_subcommands_mut() {
        let help = one.render_help().to_string();
        if let Some(reached) = help.find("--admin <ADDRESS>") {
            let heading = help.find("Which gateway:").expect("a heading of its own");
            assert!(heading < reached, "{help}");
            for own in ["--json", "--watch", "--limit", "--fleet"] {
                let own = help.find(own).unwrap_or_default();
                assert!(own < heading, "{help}");
            }
        }
    }
}
