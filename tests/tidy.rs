//! House rules that neither compiler, rustfmt nor clippy hold: the order of the floors, what the
//! pure floors may not touch, lengths, and papers that tell the truth. Each fault is reported with
//! its place; all of a kind at once.
#![allow(
    clippy::unwrap_used,
    reason = "a file that cannot be read fails the test by panic"
)]

#[path = "tidy/architecture.rs"]
mod architecture;
#[path = "tidy/book.rs"]
mod book;
#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/data_plane.rs"]
mod data_plane;
#[path = "tidy/deploy.rs"]
mod deploy;
#[path = "tidy/english.rs"]
mod english;
#[path = "tidy/functions.rs"]
mod functions;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/kubernetes.rs"]
mod kubernetes;
#[path = "tidy/log.rs"]
mod log;
#[path = "tidy/monitoring.rs"]
mod monitoring;
#[path = "tidy/package.rs"]
mod package;
#[path = "tidy/sleeps.rs"]
mod sleeps;
#[path = "tidy/trusted_proxies.rs"]
mod trusted_proxies;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest file of `src`.
const FILE_LINES_MAX: usize = 500;
/// Tests, benches and examples may be longer.
const TEST_LINES_MAX: usize = 600;
/// Nine in ten files of `src` are at most as long as this.
const MOST_FILES_LINES_MAX: usize = 400;
/// Half of the files of `src` are at most as long as this.
const MEDIAN_FILE_LINES_MAX: usize = 150;
const LINE_CHARS_MAX: usize = 100;

/// What the floors that only decide may not name outside their tests, and who may all the same.
const IMPURE: [(&str, &[&str]); 12] = [
    ("tokio::", &[]),
    ("std::fs", &[]),
    ("std::env", &[]),
    ("std::process", &[]),
    ("std::thread", &[]),
    ("TcpStream", &[]),
    ("UdpSocket", &[]),
    ("Instant::now", &["src/base/clock.rs"]),
    ("SystemTime::now", &["src/base/clock.rs"]),
    ("clock::now(", &[]),
    ("clock::wall(", &[]),
    ("metrics::", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder whose name ends so, with paths relative to the root; build results and
/// installed packages are left out.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "node_modules" | ".git") {
                folders.push(path);
            } else if path.is_file() && name.ends_with(ending) {
                let relative = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The part of a source file that is not its unit tests, comments taken out.
fn code(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..end].lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The paths behind every `crate::` of a file, to the second name: `["io", "core::wire"]`. Braces
/// are followed.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            expand("", &code[at + "crate::".len()..], 0, &mut found);
        }
    }
    found
}

/// Adds what a path that begins here names; returns how much of the text it takes.
fn expand(prefix: &str, text: &str, depth: usize, found: &mut BTreeSet<String>) -> usize {
    let path = |name: &str| {
        if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}::{name}")
        }
    };
    if !text.starts_with('{') {
        let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let end = end.unwrap_or(text.len());
        let name = path(&text[..end]);
        return match text[end..].strip_prefix("::") {
            Some(rest) if depth == 0 => end + 2 + expand(&name, rest, 1, found),
            Some(rest) if rest.starts_with('{') => {
                found.insert(name);
                end + 2 + rest.find('}').map_or(rest.len(), |close| close + 1)
            }
            _ => {
                found.insert(name);
                end
            }
        };
    }
    let mut at = 1;
    while at < text.len() && !text[at..].starts_with('}') {
        let letter = text[at..].chars().next().unwrap();
        at += if letter.is_alphabetic() {
            let taken = expand(prefix, &text[at..], depth, found);
            // What is deeper than the second name does not matter: up to the comma or brace.
            let rest = &text[at + taken..];
            taken + rest.find([',', '}']).unwrap_or(rest.len())
        } else {
            letter.len_utf8()
        };
    }
    at + 1
}

#[test]
fn imports_are_found_through_braces() {
    let code = "use crate::base::addr;\nuse crate::{config::snapshot::Route, live, io::{net, tls}};\n\
                fn f(x: crate::core::wire::Frame) {}\nuse mycrate::proxy;";
    let found: Vec<_> = imports(code).into_iter().collect();
    let wanted = [
        "base::addr",
        "config::snapshot",
        "core::wire",
        "io::net",
        "io::tls",
        "live",
    ];
    assert_eq!(found, wanted);
}

