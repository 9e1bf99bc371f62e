//! The configuration as operators meet it: each `tests/config/*.toml` beside what it must answer,
//! the shipped file, the generated page. `UPDATE=1 cargo test --test config` writes the answers
//! anew, to be read in the diff.

#[path = "config/certificates.rs"]
mod certificates;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sessile::cli::{check, schema};
use sessile::control::load::{LoadOptions, Loaded, load, load_text};

const CASES: &str = "tests/config";

/// The options of a case: its comments `# env: NAME=VALUE` and `# set: key=value`.
fn options(path: &Path) -> LoadOptions {
    let text = fs::read_to_string(path).expect("a case can be read");
    let pairs = |mark: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark));
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    LoadOptions {
        path: path.to_owned(),
        sets: pairs("# set: "),
        environment: pairs("# env: "),
    }
}

fn alone(path: &str) -> LoadOptions {
    LoadOptions {
        path: path.into(),
        sets: Vec::new(),
        environment: Vec::new(),
    }
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(CASES)
        .expect("the cases are there")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension() == Some(OsStr::new("toml")))
        .collect();
    cases.sort();
    cases
}

/// Compares with a golden file, or writes it.
fn golden(path: &Path, is: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, is).expect("the golden file can be written");
    }
    let must = fs::read_to_string(path).unwrap_or_default();
    assert!(
        is == must,
        "{} is not what it was; UPDATE=1 writes it anew. It is now:\n{is}",
        path.display()
    );
}

fn answer(options: &LoadOptions) -> String {
    match load(options) {
        Ok(loaded) => good(&loaded),
        Err(faults) => format!("{faults}\n"),
    }
}

fn good(loaded: &Loaded) -> String {
    let warnings: String = loaded
        .warnings
        .iter()
        .map(|one| format!("{one}\n\n"))
        .collect();
    format!("{warnings}{:#?}\n\n{:#}\n", loaded.snapshot, loaded.masked)
}

#[test]
fn every_case_answers_as_written_beside_it() {
    let cases = cases();
    assert!(cases.len() > 40, "only {} cases", cases.len());
    for case in cases {
        golden(&case.with_extension("txt"), &answer(&options(&case)));
    }
}

#[test]
fn i4_only_files_without_faults_are_taken() {
    for case in cases() {
        let name = case.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let good = name.starts_with("good_") || ["warnings", "no_routes"].contains(&name);
        assert_eq!(load(&options(&case)).is_ok(), good, "{name}");
    }
}

#[test]
fn i11_no_answer_holds_a_secret() {
    let mut with_secrets = 0;
    for case in cases() {
        let options = options(&case);
        let text = fs::read_to_string(&case).expect("a case can be read");
        with_secrets += usize::from(text.contains("hunter2"));
        let mut json = Vec::new();
        check::check(&options, check::Form::Json, &mut json).expect("a vector takes all");
        let shown = answer(&options) + &String::from_utf8_lossy(&json);
        assert!(!shown.contains("hunter2"), "{}: {shown}", case.display());
    }
    assert!(with_secrets >= 7, "the cases lost their secrets");
}

#[test]
fn the_shipped_file_is_good_and_keeps_rooms_together() {
    let loaded = load(&alone("gateway.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.files, [PathBuf::from("gateway.toml")]);
    assert_eq!(loaded.snapshot.upstreams["chat"].backends.len(), 3);
}

#[test]
fn what_is_in_force_reads_back_as_the_same_configuration() {
    for name in ["good_least", "warnings"] {
        let path = Path::new(CASES).join(name).with_extension("toml");
        let first = load(&options(&path)).expect(name);
        let mut again = options(&path);
        again.sets.extend(
            first
                .masked
                .as_object()
                .expect("a table")
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), as_toml(value))),
        );
        let second = load(&again).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(second.masked, first.masked);
        assert_eq!(
            format!("{:?}", second.snapshot),
            format!("{:?}", first.snapshot)
        );
    }
}

/// A JSON value as an inline TOML value; what is null is left out.
fn as_toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(table) => {
            let entries: Vec<_> = table
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key:?} = {}", as_toml(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        serde_json::Value::Array(list) => {
            let elements: Vec<_> = list.iter().map(as_toml).collect();
            format!("[{}]", elements.join(", "))
        }
        leaf => leaf.to_string(),
    }
}

#[test]
fn a_missing_file_says_what_to_do() {
    let faults = load(&alone("tests/config/not-there.toml")).expect_err("no such file");
    let text = faults.to_string();
    assert!(
        text.contains("--config") && text.contains("sessile demo"),
        "{text}"
    );
}

#[test]
fn what_is_not_utf8_is_shown_where_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.toml");
    fs::write(&path, b"[node]\nname = \"\xff\"\n").expect("a file");
    let faults = load(&alone(path.to_str().expect("a plain path"))).expect_err("not UTF-8");
    let place = faults.diagnostics()[0].line_and_column();
    assert_eq!(place, (2, 9), "{faults}");
}

