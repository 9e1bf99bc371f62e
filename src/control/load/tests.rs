//! What a document of a source may make the gateway open.

use std::os::unix::fs::symlink;

use super::*;
use crate::base::source_id::SourceId;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::documents::{Change, Document, Update};
use crate::config::overlay::Overlay;
use crate::core::routing::RoutingTable;

const FILE: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:0"]

[sources.etcd]
endpoints = ["http://127.0.0.1:2379"]
document_files = ["./shared"]
document_broker_names = ["memory:news", "memory:chat.*"]

[broker]
type = "memory"

[upstreams.chat]
backends = ["127.0.0.1:1"]

[[routes]]
name = "chat"
upstream = "chat"
"#;

/// The faults of a document with this text.
fn faults(options: &LoadOptions, key: DocumentKey, text: &str) -> Vec<String> {
    let loaded = load_text(options, FILE).unwrap_or_else(|faults| panic!("{faults}"));
    let update = Update {
        source: SourceId::Etcd,
        revision: 1,
        changes: vec![Change::Put(Document {
            key: key.clone(),
            text: text.into(),
            revision: 1,
        })],
    };
    let mut overlay = Overlay::default();
    let rights = loaded.snapshot.sources.document_rights();
    let _ = with_check_context(options, &loaded, &rights, |context| {
        overlay.apply(update, context)
    });
    let faults = overlay.found(&key).into_iter();
    faults.map(|fault| fault.message.clone()).collect()
}