#[track_caller]
fn none(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// Which floor a source file is on: the module of `lib.rs` that it belongs to.
fn floor_of<'a>(path: &str, floors: &[&'a str]) -> Option<&'a str> {
    let inside = path.strip_prefix("src/")?;
    let name = inside.split(['/', '.']).next()?;
    floors.iter().find(|floor| **floor == name).copied()
}

#[test]
fn floors_import_only_from_their_own_and_lower_ones() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    let floors: Vec<&str> = modules.map(|rest| rest.trim_end_matches(';')).collect();
    let height = |name: &str| floors.iter().position(|floor| *floor == name);
    let mut faults = Vec::new();
    for (path, text) in files("src", ".rs") {
        let Some(floor) = floor_of(&path, &floors) else {
            continue;
        };
        for import in imports(&code(&path, &text)) {
            let mut names = import.split("::");
            let (other, room) = (names.next().unwrap(), names.next());
            let apart = [("control", "proxy"), ("proxy", "control")].contains(&(floor, other));
            if height(other).is_none_or(|other| other > height(floor).unwrap()) || apart {
                faults.push(format!(
                    "{path} is on floor {floor} and imports crate::{import}"
                ));
            }
            let own = path.split(['/', '.']).nth(2);
            let above = matches!(own, Some("relay" | "routing"));
            if (floor, other) == ("core", "core") && !above && room != own {
                faults.push(format!("{path} imports another room, crate::{import}"));
            }
        }
    }
    none("the order of lib.rs is the order of the floors", &faults);
}

#[test]
fn floors_that_decide_do_nothing_else() {
    let mut faults = Vec::new();
    for (path, text) in files("src", ".rs") {
        if !["src/base/", "src/config/", "src/core/"]
            .iter()
            .any(|floor| path.starts_with(floor))
        {
            continue;
        }
        let code = code(&path, &text);
        for (name, allowed) in IMPURE {
            if code.contains(name) && !allowed.contains(&path.as_str()) {
                faults.push(format!("{path} names {name}"));
            }
        }
    }
    none(
        "base, config and core have no I/O, clocks or metrics; arguments bring them",
        &faults,
    );
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
    let (mut faults, mut lengths) = (Vec::new(), Vec::new());
    let everything = ["src", "tests", "examples", "benches"];
    for (path, text) in everything.iter().flat_map(|folder| files(folder, ".rs")) {
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        if !text.starts_with("//!") && !is_test {
            faults.push(format!("{path} does not state its purpose at its top"));
        }
        let lines = text.lines().count();
        let max = if path.starts_with("src/") {
            lengths.push(lines);
            FILE_LINES_MAX
        } else {
            TEST_LINES_MAX
        };
        if lines > max {
            faults.push(format!("{path} has {lines} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX && line.trim_start().starts_with("//") {
                faults.push(format!(
                    "{path}:{} is wider than {LINE_CHARS_MAX}",
                    number + 1
                ));
            }
        }
    }
    lengths.sort_unstable();
    let most = lengths[lengths.len() * 9 / 10];
    if most > MOST_FILES_LINES_MAX {
        faults.push(format!("nine in ten files have up to {most} lines"));
    }
    let median = lengths[lengths.len() / 2];
    if median > MEDIAN_FILE_LINES_MAX {
        faults.push(format!("half of the files have more than {median} lines"));
    }
    none("files are for reading", &faults);
}

#[test]
fn nothing_is_left_for_later_and_nothing_unwraps() {
    let mut faults = Vec::new();
    // Put together here, so that this file does not find itself.
    let later = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
    ];
    let everything = ["src", "tests", "examples", "benches"];
    for (path, text) in everything.iter().flat_map(|folder| files(folder, ".rs")) {
        for (number, line) in text.lines().enumerate() {
            if later.iter().any(|word| line.contains(word)) {
                faults.push(format!("{path}:{} leaves something for later", number + 1));
            }
        }
        if path.starts_with("src/") && code(&path, &text).contains(".unwrap()") {
            faults.push(format!(
                "{path} unwraps: `expect` states why it cannot fail"
            ));
        }
    }
    none("what is not done is an issue, not a comment", &faults);
}

/// The targets of `[text](target)` outside code.
fn links(text: &str) -> Vec<&str> {
    let mut inside_code = false;
    let prose = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside_code ^= fence;
        !fence && !inside_code
    });
    prose
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