#[test]
fn certificates_and_keys_must_belong_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).expect("a file");
    };
    for name in ["a", "b"] {
        let names = vec![format!("{name}.example.com")];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        file(&format!("{name}.crt"), &made.cert.pem());
        file(&format!("{name}.key"), &made.signing_key.serialize_pem());
    }
    file(
        "nonsense.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let check = |cert: &str, key: &str, fault: Option<&str>| {
        let text = format!(
            "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
             tls.certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n"
        );
        let mut options = alone("");
        options.path = directory.path().join("gateway.toml");
        match (load_text(&options, &text), fault) {
            (Ok(loaded), None) => assert_eq!(loaded.files.len(), 3, "{:?}", loaded.files),
            (Err(faults), Some(fault)) => assert!(faults.to_string().contains(fault), "{faults}"),
            (result, fault) => panic!("{cert}, {key}: {result:?} but {fault:?}"),
        }
    };
    check("a.crt", "a.key", None);
    check("a.crt", "b.key", Some("does not belong to the certificate"));
    check(
        "a.key",
        "a.key",
        Some("holds a private key, and no certificate"),
    );
    check(
        "a.crt",
        "a.crt",
        Some("holds a certificate, and no private key"),
    );
    check("nonsense.pem", "a.key", Some("holds no X.509 certificate"));
    check("a.crt", "gone.key", Some("cannot read"));
}

#[test]
fn directories_that_all_may_write_to_are_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().expect("a directory");
    let path = |name: &str| root.path().join(name);
    let made = |name: &str, mode: u32| {
        fs::create_dir(path(name)).expect("a directory");
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(path(name), mode).expect("ours");
    };
    made("own", 0o755);
    made("group", 0o775);
    made("all", 0o777);
    made("sticky", 0o1777);
    fs::write(path("all/token"), "x".repeat(40)).expect("a file");
    fs::write(path("sticky/token"), "x".repeat(40)).expect("a file");
    let mut options = alone("");
    options.path = path("own/gateway.toml");
    let keys = |directory: &str, token: &str| {
        let at = path(directory).display().to_string();
        let token = path(token).display().to_string();
        let text = format!(
            "[node]\nstate_dir = \"{at}/state\"\n[admin]\nlisten = \"unix:{at}/admin.sock\"\n\
             token = {{ file = \"{token}\" }}\n[log]\naccess = {{ file = \"{at}/access.log\" }}\n\
             [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\", \"unix:{at}/edge.sock\"]\n"
        );
        let loaded = load_text(&options, &text).unwrap_or_else(|faults| panic!("{faults}"));
        let warnings = loaded.warnings.into_iter();
        let ours = warnings.filter(|one| one.message.contains("every user of this machine"));
        ours.map(|one| one.key.to_string()).collect::<Vec<_>>()
    };
    let all = [
        "node.state_dir",
        "admin.listen",
        "listeners[0].listen[1]",
        "log.access",
    ];
    assert_eq!(keys("all", "sticky/token"), all);
    assert_eq!(keys("sticky", "sticky/token"), all);
    assert_eq!(keys("own", "sticky/token"), [""; 0]);
    assert_eq!(keys("group", "sticky/token"), [""; 0]);
    // A file that is read has no key of its own to name; its directory is in the message.
    assert_eq!(keys("own", "all/token"), [""]);
}

#[test]
fn the_page_of_the_manual_is_fresh() {
    golden(Path::new("docs/config.md"), &schema::markdown());
}

#[test]
fn check_answers_two_for_what_is_refused() {
    let run = |name: &str| {
        let mut out = Vec::new();
        let path = Path::new(CASES).join(name);
        let code = check::check(&options(&path), check::Form::Text, &mut out);
        (
            code.expect("a vector takes all"),
            String::from_utf8(out).expect("text"),
        )
    };
    let (code, text) = run("good_least.toml");
    assert_eq!(code, 0);
    assert!(
        text.contains("is good: 1 listener, 1 upstream, 1 route"),
        "{text}"
    );
    let (code, text) = run("unknown_upstream.toml");
    assert_eq!(code, 2);
    assert!(text.contains("is refused: 2 faults"), "{text}");
}

/// Every way in which a file may be broken by an edit.
#[derive(Clone, Debug)]
enum Edit {
    Change(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Swap(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..10_000_usize;
    let byte = prop_oneof![
        Just(b'"'),
        Just(b'['),
        Just(b']'),
        Just(b'='),
        Just(b'\n'),
        Just(b'{'),
        Just(b'.'),
        any::<u8>(),
    ];
    prop_oneof![
        (at.clone(), byte.clone()).prop_map(|(at, byte)| Edit::Change(at, byte)),
        (at.clone(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (at.clone(), 1..40_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at.clone(), at).prop_map(|(one, other)| Edit::Swap(one, other)),
    ]
}

fn broken(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        let place = |at: usize| at % bytes.len().max(1);
        match *edit {
            _ if bytes.is_empty() => {}
            Edit::Change(at, byte) => {
                let at = place(at);
                bytes[at] = byte;
            }
            Edit::Insert(at, byte) => bytes.insert(place(at), byte),
            Edit::Remove(at, length) => {
                let at = place(at);
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Edit::Swap(one, other) => {
                let (one, other) = (place(one), place(other));
                bytes.swap(one, other);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn i4_a_broken_file_is_refused_with_a_place_or_is_whole(
        edits in prop::collection::vec(edit(), 1..6)
    ) {
        let whole = fs::read_to_string("tests/config/good_full.toml").expect("the case is there");
        let bytes = broken(&whole, &edits);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<_> = text.split('\n').collect();
        if let Err(faults) = load_text(&alone("tests/config/broken.toml"), &text) {
            prop_assert!(!faults.diagnostics().is_empty());
            for one in faults.diagnostics() {
                let (line, column) = one.line_and_column();
                // What has no place is about the file as a whole.
                prop_assert!(line <= lines.len(), "{one}");
                if line > 0 {
                    prop_assert!(column <= lines[line - 1].chars().count() + 1, "{one}");
                    let shown = format!("{line}:{column}");
                    prop_assert!(one.to_string().contains(&shown), "{shown} not in {one}");
                }
            }
        }
    }
}