#[test]
fn i12_documents_name_no_variables_and_files_of_listed_directories_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("shared")).expect("a directory");
    fs::write(path("shared/list"), "10.0.0.0/8\n").expect("a file");
    fs::write(path("secret"), "hunter2-hunter2").expect("a file");
    symlink(path("secret"), path("shared/out")).expect("a link");
    symlink("list", path("shared/in")).expect("a link");
    let options = LoadOptions {
        path: path("gateway.toml"),
        sets: Vec::new(),
        environment: vec![("SECRET".to_owned(), "hunter2-hunter2".to_owned())],
    };
    let check = |kind, text: &str, expected: Option<&str>| {
        let found = faults(&options, DocumentKey::named(kind, "x"), text);
        match expected {
            None => assert!(found.is_empty(), "{text}: {found:?}"),
            Some(expected) => {
                assert!(
                    found.iter().any(|one| one.contains(expected)),
                    "{text}: {found:?}"
                );
            }
        }
        assert!(!found.concat().contains("hunter2"), "{text}: {found:?}");
    };
    let allow = |file: &str| format!(r#"{{"upstream":"chat","allow":[{{"file":"{file}"}}]}}"#);
    let below = Some("only below the directories");
    check(Kind::Route, &allow("shared/list"), None);
    check(Kind::Route, &allow("./shared/./in"), None);
    let absolute = path("shared/list").display().to_string();
    check(Kind::Route, &allow(&absolute), None);
    check(Kind::Route, &allow("shared/out"), below);
    check(Kind::Route, &allow("shared/../secret"), below);
    check(Kind::Route, &allow("secret"), below);
    check(Kind::Route, &allow("no-such-file"), below);
    check(Kind::Route, &allow("/proc/self/environ"), below);
    check(Kind::Route, &allow("shared/none"), Some("no such file"));
    let jwt = |rest: &str| format!(r#"{{"type":"jwt","issuer":"x",{rest}}}"#);
    for rest in [
        r#""secret":{"file":"secret"}"#,
        r#""public_key":"secret""#,
        r#""jwks":"secret""#,
        r#""jwks":"https://a/","ca":"secret""#,
    ] {
        check(Kind::Authenticator, &jwt(rest), below);
    }
    let variable = jwt(r#""secret":{"env":"SECRET"}"#);
    check(
        Kind::Authenticator,
        &variable,
        Some("may not name variables"),
    );
    let basic = r#"{"type":"basic","htpasswd":"secret"}"#;
    check(Kind::Authenticator, basic, below);
    let keys = r#"{"type":"api_key","keys_file":"secret"}"#;
    check(Kind::Authenticator, keys, below);
    check(Kind::Upstream, r#"{"tls":{"ca":"secret"}}"#, below);
}

#[test]
fn i12_documents_use_only_names_at_the_broker_that_the_file_lists() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = LoadOptions {
        path: directory.path().join("gateway.toml"),
        sets: Vec::new(),
        environment: Vec::new(),
    };
    for (name, expected) in [
        ("memory:news", None),
        ("memory:chat.{room}", None),
        ("memory:chat.", None),
        ("memory:news.today", Some("may not use")),
        ("memory:{room}", Some("may not use")),
        ("memory:chat", Some("may not use")),
        ("nats:chat.{room}", Some("the broker is memory")),
    ] {
        let text = format!(
            r#"{{"upstream":"chat","path":"/x/{{room}}","subscribe":[{{"from":"{name}"}}]}}"#
        );
        let found = faults(&options, DocumentKey::named(Kind::Route, "x"), &text);
        match expected {
            None => assert!(found.is_empty(), "{name}: {found:?}"),
            Some(expected) => assert!(found.concat().contains(expected), "{name}: {found:?}"),
        }
    }
}

#[test]
fn i11_no_diagnostic_quotes_a_named_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let options = LoadOptions {
        path: path("gateway.toml"),
        sets: Vec::new(),
        environment: Vec::new(),
    };
    let secret = "hunter2hunter2";
    let digest = "a".repeat(64);
    let contents = [
        secret.to_owned(),
        format!("\"{secret}\""),
        format!("{{\"keys\":\"{secret}\"}}"),
        format!("{{\"{secret}\":1}}"),
        format!("-----BEGIN {secret}-----\nAAAA\n-----END {secret}-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{secret}\n-----END CERTIFICATE-----\n"),
        format!("{secret}:{secret}"),
        format!("{digest} {secret}\n{digest} other\n"),
    ];
    let jwt = |line: &str| format!("[authenticators.x]\ntype = \"jwt\"\nissuer = \"x\"\n{line}\n");
    let settings = [
        "[[routes]]\nname = \"x\"\npath = \"/x\"\nupstream = \"chat\"\n\
         allow = [{ file = \"named\" }]\n"
            .to_owned(),
        jwt("public_key = \"named\""),
        jwt("jwks = \"named\""),
        jwt("jwks = \"https://a/\"\nca = \"named\""),
        "[authenticators.x]\ntype = \"basic\"\nhtpasswd = \"named\"\n".to_owned(),
        "[authenticators.x]\ntype = \"api_key\"\nkeys_file = \"named\"\n".to_owned(),
        "[upstreams.x]\nbackends = [\"a:1\"]\ntls = { ca = \"named\" }\n".to_owned(),
        "[admin]\ntls.certificates = [{ cert = \"named\", key = \"named\" }]\n".to_owned(),
    ];
    for text in &contents {
        fs::write(path("named"), text).expect("a file");
        for setting in &settings {
            let shown = match load_text(&options, &format!("{FILE}{setting}")) {
                Ok(loaded) => format!("{:?}", loaded.warnings),
                Err(faults) => faults.to_string(),
            };
            assert!(!shown.contains(secret), "{setting} with {text}: {shown}");
        }
    }
}

/// A digest that is shown covers nothing that `/v1/config` masks: a guess could be checked with it.
#[test]
fn i11_a_digest_is_not_made_of_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = LoadOptions {
        path: directory.path().join("gateway.toml"),
        sets: Vec::new(),
        environment: Vec::new(),
    };
    let table = |secret: &str, room: &str| {
        let hash = secret.len() % 10;
        let text = format!(
            "{FILE}headers = {{ x-api-key = \"{secret}\", x-token = {{ prefix = \"{secret}\" }}, \
             x-room = \"{room}\" }}\nquery = {{ access_token = \"{secret}\" }}\n\
             request_headers.set = {{ x-internal = \"{secret}\", authorization = \"{secret}\" }}\n\
             request_headers.add = {{ cookie = \"{secret}\" }}\n\
             authenticate = [\"a\", \"b\", \"c\", \"d\"]\n\
             [upstreams.probed]\nbackends = [\"a:1\"]\n\
             probe = {{ type = \"http\", path = \"/healthz?key={secret}\" }}\n\
             [upstreams.asked]\nbackends = [\"a:1\"]\n\
             probe = {{ type = \"websocket\", path = \"/healthz?key={secret}\" }}\n\
             [authenticators.a]\ntype = \"forward\"\n\
             url = \"http://127.0.0.1:1/check?key={secret}\"\n\
             [authenticators.b]\ntype = \"jwt\"\nissuer = \"x\"\n\
             jwks = \"https://a.example/keys?key={secret}\"\n\
             [authenticators.c]\ntype = \"jwt\"\nsecret = \"{secret}\"\n\
             [authenticators.d]\ntype = \"api_key\"\n\
             keys = [{{ subject = \"bot\", sha256 = \"{}\" }}]\n",
            hash.to_string().repeat(64)
        );
        let loaded = load_text(&options, &text).unwrap_or_else(|faults| panic!("{faults}"));
        (
            RoutingTable::compile(&loaded.snapshot, None, 1, clock::now()),
            format!("{:?}", loaded.snapshot),
        )
    };
    let (first, second) = (
        "hunter2-hunter2-hunter2-hunter2-",
        "other3-other3-other3-other3-other3-",
    );
    let (one, shown) = table(first, "7");
    assert!(!shown.contains("hunter2"), "{shown}");
    let (other, _) = table(second, "7");
    assert_eq!(one.digest, other.digest);
    // It is another table all the same, and what is no secret counts.
    assert!(!other.same_as(&one));
    assert_ne!(one.digest, table(first, "8").0.digest);
}