#[test]
fn links_in_papers_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in files("", ".md") {
        for link in links(&text) {
            let target = link.split('#').next().unwrap();
            let outside = ["http:", "https:", "mailto:"]
                .iter()
                .any(|way| link.starts_with(way));
            let place = root().join(&path).parent().unwrap().join(target);
            if !outside && !target.is_empty() && !place.exists() {
                faults.push(format!("{path} links to {link}"));
            }
        }
    }
    none("links resolve", &faults);
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let first = text.lines().find(|line| line.starts_with("## ")).unwrap();
    assert!(first.contains("Unreleased"), "{first}");
}

/// `sessile check` of a file; its output if it found a fault.
fn check(path: &Path) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_sessile"))
        .args(["check", "--config"])
        // As in a pod.
        .envs([
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
        ])
        .arg(path)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(format!(
        "{}: {}",
        path.display(),
        String::from_utf8_lossy(&printed)
    ))
}

#[test]
fn every_shipped_configuration_is_valid() {
    let mut shipped: Vec<PathBuf> = vec![root().join("gateway.toml")];
    for folder in ["examples", "deploy"] {
        shipped.extend(
            files(folder, ".toml")
                .into_iter()
                // Its secrets are the cluster's; `kubernetes` completes it.
                .filter(|(path, _)| !path.starts_with("deploy/kubernetes/"))
                // What goes into etcd is no whole configuration, and this secret is not there yet;
                // tests/gateway does what their comments say.
                .filter(|(path, _)| !path.ends_with("/documents.toml"))
                .filter(|(path, _)| !path.ends_with("/authentication/gateway.toml"))
                .map(|(path, _)| root().join(path)),
        );
    }
    let faults: Vec<_> = shipped
        .iter()
        .filter_map(|path| check(path).err())
        .collect();
    none("what we ship works", &faults);
}

#[test]
fn whole_configurations_in_papers_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    // The certificate that papers name.
    let names = vec!["edge.example.com".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("edge.crt"), certificate.cert.pem()).unwrap();
    fs::write(file("edge.key"), certificate.signing_key.serialize_pem()).unwrap();
    let mut faults = Vec::new();
    for (path, text) in files("", ".md") {
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            if block.contains("[[routes]]") && block.contains("[[listeners]]") {
                let file = directory.path().join("gateway.toml");
                fs::write(&file, block).unwrap();
                if let Err(printed) = check(&file) {
                    faults.push(format!("{path}, configuration {}: {printed}", number + 1));
                }
            }
        }
    }
    none("what papers show works", &faults);
}

#[test]
fn papers_and_alerts_name_only_metrics_that_exist() {
    let named: String = files("src/telemetry", ".rs")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let mut faults = Vec::new();
    let papers = files("", ".md").into_iter();
    let papers = papers
        .chain(files("deploy", ".yml"))
        .chain(files("deploy", ".yaml"));
    for (path, text) in papers.chain(files("deploy", ".json")) {
        for (at, _) in text.match_indices("sessile_") {
            let rest = &text[at..];
            let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            let suffixes = ["_bucket", "_sum", "_count"];
            let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
            if !named.contains(base.unwrap_or(name)) {
                faults.push(format!("{path} names {name}"));
            }
        }
    }
    none("metrics in papers are in telemetry", &faults);
}

#[test]
fn the_lock_of_the_peers_names_no_host() {
    let lock = fs::read_to_string(root().join("tests/peers/node/package-lock.json")).unwrap();
    assert!(
        !lock.contains("\"resolved\""),
        "set omit-lockfile-registry-resolved and lock again"
    );
}

/// What a lock file lists as the dependencies of this package, by their names.
fn locked(path: &str) -> BTreeSet<String> {
    let lock: toml::Table = fs::read_to_string(root().join(path))
        .unwrap()
        .parse()
        .unwrap();
    let packages = lock["package"].as_array().unwrap();
    let own = packages
        .iter()
        .find(|one| one["name"].as_str() == Some("sessile"));
    let names = own.unwrap()["dependencies"].as_array().unwrap().iter();
    // An entry is "NAME" or "NAME VERSION".
    let names = names.filter_map(|one| one.as_str()?.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_lock_of_the_fuzz_targets_is_up_to_date() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    // The targets do without the optional ones.
    let all = manifest["dependencies"].as_table().unwrap().iter();
    let wanted: BTreeSet<_> = all
        .filter(|(_, value)| value.get("optional").is_none())
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(
        locked("fuzz/Cargo.lock"),
        wanted,
        "`cargo update -w` in fuzz/ mends it"
    );
    assert!(locked("Cargo.lock").is_superset(&wanted));
}
